"""Scripts for developers: they make parts of the catalogue from public sources, and test the tests by mutation. They
are not installed with the program.
"""
