"""Readers: each turns one kind of input into evidence. They say what they saw; `analyzer.verdict` decides."""
