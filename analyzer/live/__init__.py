"""Runs the probes for an audited kernel: on this host, in a guest, or over many kernels."""
