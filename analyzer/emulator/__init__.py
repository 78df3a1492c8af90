"""Runs single functions of a kernel image in a CPU emulator, on objects laid out by the image's own BTF. No defect is
named here.

What is run belongs to an image that may be hostile: `analyzer.emulator.child` keeps it in a bounded process.
"""
