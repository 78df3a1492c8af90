"""Decides which BPF programs meet the conditions of a defect, and which programs a fix makes the kernel refuse.

The catalogue has the conditions; `facts/` implements the facts that they name.
"""
