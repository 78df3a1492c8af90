"""Kernel configurations: the options in a ``.config``, and the kernel that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.architecture import architecture_of_config, architecture_of_options
from tailcall_audit.analyzer.catalog.expression import Interval
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.config_identity import identify_config
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import check_file
from tailcall_audit.probes.reading import open_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ConfigError", "KernelConfig", "parse_config", "read_config"]

_MAX_BYTES = 16 << 20
_FEWEST_OPTIONS = 200
"""A generated .config lists every visible option: Debian's smallest, for cloud guests, has 3,500 to 4,500."""
_ASSIGNMENT = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(.*)", re.ASCII)
_VALUE = re.compile(r"[ymn]|-?\d+|0[xX][0-9a-fA-F]+|\"(?:[^\"\\]|\\.)*\"|", re.ASCII)
_UNSET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set", re.ASCII)
_HALF = re.compile(r"#\s*CONFIG_[A-Za-z0-9_]+(?![A-Za-z0-9_])", re.ASCII)
_HEADER = re.compile(r"# Linux/(\S+) (\S+) Kernel Configuration", re.ASCII)
_GENERATED = "# Automatically generated file; DO NOT EDIT."
_LAST_MENU = "Kernel hacking"
_MENU_END = "# end of "
_TRISTATE = {"n": 0, "m": 1, "y": 2}


class ConfigError(AuditError):
    """A configuration that cannot be read."""


class KernelConfig(NamedTuple):
    """A parsed configuration.

    `complete` is True if Kconfig generated the whole file, so that a missing option is n. `sound` is False if a line
    cannot be read, an option is given twice, or the end is cut off: such a configuration excludes no defect. `foreign`
    is the header's architecture if the tool does not audit it (``um``).
    """

    path: str
    options: Mapping[str, str]
    complete: bool
    release: KernelRelease | None
    architecture: str | None
    notes: tuple[str, ...] = ()
    sound: bool = True
    foreign: str | None = None

    def value(self, option: str) -> Interval:
        """Returns the value of an option on Kconfig's scale of 0 (n), 1 (m) and 2 (y); an interval if it is unknown."""
        text = self.options.get(option)
        if not self.sound or (text is None and not self.complete):
            return Interval(0, 2, 0)
        if text is None:
            return Interval(0, 0)
        known = _TRISTATE.get(text)
        return Interval(2, 2) if known is None else Interval(known, known)


class _Lines:
    """The options and comments in the lines of a configuration, in order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.options: dict[str, str] = {}
        self.faults: list[str] = []
        self.header: re.Match[str] | None = None
        self.generated = False
        self.ended_menu: str | None = None

    def fault(self, number: int, text: str) -> None:
        if len(self.faults) < 5:
            self.faults.append(f"{self.path}:{number}: {text}")

    def _set(self, number: int, name: str, value: str) -> None:
        if self.options.get(name, value) != value:
            self.fault(number, f"CONFIG_{name} is {value or 'empty'} here and {self.options[name] or 'empty'} before")
        self.options[name] = value

    def read(self, number: int, line: str) -> None:
        if match := _ASSIGNMENT.fullmatch(line):
            value = match.group(2)
            if _VALUE.fullmatch(value) is None:
                self.fault(number, f"not a value: {line[:60]!r}")
            self._set(number, match.group(1), value.strip('"') if value[:1] == '"' else value)
        elif match := _UNSET.fullmatch(line):
            self._set(number, match.group(1), "n")
        elif _HALF.match(line):
            self.fault(number, f"not an option: {line[:60]!r}")
        elif line.startswith("#"):
            self._comment(line)
        elif line:
            self.fault(number, f"not an option: {line[:60]!r}")

    def _comment(self, line: str) -> None:
        self.generated = self.generated or line == _GENERATED
        self.header = self.header or _HEADER.fullmatch(line)
        if line.startswith(_MENU_END):
            self.ended_menu = line

    def missing(self) -> str | None:
        """Returns why a configuration is not whole, None if it is."""
        if not self.generated or self.header is None:
            return "a defconfig or a fragment, not a generated .config"
        if len(self.options) < _FEWEST_OPTIONS:
            return f"it has {len(self.options)} options only"
        # Every menu is closed by a comment, and "Kernel hacking" is the last one: so in 5.10, 6.1, 6.12, 6.16 and 6.18. The options
        # behind it (io_uring's, since 6.15) are in no menu, and none is needed here.
        if self.ended_menu != f"{_MENU_END}{_LAST_MENU}":
            return 'it ends before the end of "Kernel hacking", the last menu'
        return None


def parse_config(text: str, path: str, catalog: Catalog | None = None) -> KernelConfig:
    """Parses the text of a configuration, and identifies it by the distributions of `catalog` (None: the shipped one).

    Raises ConfigError when there is no option in it.

    The last assignment of an option wins, as in scripts/kconfig/confdata.c; since Kconfig writes each once, a second
    one with another value is a fault. A line in any other form is noted, and is a fault too.
    """
    lines = _Lines(path)
    for number, raw in enumerate(text.split("\n"), 1):
        lines.read(number, raw.strip("\r \t"))
    options = lines.options
    if not options:
        raise ConfigError(f"{path}: not a kernel configuration: no CONFIG_ line in it")
    if not text.endswith("\n"):
        lines.fault(text.count("\n") + 1, "the last line has no end: the file is cut off")
    release, architecture, foreign, notes = _identity(lines, catalog)
    sound = not lines.faults
    missing = lines.missing()
    notes = [*lines.faults, *notes]
    if not sound:
        notes.append(f"{path}: excludes nothing, since not all of it can be read")
    elif missing is not None:
        notes.append(f"{path}: not complete ({missing}): options that it lacks are unknown, not n")
    return KernelConfig(path, options, sound and missing is None, release, architecture, tuple(notes), sound, foreign)


def _identity(lines: _Lines, catalog: Catalog | None) -> tuple[KernelRelease | None, str | None, str | None, list[str]]:
    """Returns the release and the architecture that a configuration is of, the header's architecture if the tool does
    not know it, and notes.
    """
    by_options = architecture_of_options(lines.options)
    if lines.header is None:
        return None, by_options, None, []
    named, version = lines.header.groups()
    architecture = architecture_of_config(named, lines.options)
    if architecture is not None and by_options not in (None, architecture):
        lines.fault(1, f"its header is of Linux/{named}, its options are of {by_options}")
    foreign = named if architecture is None else None
    try:
        return identify_config(version, lines.options, catalog), architecture, foreign, []
    except ReleaseError:
        note = f"{lines.path}: its header names no version that this tool knows: {version[:60]!r}"
        return None, architecture, foreign, [note]


def read_config(path: Path, catalog: Catalog | None = None) -> KernelConfig:
    """Reads a ``.config``, plain or compressed (gzip, xz, zstd, bzip2; known by its content), as `parse_config` does."""
    try:
        check_file(path, "give a .config, /boot/config-… or config.gz", ConfigError)
        with open_file(path) as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {error.strerror or error}") from error
    if not raw[:1].isascii() or raw[:2] == b"\x1f\x8b" or raw[:3] in (b"BZh", b"]\0\0") or raw[:1] == b"(":
        raw = _decompressed(raw, path)
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, which no kernel configuration is")
    return parse_config(raw.decode("utf-8", "replace"), str(path), catalog)


def _decompressed(raw: bytes, path: Path) -> bytes:
    """Returns the content of compressed data; the data itself if it is not compressed. Raises ConfigError."""
    from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, decompress

    try:
        return decompress(raw, str(path), _MAX_BYTES)
    except BrokenDataError as error:
        raise ConfigError(str(error)) from error
