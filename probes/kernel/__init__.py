"""What probes need of the kernel: bpf(2), instructions, BTF, privileges. No defect is named here."""
