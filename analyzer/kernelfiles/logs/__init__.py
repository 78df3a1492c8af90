"""What kernels write into logs: their own names, and the traces of what went wrong."""
