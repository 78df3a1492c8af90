"""The facts: their types, how they are loaded, built and checked."""
