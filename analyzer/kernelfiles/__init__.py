"""Readers of the kernel's and the distributions' own file formats; no policy."""
