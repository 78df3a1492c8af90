"""Pythons of other architectures for guests: root file systems, what a guest needs of one, where they come from."""
