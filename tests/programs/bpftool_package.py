"""Debian's bpftool for a guest: the program and the libraries that it needs, as files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.kernelfiles.deb import read_deb_tree
from tests.kernels import available, package_file
from tests.mutants import IN_6_1, IN_6_12, IN_7_3

__all__ = ["BPFTOOLS", "bpftool_files"]

_PROGRAM = "usr/sbin/bpftool"


class _Bpftool(NamedTuple):
    """A build of bpftool: the beginning of its version, and the beginnings of the versions of its libraries."""

    version: str
    libraries: tuple[tuple[str, str], ...]


_TRIXIE = (
    ("libc6", "2.41-"),
    ("libelf1t64", "0.192-"),
    ("libcap2", "1:2.75-"),
    ("zlib1g", "1:1.3.dfsg+really1.3.1-"),
    ("libzstd1", "1.5.7+"),
)
_BOOKWORM = (
    ("libc6", "2.36-"),
    ("libelf1", "0.188-"),
    ("libcap2", "1:2.66-"),
    ("zlib1g", "1:1.2.13."),
    ("libzstd1", "1.5.4+"),
)
BPFTOOLS = {
    IN_6_1: _Bpftool("7.1.0+6.1.", _BOOKWORM),
    IN_6_12: _Bpftool("7.5.0+6.12.", _TRIXIE),
    IN_7_3: _Bpftool("7.8.0+7.3.", (*_TRIXIE, ("libssl3t64", "3.5."))),
}
"""By the kernel: the bpftool that Debian builds of the same source, with the libraries of its suite."""


def _taken(package: str, start: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns files of a package by their names, with the content of what a link leads to."""
    version = next((item for item in available(package) if item.startswith(start)), None)
    if version is None:
        pytest.skip(f"the Debian mirror of this machine has no {package} {start}*")
    contents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for file in read_deb_tree(package_file(package, version)):
        name = file.name.rpartition("/")[2]
        if wanted(file.name) and file.link:
            links[name] = file.link.rpartition("/")[2]
        elif wanted(file.name):
            contents[name] = file.content()
    return contents | {name: contents[end] for name, end in links.items() if end in contents}


def _is_library(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder.endswith("x86_64-linux-gnu") and ".so" in file


@functools.cache
def bpftool_files(image: str) -> tuple[tuple[str, bytes], ...]:
    """Returns what a guest needs to run bpftool as ``/ld-linux-x86-64.so.2 --library-path / /bpftool``, by its names
    there. Skips where the mirror does not have it.
    """
    bpftool = BPFTOOLS[image]
    found = _taken("bpftool", bpftool.version, lambda name: name == _PROGRAM)
    for package, start in bpftool.libraries:
        found |= _taken(package, start, _is_library)
    return tuple(sorted(found.items()))
