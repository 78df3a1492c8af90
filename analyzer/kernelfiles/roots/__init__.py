"""Reads root file systems other than the host's: folders, containers and disks. Nothing in them is executed."""
