"""Inputs of every format that the tool reads, made by hypothesis: whole ones, and what an attacker or a broken disk
makes of them.

One module a format. Each strategy yields a `Case` (tests/strategies/case.py), the files that one reader is given.
"""
