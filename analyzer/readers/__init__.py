"""Sources of evidence: each file reads one kind of evidence and decides nothing."""
