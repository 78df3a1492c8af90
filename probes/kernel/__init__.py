"""Kernel interfaces that the probes use: bpf(2), instructions, BTF, privileges. Nothing here depends on a defect."""
