"""BPF programs that provoke each defect, and say what they saw. Pure Python over bpf(2); nothing of the analyzer is imported.

`probes.runner` runs them on this host or in a guest, `probes.vm` boots that guest. What an observation means for a verdict is
decided elsewhere (`analyzer.agreement`).
"""
