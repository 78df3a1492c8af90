"""Root file systems that are not the host's: folders, containers and disks. Nothing in them is run."""
