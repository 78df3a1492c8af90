"""What the conditions of the catalogue name: small functions, a theme a file. `registry.py` finds them."""
