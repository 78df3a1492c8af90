"""Package files, read in place: nothing is installed, nothing unpacked to disk."""
