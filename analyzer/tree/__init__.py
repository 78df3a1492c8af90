"""Kernel trees: where they are, how their files and their history are read. Nothing of a repository is run or written."""
