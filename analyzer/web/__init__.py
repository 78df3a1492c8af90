"""Fetches what distributions publish."""
