"""Mutation runs: change one place of the policy or of a reader at a time, and check if a test fails."""
