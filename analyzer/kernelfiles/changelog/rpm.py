"""The %changelog of RPM kernels, as ``rpm -q --changelog`` prints it or a .spec holds it.

Headers: ``* Wed Feb 21 2024 Name <mail> [5.14.0-425.el9]``, or with ``- 6.6.43.1-1`` at the end; rebuilders leave macros in them
unexpanded. Items: ``- subject (Author) [RHEL-21459] {CVE-…}``, Oracle's ``[Orabug: …]`` on the next line, openEuler's CVE glued on.
"""

from __future__ import annotations

import re

from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item

__all__ = ["HEADER", "parse_rpm"]

HEADER = re.compile(r"\* (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3} +\d{1,2}(?: [\d:]+ \w+)? \d{4}) (.*)", re.ASCII)
_BRACKETED = re.compile(r"\[([^\[\]\s]+)\]\s*$")
_DASHED = re.compile(r"> *(?:- *)?([0-9][^\s\[\]]*|None-\S+|%\{\S+)\s*$|\s- +(\S+)\s*$")
_AUTHOR = re.compile(r"\s*\((?:[^()]|\([^()]*\))+\)\s*(?=(?:[\[{]|$))")
_SECTION = re.compile(r"%(?:changelog|prep|build|install|files|package|description|post|pre)\b")
_OWN = re.compile(r"(?:\[?redhat\]?|config|Revert \"redhat|\[CIQ SPEC\]|\[SPEC\]|rpmspec|Linux v?\d)", re.IGNORECASE)


def _version(rest: str) -> str:
    bracketed = _BRACKETED.search(rest)
    if bracketed is not None:
        return bracketed.group(1)
    dashed = _DASHED.search(rest)
    return "" if dashed is None else next(group for group in dashed.groups() if group)


def _subject(text: str) -> str:
    """An item without the author that RHEL puts behind the subject; the rest is `clean_subject`'s."""
    match = _AUTHOR.search(text)
    while match is not None:
        inside = match.group().strip(" ()")
        # Authors are names; "()" ends a function, and a subject may hold a remark.
        if inside and not inside.isdigit() and text[: match.start()].rstrip() and inside[:1].isupper():
            return text[: match.start()] + " " + text[match.end() :]
        match = _AUTHOR.search(text, match.end())
    return text


def parse_rpm(text: str, path: str) -> Changelog:
    """Parse an RPM changelog or a .spec file; never raises, and keeps an entry for every header line."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip() == "%changelog"), None)
    start = 0 if first is None else first + 1
    entries: list[Entry] = []
    header: tuple[int, str, str] | None = None
    items: list[tuple[int, str]] = []

    def finish() -> None:
        if header is not None:
            kept = tuple(Item(line, _subject(content), own=_OWN.match(content) is not None) for line, content in items)
            entries.append(Entry("kernel", header[2], header[0], header[1], kept))
        items.clear()

    for number in range(start, len(lines)):
        line = lines[number]
        match = HEADER.match(line)
        if match is not None:
            finish()
            header = (number + 1, match.group(1), _version(match.group(2)))
        elif header is None:
            continue
        elif first is not None and _SECTION.match(line):
            break
        elif line.startswith("- "):
            items.append((number + 1, line[2:].strip()))
        elif line.strip() and items and not line.startswith(("Resolves:", "Related:", "#")):
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    finish()
    return Changelog(path, Family.RPM, tuple(entries))
