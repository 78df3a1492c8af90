"""Scripts that make parts of the catalogue from public sources. They are no part of the installed program."""
