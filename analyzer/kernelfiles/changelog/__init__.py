"""The grammars of package changelogs."""
