"""Lists of nodes, texts that name kernels, root file systems and containers."""
