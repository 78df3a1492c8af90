"""Pythons of other architectures for guests."""
