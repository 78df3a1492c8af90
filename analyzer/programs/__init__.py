"""BPF programs as facts: what is in object files, loaded on a host, or in bpftool's output. No defect is named here."""
