"""Detects the grammar of a changelog, and reads one from a file."""

from __future__ import annotations

import sys
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.changelog import debian, rpm, suse
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Family
from tailcall_audit.analyzer.kernelfiles.compression import decompress
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import check_file, expanded
from tailcall_audit.probes.reading import open_file

__all__ = ["ChangelogError", "decode_changelog", "parse_changelog", "read_changelog"]

_MAX_BYTES = 64 << 20
_LOOK_AT = 400


class ChangelogError(AuditError):
    """A changelog that cannot be read, or that has no entry."""


def _detect(text: str) -> Family | None:
    lines = text.split("\n", _LOOK_AT)[:_LOOK_AT]
    for line in lines:
        if debian.HEADER.match(line) and "urgency" in line:
            return Family.DEBIAN
        if rpm.HEADER.match(line):
            return Family.RPM
        if suse.HEADER.match(line):
            return Family.SUSE
    return Family.RPM if "\n%changelog" in text else None


def parse_changelog(text: str, path: str, family: Family | None = None) -> Changelog:
    """Parses a changelog in the given family, else in the one that it looks like; raises ChangelogError if there is no
    entry.
    """
    found = family or _detect(text)
    if found is None:
        raise ChangelogError(
            f"{path}: not a changelog of Debian, Ubuntu, an RPM or SUSE: no entry header in its first {_LOOK_AT} lines"
        )
    parsers = {
        Family.DEBIAN: debian.parse_debian,
        Family.UBUNTU: debian.parse_debian,
        Family.RPM: rpm.parse_rpm,
        Family.SUSE: suse.parse_suse,
    }
    changelog = parsers[found](text, path)
    if not changelog.entries:
        raise ChangelogError(f"{path}: no entry of the {found.value} form in it")
    return changelog


def _open(path: Path | None) -> bytes:
    try:
        if path is None:
            if sys.stdin is None:
                raise ChangelogError("standard input is closed: no changelog can be read from it")
            return sys.stdin.buffer.read(_MAX_BYTES + 1)
        check_file(path, "give a package's changelog, or - for standard input", ChangelogError)
        with open_file(path) as file:
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ChangelogError(f"{path or 'standard input'}: cannot read: {error.strerror or error}") from error


def decode_changelog(data: bytes, label: str, family: Family | None = None) -> Changelog:
    """Parses the content of a file or an address, plain or compressed (gzip, xz, bzip2, zstd)."""
    return parse_changelog(decompress(data, label, _MAX_BYTES).decode("utf-8", "replace"), label, family)


def read_changelog(name: str, family: Family | None = None) -> Changelog:
    """Reads a changelog from a file, or from standard input (``-``)."""
    path = None if name == "-" else expanded(name)
    label = "standard input" if path is None else str(path)
    return decode_changelog(_open(path), label, family)
