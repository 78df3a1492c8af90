"""Measurements against what a user has today; each script prints ratios."""
