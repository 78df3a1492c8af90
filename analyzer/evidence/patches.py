"""Patch queues beside a tree: ``debian/patches/series``, SUSE's ``series.conf``. Patches not yet applied are named as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzer.catalog import Catalog
from analyzer.evidence.messages import normalize_subject
from analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from analyzer.tree.files import FileReader, ReadState

__all__ = ["PatchQueue", "read_patch_queue"]

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


def _match(catalog: Catalog, header: bytes) -> str | None:
    for found in _ID_LINE.finditer(header):
        key = found.group(1).decode("ascii").lower()[:12]
        if key in catalog.commits:
            return key
    subject = _SUBJECT.search(header)
    if subject is None:
        return None
    text = re.sub(r"^(?:\[[^\]]*\]\s*)+", "", " ".join(subject.group(1).decode("utf-8", "replace").split()))
    return next(
        (
            key
            for key, commit in catalog.commits.items()
            if normalize_subject(text) == normalize_subject(commit.subject)
        ),
        None,
    )


def read_patch_queue(catalog: Catalog, reader: FileReader) -> PatchQueue:
    """Read the patch queues of a tree; patches that .pc/applied-patches lists are applied, of the others nobody knows."""
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
            key = (
                _match(catalog, patch.data[:_HEADER_BYTES].split(b"\n---", 1)[0])
                if patch.state is ReadState.READ
                else None
            )
            if key is None:
                continue
            citation = f"{series}:{number} ({name})"
            if is_applied:
                evidence.append(
                    Evidence(
                        EvidenceKind.PATCH_QUEUE,
                        key,
                        Presence.PRESENT,
                        citation,
                        f"{citation}, applied",
                        Confidence.MEDIUM,
                    )
                )
            else:
                detail = f"{citation} carries it and is not applied to these files"
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
                notes.append(f"patch not applied yet: {citation} carries {catalog.commits[key]}")
        notes.append(f"patch queue {series}: {len(applied)} applied, {waiting} not")
    return PatchQueue(tuple(evidence), tuple(notes))
