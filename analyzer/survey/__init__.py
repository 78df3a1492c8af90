"""Surveys: what a source says about the releases that have each commit, read once and stored."""
