"""Patch queues beside a tree: ``debian/patches/series``, SUSE's ``series.conf``. Patches not yet applied are named as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader, ReadState
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.analyzer.readers.messages import unwrap_revert
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["PatchQueue", "read", "read_patch_queue"]

_QUEUES = (
    ("debian/patches/series", "debian/patches/", ".pc/applied-patches"),
    ("series.conf", "", ".pc/applied-patches"),
    ("patches/series", "patches/", ".pc/applied-patches"),
)
_MAX_PATCHES = 20_000
_HEADER_BYTES = 16 << 10
_ID_LINE = re.compile(
    rb"^(?:Git-commit|Upstream-commit|commit|Origin:.*[/=]|\[ ?Upstream commit|\(cherry picked from commit)[: ]*([0-9a-f]{12,40})\b",
    re.MULTILINE | re.IGNORECASE,
)
_SUBJECT = re.compile(rb"^Subject:[ \t]*((?:[^\n]|\n[ \t])*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class PatchQueue:
    """What the queues of a tree say, and a note about each queue."""

    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]


def _names(data: bytes) -> Iterator[tuple[int, str]]:
    """The patches of a series file with their line numbers; comments, guards (``+arch``) and options (``-p1``) are left out."""
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        words = [word for word in line.split("#", 1)[0].split() if not word.startswith(("+", "-"))]
        if words:
            yield number, words[0]


def _match(matcher: Matcher, header: bytes) -> tuple[str, bool] | None:
    """The commit that a patch applies (True) or takes back (False); by the subject first, since a revert names ids too."""
    found = _SUBJECT.search(header)
    text = "" if found is None else " ".join(found.group(1).decode("utf-8", "replace").split())
    subject, depth = unwrap_revert(re.sub(r"^(?:\[[^\]]*\]\s*)+", "", text))
    key = matcher.subject(subject)
    if key is None and depth == 0:
        ids = (match.group(1).decode("ascii").lower() for match in _ID_LINE.finditer(header))
        key = next((name for name in map(matcher.key, ids) if name is not None), None)
    return None if key is None else (key, depth % 2 == 0)


def read_patch_queue(catalog: Catalog, reader: FileReader, branch: str) -> PatchQueue:
    """Read the patch queues of a tree; patches that .pc/applied-patches lists are applied, of the others nobody knows.

    `branch` is the stable branch of the tree (``6.1``).
    """
    matcher = Matcher(catalog, branch)
    evidence: list[Evidence] = []
    notes: list[str] = []
    for series, prefix, applied_path in _QUEUES:
        listing = reader.read(series)
        if listing.state is not ReadState.READ:
            continue
        applied = {name for _, name in _names(reader.read(applied_path).data)}
        waiting = 0
        for number, name in list(_names(listing.data))[:_MAX_PATCHES]:
            if name.startswith("/") or ".." in name.split("/"):
                continue
            is_applied = name in applied
            waiting += not is_applied
            patch = reader.read(prefix + name)
            found = (
                _match(matcher, patch.data[:_HEADER_BYTES].split(b"\n---", 1)[0])
                if patch.state is ReadState.READ
                else None
            )
            if found is None:
                continue
            key, applies = found
            citation = f"{series}:{number} ({name})"
            if is_applied:
                evidence.append(
                    Evidence(
                        EvidenceKind.PATCH_QUEUE,
                        key,
                        Presence.PRESENT if applies else Presence.ABSENT,
                        citation,
                        f"{citation}, applied" if applies else f"{citation} reverts it, applied",
                        Confidence.MEDIUM,
                    )
                )
            else:
                detail = f"{citation} {'carries' if applies else 'reverts'} it and is not applied to these files"
                evidence.append(
                    Evidence(
                        EvidenceKind.PATCH_QUEUE,
                        key,
                        Presence.UNKNOWN,
                        citation,
                        detail,
                        Confidence.LOW,
                        settle="quilt push -a   and audit the tree again",
                        unread=True,
                    )
                )
                notes.append(
                    f"patch not applied yet: {citation} {'carries' if applies else 'reverts'} {catalog.commits[key]}"
                )
        notes.append(f"patch queue {series}: {len(applied)} applied, {waiting} not")
    return PatchQueue(tuple(evidence), tuple(notes))


def read(subject: Subject, request: Request) -> Reading:
    """Reads the patch queues of a tree."""
    opened = subject.parts.tree
    assert opened is not None  # the registry's condition
    queue = read_patch_queue(request.catalog, opened.tree.files, opened.identity.version.branch)
    return Reading(queue.evidence, queue.notes)
