"""Reads lists of nodes, written by tools that manage fleets: which kernel each node runs."""
