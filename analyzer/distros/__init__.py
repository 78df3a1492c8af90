"""What distributions' version strings look like and prove; one table, read by `analyzer.release`."""
