"""The %changelog of RPM kernels, as ``rpm -q --changelog`` prints it or a .spec holds it.

Headers: ``* Wed Feb 21 2024 Name <mail> [5.14.0-425.el9]``, or with ``- 6.6.43.1-1`` at the end; rebuilders leave
macros in them unexpanded. Items: ``- subject (Author) [RHEL-21459] {CVE-…}``, Oracle's ``[Orabug: …]`` on the next
line, openEuler's CVE glued on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item
from tailcall_audit.analyzer.kernelfiles.changelog.suse import suse_item
from tailcall_audit.analyzer.kernelfiles.rpm_spec import read_spec

__all__ = ["HEADER", "parse_rpm"]

HEADER = re.compile(r"\* (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3} +\d{1,2}(?: [\d:]+ \w+)? \d{4}) (.*)", re.ASCII)
_BRACKETED = re.compile(r"\[([^\[\]\s]+)\]\s*$")
_DASHED = re.compile(r"> *(?:- *)?([0-9][^\s\[\]]*|None-\S+|%\{\S+)\s*$|\s- +(\S+)\s*$")
_MAX_TAIL = 200
"""The number of letters at the end of a header that contain its version."""
_SECTION = re.compile(r"%(?:changelog|prep|build|install|files|package|description|post|pre)\b")
_DOWNSTREAM = re.compile(
    r"(?:\[?redhat\]?|config|Revert \"redhat|\[CIQ SPEC\]|\[SPEC\]|rpmspec|Linux v?\d)", re.IGNORECASE
)
_PATCH = re.compile(r"Patch\d*[ \t]*:[ \t]*(\S+)", re.ASCII)
_SUSE_COMMIT = re.compile(r"commit [0-9a-f]{7,40}\b")


def _version(rest: str) -> str:
    tail = rest[-_MAX_TAIL:]
    bracketed = _BRACKETED.search(tail)
    if bracketed is not None:
        return bracketed.group(1)
    dashed = _DASHED.search(tail)
    return "" if dashed is None else next(group for group in dashed.groups() if group)


def _groups(text: str) -> Iterator[tuple[int, int]]:
    """Yields the places of each outermost pair of parentheses: its start, and the place after its end."""
    depth = start = 0
    for place in (match.start() for match in re.finditer(r"[()]", text)):
        if text[place] == "(":
            start = place if depth == 0 else start
            depth += 1
        elif depth > 0:
            depth -= 1
            if depth == 0:
                yield start, place + 1


def _subject(text: str) -> str:
    """Returns an item without the author that RHEL puts after the subject; `clean_subject` removes the rest."""
    for start, end in _groups(text):
        after = end
        while after < len(text) and text[after].isspace():
            after += 1
        if after < len(text) and text[after] not in "[{":
            continue
        inside = text[start:end].strip(" ()")
        # Authors are names; "()" ends a function, and a subject may hold a remark.
        if inside[:1].isupper() and not inside.isdigit() and text[:start].strip():
            return f"{text[:start].rstrip()} {text[after:]}"
    return text


def _as_suse(entries: list[Entry], raw: list[list[tuple[int, str]]]) -> bool:
    """Returns True if a text looks like SUSE's changelog as `rpm -q --changelog` prints it: headers without versions,
    and items that name their commit.
    """
    return not any(entry.version for entry in entries) and any(
        _SUSE_COMMIT.match(text) for items in raw for _, text in items
    )


def parse_rpm(text: str, path: str) -> Changelog:
    """Parses an RPM changelog or a .spec file; never raises, and keeps an entry for every header line."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip() == "%changelog"), None)
    start = 0 if first is None else first + 1
    entries: list[Entry] = []
    raw: list[list[tuple[int, str]]] = []
    parts: list[tuple[int, list[str]]] = []
    header: tuple[int, str, str, str] | None = None

    def finish() -> None:
        if header is not None:
            items = [(line, " ".join(words)) for line, words in parts]
            kept = tuple(
                Item(line, _subject(content), is_downstream=_DOWNSTREAM.match(content) is not None)
                for line, content in items
            )
            entries.append(Entry("kernel", header[2], header[0], header[1], kept, author=header[3]))
            raw.append(items)
        parts.clear()

    for number in range(start, len(lines)):
        line = lines[number]
        match = HEADER.match(line)
        if match is not None:
            finish()
            header = (number + 1, match.group(1), _version(match.group(2)), match.group(2)[:_MAX_TAIL])
        elif header is None:
            continue
        elif first is not None and _SECTION.match(line):
            break
        elif line.startswith("- "):
            parts.append((number + 1, [line[2:].strip()]))
        elif line.strip() and parts and not line.startswith(("Resolves:", "Related:", "#")):
            parts[-1][1].append(line.strip())
    finish()
    patches = tuple(
        (number, found.group(1))
        for number, line in enumerate(lines[: first or 0], 1)
        if (found := _PATCH.match(line)) is not None
    )
    if _as_suse(entries, raw):
        made = [
            replace(entry, items=tuple(suse_item(line, content) for line, content in items))
            for entry, items in zip(entries, raw, strict=True)
        ]
        return Changelog(path, Family.SUSE, tuple(made))
    spec = read_spec("\n".join(lines[: first or 0]))
    return Changelog(path, Family.RPM, tuple(entries), patches=patches, built=spec.built, name=spec.name or "")
