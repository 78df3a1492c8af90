"""Mutant kernels: real kernels with a few bytes of machine code changed, to hold signatures and guests against each
other.
"""
