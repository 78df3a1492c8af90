"""Reads BPF programs from object files, from the running kernel and from bpftool's output, and derives facts about
them. Nothing here depends on a defect.
"""
