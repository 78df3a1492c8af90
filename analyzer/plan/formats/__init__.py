"""Formats of a plan: a module each, with ``render(plan, catalog)``, found by its name."""
