"""Plans: which commits mend a tree, in which order, tried in a scratch repository."""
