"""Runs the examples of the catalogue: the answer of a signature on a kernel's source, compared with the expected one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.commit import Examples, SignaturePart
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.conditionals import NO_ASSUMPTIONS
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.assumptions import assumptions_by_commit
from tailcall_audit.analyzer.readers.source import SourceReader

__all__ = ["Example", "expected_answers", "run_source_examples", "source_examples", "source_folders"]

_FOLDER = re.compile(r"(?:source-|linux-source-|linux-)?([0-9][0-9A-Za-z.+~:-]*)")


class Example(NamedTuple):
    """One answer of a part of a source signature: what the catalogue expects and what the source gives.

    `key` is a commit or a capability; `architecture` is empty for a commit.
    """

    key: str
    architecture: str
    part: str
    version: str
    expected: Presence
    seen: Presence

    @property
    def holds(self) -> bool:
        """Returns True if the source gives what the catalogue expects."""
        return self.seen is self.expected


def expected_answers(examples: Examples) -> dict[str, Presence]:
    """Returns the expected answer by kernel."""
    return {kernel: presence for presence in Presence for kernel in getattr(examples, presence.value)}


def _signatures(catalog: Catalog) -> Iterator[tuple[str, str, SignaturePart]]:
    """Yields each part of a source signature with the commit or capability, and the architecture if it is for one only."""
    for commit in catalog.commits.values():
        for part in commit.signature:
            yield commit.key, "", part
    for capability in catalog.capabilities.values():
        for architecture, parts in capability.signatures.items():
            for part in parts:
                yield capability.key, architecture, part


def source_examples(catalog: Catalog) -> dict[str, int]:
    """Returns how many examples there are for each version of Debian's linux-source."""
    counts: dict[str, int] = {}
    for _, _, part in _signatures(catalog):
        for version in expected_answers(part.examples):
            counts[version] = counts.get(version, 0) + 1
    return counts


def source_folders(parent: Path) -> dict[str, Path]:
    """Returns the sources in a folder by Debian version: `source-6.1.192-2`, `linux-source-6.1.192-2` or the version
    alone.
    """
    found = {}
    for path in sorted(parent.iterdir()):
        match = _FOLDER.fullmatch(path.name)
        if match is not None and (path / "Makefile").is_file():
            found[match[1]] = path
    return found


def run_source_examples(catalog: Catalog, version: str, folder: Path) -> Iterator[Example]:
    """Yields every example for one version, run on the source in `folder`."""
    reader = SourceReader(DiskReader(folder))
    assumed = assumptions_by_commit(catalog)
    for key, architecture, part in _signatures(catalog):
        expected = expected_answers(part.examples).get(version)
        if expected is not None:
            seen = reader.presence(part, assumed.get(key, NO_ASSUMPTIONS))
            yield Example(key, architecture, part.name, version, expected, seen)
