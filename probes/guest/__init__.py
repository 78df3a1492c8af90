"""Guests: the archive that is booted, QEMU, the console, and the first process."""
