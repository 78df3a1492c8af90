"""Instruction sets: one file an architecture."""
