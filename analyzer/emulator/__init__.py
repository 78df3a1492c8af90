"""Runs single functions of a kernel image in a CPU emulator, on objects laid out by the image's own BTF. This package
knows no defect.

The image may be hostile, so `analyzer.emulator.child` runs its code in a process with limits.
"""
