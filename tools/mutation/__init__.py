"""A mutation run: changes one place of the policy or of a reader at a time, and sees whether a test fails."""
