"""Evidence from the machine code of a kernel image."""
