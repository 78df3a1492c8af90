"""Every reader of the tool on hostile input: in the tests for a bounded time, and by `python -m bench.fuzz` for as long
as one likes.
"""
