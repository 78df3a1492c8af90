"""Lists of nodes, as the tools write them that manage a fleet: which kernel each of them runs."""
