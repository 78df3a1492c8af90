"""Reads kernel logs: the names of kernels in them, and the traces of errors."""
