"""A tree lacks a commit if its version is older and no name that the commit brought occurs in it.

A rename or a moved file would leave the name somewhere in kernel/bpf, include/linux or arch/*/net. So a tree does not
have the commit if it is older by its Makefile and has none of the names that the signature looks at. Either alone
proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property

from tailcall_audit.analyzer.catalog.commit import Commit, SignaturePart
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader, ReadState
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["OlderTree"]

_FOLDERS = ("kernel/bpf", "include/linux")
_WITNESSES = ("kernel/bpf/core.c", "kernel/bpf/verifier.c", "include/linux/bpf.h", "include/linux/filter.h")
_MAX_FILES = 4000


class OlderTree:
    """The names that a tree's BPF code has, read when they are first asked for."""

    def __init__(self, reader: FileReader, version: UpstreamVersion | None) -> None:
        self._reader = reader
        self._version = version

    def _paths(self) -> list[str] | None:
        """Returns the files to look at; None if a folder cannot be listed. An architecture may have no JIT."""
        found: list[str] = []
        architectures = self._reader.names("arch")
        if architectures is None:
            return None
        with_jit = [name for name in architectures if "net" in (self._reader.names(f"arch/{name}") or ())]
        for folder in (*_FOLDERS, *(f"arch/{name}/net" for name in with_jit)):
            names = self._reader.names(folder)
            if names is None:
                return None
            found += [f"{folder}/{name}" for name in names if name.endswith((".c", ".h", ".S"))]
        return found if len(found) <= _MAX_FILES else None

    @cached_property
    def _texts(self) -> tuple[bytes, ...] | None:
        """Returns all files of the code; None if some of it could not be read."""
        if any(self._reader.read(path).state is not ReadState.READ for path in _WITNESSES):
            return None
        found = []
        for path in self._paths() or ():
            read = self._reader.read(path)
            if read.state is not ReadState.READ:
                return None
            found.append(read.data)
        return tuple(found) or None

    def _names_one_of(self, names: Collection[str]) -> bool | None:
        """Returns True if a name occurs in the code as a word; None if the code could not be read."""
        if self._texts is None:
            return None
        words = {name.encode(): re.compile(rb"(?<!\w)%s(?!\w)" % re.escape(name.encode())) for name in names}
        return any(
            word in text and form.search(text) is not None for word, form in words.items() for text in self._texts
        )

    def _has_architectures(self, commit: Commit) -> bool:
        """Returns True if the folders of the architectures that a commit's signature looks at are there: a copy of some
        of the sources has none of their names either.
        """
        paths = [path.split("/") for part in commit.signature for path in part.files]
        folders = {"/".join(path[:2]) for path in paths if path[0] == "arch"}
        return all(self._reader.names(folder) is not None for folder in folders)

    def without(self, commit: Commit, citation: str) -> Evidence | None:
        """Returns the evidence that a commit is absent; None if the tree does not prove it."""
        if self._version is None or self._version >= commit.first_release:
            return None
        names = {name for part in commit.signature for name in _brought(part)}
        if not names or not self._has_architectures(commit) or self._names_one_of(names) is not False:
            return None
        listed = ", ".join(sorted(names))
        detail = f"{self._version} is older than {commit.first_release}, and nothing in kernel/bpf, include/linux or arch/*/net names {listed}"
        return Evidence(EvidenceKind.SOURCE, commit.key, Presence.ABSENT, citation, detail, Confidence.MEDIUM)


def _brought(part: SignaturePart) -> tuple[str, ...]:
    return (*(name for names in part.functions for name in names), *part.struct)
