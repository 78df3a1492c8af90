"""SUSE's .changes files: dashes, a date with an author, and items that end in ``- commit <id>``.

``- Update patches.suse/x (refs)`` edits the references of a patch that landed earlier: no fix. So do Refresh, Delete and Rename.
"""

from __future__ import annotations

import re

from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item

__all__ = ["HEADER", "SEPARATOR", "parse_suse"]

SEPARATOR = re.compile(r"-{50,}\s*$")
HEADER = re.compile(r"(\w{3} \w{3} +\d{1,2} [\d:]+ \w+ \d{4}) - (\S+)", re.ASCII)
_METADATA = re.compile(r"(?:Update|Refresh|Delete|Drop|Rename|Disable|Move|Re-enable)\b", re.IGNORECASE)
_PATCH_PREFIX = re.compile(r"patches\.\w+/\S+:\s+")
_REFERENCES = re.compile(r"\s*\([^()]*(?:git-fixes|bsc#|bnc#|boo#|CVE-|jsc#|stable-fixes|bugzilla)[^()]*\)\.?\s*$")


def parse_suse(text: str, path: str) -> Changelog:
    """Parse a .changes file; never raises, and keeps an entry for every header line. It has no versions."""
    entries: list[Entry] = []
    header: tuple[int, str] | None = None
    items: list[tuple[int, str]] = []

    def finish() -> None:
        if header is not None:
            kept = []
            for line, content in items:
                subject = _PATCH_PREFIX.sub("", _REFERENCES.sub("", content), count=1).rstrip(".")
                kept.append(
                    Item(line, subject, own=_METADATA.match(content) is not None or content.startswith("commit "))
                )
            entries.append(Entry("kernel", "", header[0], header[1], tuple(kept)))
        items.clear()

    for number, line in enumerate(text.split("\n"), 1):
        match = HEADER.match(line)
        if match is not None:
            finish()
            header = (number, match.group(1))
        elif SEPARATOR.match(line) or header is None:
            continue
        elif line.startswith("- "):
            items.append((number, line[2:].strip()))
        # The body of a message is indented by two; only what continues the references or the subject belongs to it.
        elif line.strip() and items and not items[-1][1].endswith((").", ")")) and not line.startswith("    "):
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    finish()
    return Changelog(path, Family.SUSE, tuple(entries))
