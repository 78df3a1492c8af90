"""Surveys: claims about which releases have which commits, read once from a source and stored."""
