"""BPF programs that provoke each defect, and say what they saw. Pure Python over bpf(2); nothing of the analyzer is
imported.

`tailcall_audit.probes.runner` runs them on this host or in a guest, `tailcall_audit.probes.guest.boot` boots that
guest. What an observation means for a verdict is decided elsewhere (`tailcall_audit.analyzer.policy.agreement`).
"""
