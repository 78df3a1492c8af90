"""Reads a .spec: the version and release of the kernel that it builds, its patches, and which of them %prep applies.

Nothing is run: macros are expanded if the file itself gives them one value, and anything that depends on a condition is
left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.patch_series import ListedPatch

__all__ = ["RpmSpec", "read_spec"]

_MAX_LINE = 2000
_MAX_ROUNDS = 8
_TAG = re.compile(r"(Name|Version|Release|Patch(?P<number>\d*))[ \t]*:[ \t]*(?P<value>\S.*)", re.ASCII | re.IGNORECASE)
_DEFINE = re.compile(r"%(?:define|global)[ \t]+(\w+)[ \t]+(\S.*)", re.ASCII)
_MACRO = re.compile(r"%\{(\??)(\w+)\}|%(\w+)\b", re.ASCII)
_PREP = re.compile(r"%prep\b")
_SECTION = re.compile(r"%(?:build|install|check|files|package|description|changelog|clean|pre|post|preun|postun)\b")
_ALL = re.compile(r"%(?:autosetup|autopatch)\b(?P<options>.*)|%\{patches\}", re.ASCII)
_ONE = re.compile(r"%patch(?P<glued>\d+)\b|%patch\b.{0,200}?(?:-P ?|\s)(?P<apart>\d+)\b", re.ASCII)
_LEAST, _MOST = re.compile(r"-m ?(\d+)", re.ASCII), re.compile(r"-M ?(\d+)", re.ASCII)


class RpmSpec(NamedTuple):
    """A .spec: each field is None if it depends on a condition or on a macro that the file does not define."""

    name: str | None
    version: str | None
    release: str | None
    patches: tuple[ListedPatch, ...]

    @property
    def built(self) -> str | None:
        """The ``VERSION-RELEASE`` of the kernel, without what the builder's macros add (``%{?dist}``)."""
        return None if self.version is None or self.release is None else f"{self.version}-{self.release}"


class _Line(NamedTuple):
    number: int
    text: str
    certain: bool
    """False between %if and %endif."""


def _lines(text: str) -> Iterator[_Line]:
    depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line[:_MAX_LINE].strip()
        if re.match(r"%(?:if|ifarch|ifnarch|ifos|ifnos)\b", stripped):
            depth += 1
        elif stripped.startswith("%endif"):
            depth = max(0, depth - 1)
        elif stripped and not stripped.startswith("#"):
            yield _Line(number, stripped, depth == 0)


def _macros(lines: list[_Line]) -> dict[str, str]:
    """Returns the macros that have one value in the whole file."""
    found: dict[str, set[str]] = {}
    for line in lines:
        match = _DEFINE.match(line.text)
        if match is not None:
            found.setdefault(match.group(1), set()).add(match.group(2).strip())
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}


def _expanded(text: str, macros: dict[str, str]) -> str | None:
    """Returns a value with its macros expanded; None if one has no value here. An optional macro (``%{?dist}``) can be
    empty.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(2) or match.group(3)
        return macros.get(name, "" if match.group(1) else match.group())

    for _ in range(_MAX_ROUNDS):
        shorter = _MACRO.sub(value, text)[:_MAX_LINE]
        if shorter == text:
            break
        text = shorter
    return None if "%" in text else text.strip()


class _Prep:
    """What %prep applies: every patch, those of a range, or single ones."""

    def __init__(self, lines: list[_Line]) -> None:
        self._ranges: list[tuple[int, int, bool]] = []
        self._single: dict[int, bool] = {}
        inside = False
        for line in lines:
            inside = (inside or _PREP.match(line.text) is not None) and _SECTION.match(line.text) is None
            if inside:
                self._read(line)

    def _read(self, line: _Line) -> None:
        every = _ALL.search(line.text)
        if every is not None:
            options = every.group("options") or ""
            if not re.search(r"(?:^|\s)-N\b", options):
                least, most = _LEAST.search(options), _MOST.search(options)
                bounds = (int(least.group(1)) if least else 0, int(most.group(1)) if most else 10**9)
                self._ranges.append((*bounds, line.certain))
            return
        for match in _ONE.finditer(line.text):
            number = int(match.group("glued") or match.group("apart"))
            self._single[number] = self._single.get(number, False) or line.certain

    def applies(self, number: int) -> bool | None:
        """Returns True if a patch is applied in every build; None if that is not known."""
        certain = any(low <= number <= high and sure for low, high, sure in self._ranges)
        return True if certain or self._single.get(number, False) else None


def read_spec(text: str) -> RpmSpec:
    """Reads a .spec; never raises."""
    lines = list(_lines(text))
    macros = _macros(lines)
    prep = _Prep(lines)
    values: dict[str, str | None] = {}
    patches: list[ListedPatch] = []
    for line in lines:
        if line.text.startswith("%changelog"):
            break
        match = _TAG.match(line.text)
        if match is None:
            continue
        value = _expanded(match.group("value").split()[0], macros)
        tag = match.group(1).lower()
        if not tag.startswith("patch"):
            # The kernel's own fields come first; packages beside it have theirs (Version: %{bpftoolversion}).
            values.setdefault(tag, value if line.certain else None)
        elif value is not None:
            number = int(match.group("number") or len(patches))
            applied = prep.applies(number) if line.certain else None
            patches.append(ListedPatch(line.number, value.rsplit("/", 1)[-1], applied))
    return RpmSpec(values.get("name"), values.get("version"), values.get("release"), tuple(patches))
