"""What functions of an image do when they are run: small cases with controls, named by the catalogue."""
