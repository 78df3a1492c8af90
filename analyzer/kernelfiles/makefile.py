"""The version in a kernel's top-level Makefile, and the marks that distributions leave in a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pygit2

from tailcall_audit.analyzer.catalog.distribution import Distribution, TreeMark
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError, first_parent_subjects
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.kernelfiles.tree_files import FileRead, FileReader, ReadState
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["TreeIdentity", "identity_from_history", "is_kernel_makefile", "is_kernel_tree", "read_identity"]

_RELEASE_SUBJECT = re.compile(rb"Linux (\d+\.\d+(?:\.\d+)?(?:-rc\d+)?)")
_MAX_FIRST_PARENTS = 150_000

_VARIABLE = re.compile(
    rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*+(?::{1,3}|\?)?=[ \t]*+([^\s#]*+)[ \t]*+(?:#[^\n]*)?$",
    re.MULTILINE,
)
_MAX_HEAD = 65536
_MAJORS = range(2, 100)
"""Other projects have the same kind of Makefile: BusyBox is at 1, barebox and U-Boot count by years."""
_FOLDERS = frozenset(("kernel", "mm", "arch", "drivers", "include", "fs"))
_LEAST_ENTRIES = 12
_NEXT = "localversion-next"
"""The file in which linux-next has the end of its release (``-next-20251118``)."""


@dataclass(frozen=True)
class TreeIdentity:
    """The version in a tree's Makefile, the distribution whose marks it has, and notes about both."""

    release: KernelRelease | None
    distro: str | None
    vanilla_like: bool
    notes: tuple[str, ...]

    @property
    def version(self) -> UpstreamVersion | None:
        """The upstream version of the Makefile; None if the tree does not name one."""
        return None if self.release is None else self.release.version


def _values(data: bytes) -> dict[bytes, str]:
    """Returns the variables of a Makefile that name its version, the first assignment of each."""
    head = data[:_MAX_HEAD].removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    return {
        match.group(1): match.group(2).decode("ascii", "replace") for match in reversed(list(_VARIABLE.finditer(head)))
    }


def is_kernel_makefile(data: bytes) -> bool:
    """Returns True if a Makefile is the top-level one of a kernel, by its variables and its major version."""
    values = _values(data)
    if not {b"VERSION", b"PATCHLEVEL", b"SUBLEVEL"} <= values.keys() or b"KERNELVERSION" not in data:
        return False
    major = values[b"VERSION"]
    return not major.isdigit() or (len(major) < 5 and int(major) in _MAJORS)


def is_kernel_tree(reader: FileReader) -> bool:
    """Returns True if a folder is the top directory of a kernel: its Makefile is that of a kernel, and if it has many
    folders, they are those of a kernel too.
    """
    makefile = reader.read("Makefile")
    if makefile.state is not ReadState.READ or not is_kernel_makefile(makefile.data):
        return False
    names = reader.names("")
    return names is None or len(names) < _LEAST_ENTRIES or not _FOLDERS.isdisjoint(names)


def _version_text(makefile: FileRead) -> str | None:
    values = _values(makefile.data)
    if not {b"VERSION", b"PATCHLEVEL"} <= values.keys():
        return None
    return (
        f"{values[b'VERSION']}.{values[b'PATCHLEVEL']}.{values.get(b'SUBLEVEL') or 0}{values.get(b'EXTRAVERSION', '')}"
    )


def _has(reader: FileReader, path: str) -> bool:
    return reader.read(path).state is ReadState.READ


def _marked(reader: FileReader, catalog: Catalog) -> Iterator[tuple[Distribution, TreeMark]]:
    """Yields the marks of distributions that a tree has."""
    for distribution in catalog.distributions:
        for mark in distribution.tree:
            if _has(reader, mark.path) and (mark.without is None or not _has(reader, mark.without)):
                yield distribution, mark


def read_identity(reader: FileReader, catalog: Catalog | None = None) -> TreeIdentity | None:
    """Reads the version of a tree, and the marks of the distributions of `catalog` (None: the shipped one).

    Returns None when its Makefile cannot be read or has no version.
    """
    catalog = catalog or shipped_catalog()
    makefile = reader.read("Makefile")
    text = _version_text(makefile) if makefile.state is ReadState.READ else None
    if text is None:
        return None
    try:
        release = parse_release(text, catalog)
    except ReleaseError:
        return None
    if _has(reader, _NEXT):
        return TreeIdentity(
            release, "linux-next", False, (f"{_NEXT}: linux-next, with what the next release may bring",)
        )
    for distribution, mark in _marked(reader, catalog):
        return TreeIdentity(release, distribution.name, not distribution.frozen, (mark.note,))
    return TreeIdentity(release, None, True, ())


def identity_from_history(
    repository: pygit2.Repository, head: str, catalog: Catalog | None = None
) -> TreeIdentity | None:
    """Returns the version by the newest release commit ("Linux 6.1.170") among the first parents, if there is no
    Makefile.
    """
    try:
        for name, subject in first_parent_subjects(repository, head, _MAX_FIRST_PARENTS):
            match = _RELEASE_SUBJECT.fullmatch(subject.strip())
            if match is not None:
                version = match.group(1).decode("ascii")
                note = f'the Makefile could not be read; {version} by commit {name[:12]} ("Linux {version}")'
                return TreeIdentity(parse_release(version, catalog), None, True, (note,))
    except (WalkError, ReleaseError):
        pass
    return None
