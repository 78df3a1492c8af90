"""Objects of Debian's packages: each is read without a fault, and holds what its makers put in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tailcall_audit.analyzer.kernelfiles.deb import read_deb_tree
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.objects import read_all
from tailcall_audit.analyzer.programs.types import ProgramSet
from tests.kernels import package_file


def sets_in(package: str, version: str) -> Iterator[tuple[str, tuple[ProgramSet, ...]]]:
    """Yields the files of a package that have BPF programs, with what is in them."""
    path = package_file(package, version)
    if version.replace(":", "%3a") not in path.name:
        pytest.skip(f"the Debian mirror of this machine has no {package} {version}")
    for file in read_deb_tree(path):
        data = b"" if file.link else file.content()
        if data.startswith(b"\x7fELF"):
            try:
                yield file.name, read_all(data, file.name)
            except ProgramsError as reason:
                assert "no BPF object is in it" in str(reason)


PACKAGES = [
    ("libsystemd-shared", "257.13-1~deb13u1", 1, 5, {"cgroup_skb", "cgroup_sock_addr", "lsm"}),
    ("xdp-tools", "1.5.4-1", 7, 149, {"tracing", "xdp"}),
    ("libxdp1", "1.5.4-1", 15, 17, {"tracing", "xdp"}),
    ("xdp-tests", "1.5.4-1", 4, 10, {"tracing", "xdp"}),
    ("libbpf-tools", "0.31.0+ds-7", 57, 318, {"kprobe", "perf_event", "raw_tracepoint", "tracepoint", "tracing"}),
    # Its loader names the types of what is in the sections "filter" and "loadbalancer".
    ("suricata", "1:7.0.10-1+deb13u4", 6, 6, {None, "xdp"}),
    # Go, with what bpf2go embeds.
    ("pwru", "1.0.5+ds1-1+b6", 1, 36, {"kprobe", "tracing"}),
]
"""Package, version, files with programs, programs, and their types."""


@pytest.mark.parametrize(("package", "version", "files", "programs", "types"), PACKAGES)
def test_the_programs_of_a_package_are_read(
    package: str, version: str, files: int, programs: int, types: set[str | None]
) -> None:
    found = dict(sets_in(package, version))
    everything = [item for sets in found.values() for one in sets for item in one.programs]
    assert (len(found), len(everything)) == (files, programs)
    assert {item.type for item in everything} == types
    assert [note for sets in found.values() for one in sets for note in one.notes] == []
    assert all(item.functions and item.instructions for item in everything)
    # Each is loaded by libbpf or cilium/ebpf, which need every function that is called.
    assert all(
        helper.helper is not None or helper.kfunc
        for item in everything
        for function in item.functions
        for helper in function.helpers
    )
