"""Weighs evidence into verdicts. Nothing else decides."""
