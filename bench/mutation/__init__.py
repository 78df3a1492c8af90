"""Mutant kernels: real kernels with a few bytes of machine code changed. The lab compares the answers of signatures
with those of guests.
"""
