"""Measures the tool against the programs that users have today. Each script prints ratios."""
