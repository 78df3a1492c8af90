"""Tests of analyzer/programs."""
