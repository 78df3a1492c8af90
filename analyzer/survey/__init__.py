"""Surveys: what a source of facts says about which release has which commit, read once and kept."""
