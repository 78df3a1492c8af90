"""Evidence from running functions of an image: small cases with controls, named by the catalogue."""
