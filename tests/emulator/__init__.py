"""The emulator, on kernels made by hand and on real ones."""
