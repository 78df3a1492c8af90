"""Probes: BPF programs that provoke each defect, and code that observes the result. Pure Python over bpf(2); imports
nothing of the analyzer.

`tailcall_audit.probes.runner` runs them on this host or in a guest; `tailcall_audit.probes.guest.boot` boots that
guest. `tailcall_audit.analyzer.policy.agreement` decides what an observation means for a verdict.
"""
