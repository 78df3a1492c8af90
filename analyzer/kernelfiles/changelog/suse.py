"""SUSE's .changes files: dashes, a date with an author, and items that end in ``- commit <id>``.

``- Update patches.suse/x (refs)`` changes the references of a patch that was added earlier, so it is not a fix. The
same holds for Refresh, Delete and Rename.
"""

from __future__ import annotations

import re

from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item

__all__ = ["HEADER", "SEPARATOR", "parse_suse", "suse_item"]

SEPARATOR = re.compile(r"-{50,}\s*$")
HEADER = re.compile(r"(\w{3} \w{3} +\d{1,2} [\d:]+ \w+ \d{4}) - (\S+)", re.ASCII)
_METADATA = re.compile(r"(?:Update|Refresh|Delete|Drop|Rename|Disable|Move|Re-enable)\b", re.IGNORECASE)
_PATCH_PREFIX = re.compile(r"patches\.\w+/\S+:\s+")
_REFERENCE = re.compile(r"git-fixes|bsc#|bnc#|boo#|CVE-|jsc#|stable-fixes|bugzilla")


def _without_references(text: str) -> str:
    """Returns an item without the references in parentheses at its end."""
    kept = text.rstrip()
    kept = kept.removesuffix(".").rstrip()
    if not kept.endswith(")"):
        return text
    start = kept.rfind("(")
    inside = kept[start + 1 : -1]
    return text if start < 0 or ")" in inside or not _REFERENCE.search(inside) else kept[:start].rstrip()


def suse_item(line: int, content: str) -> Item:
    """Returns an item: its subject without references and without the patch's name. Changes of a patch's metadata are
    marked as not being a commit.
    """
    subject = _without_references(content)
    prefix = _PATCH_PREFIX.match(subject)
    subject = subject[prefix.end() :] if prefix is not None else subject
    is_downstream = _METADATA.match(content) is not None or content.startswith("commit ")
    return Item(line, subject.rstrip("."), is_downstream=is_downstream)


def parse_suse(text: str, path: str) -> Changelog:
    """Parses a .changes file; never raises, and keeps an entry for every header line. It has no versions."""
    entries: list[Entry] = []
    header: tuple[int, str] | None = None
    parts: list[tuple[int, list[str]]] = []

    def finish() -> None:
        if header is not None:
            kept = tuple(suse_item(line, " ".join(words)) for line, words in parts)
            entries.append(Entry("kernel", "", header[0], header[1], kept))
        parts.clear()

    for number, line in enumerate(text.split("\n"), 1):
        match = HEADER.match(line)
        if match is not None:
            finish()
            header = (number, match.group(1))
        elif SEPARATOR.match(line) or header is None:
            continue
        elif line.startswith("- "):
            parts.append((number, [line[2:].strip()]))
        # The body of a message is indented by two. Only a continuation of the references or of the subject belongs to it.
        elif line.strip() and parts and not parts[-1][1][-1].endswith((").", ")")) and not line.startswith("    "):
            parts[-1][1].append(line.strip())
    finish()
    return Changelog(path, Family.SUSE, tuple(entries))
