"""The facts that the catalogue's conditions name, one topic a file. `registry.py` loads them."""
