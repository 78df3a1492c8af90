"""Patch queues beside a tree: ``debian/patches/series``, SUSE's ``series.conf``. Patches not yet applied are named as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader, ReadState
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.analyzer.readers.messages import unwrap
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


@dataclass(frozen=True)
class _Entry:
    """A patch about a commit: it applies it (True), takes it back (False), or takes back a part of it (None)."""

    key: str
    applies: bool | None
    citation: str

    @property
    def verb(self) -> str:
        """What the patch does, as a word."""
        return "carries" if self.applies else "reverts"


def _match(matcher: Matcher, header: bytes) -> tuple[str, bool | None] | None:
    """The commit that a patch is about, and what it does to it; by the subject first, since a revert names ids too."""
    found = _SUBJECT.search(header)
    text = "" if found is None else " ".join(found.group(1).decode("utf-8", "replace").split())
    unwrapped = unwrap(re.sub(r"^(?:\[[^\]]*\]\s*)+", "", text))
    key = matcher.subject(unwrapped.subject)
    if key is None and unwrapped.depth == 0:
        ids = (match.group(1).decode("ascii").lower() for match in _ID_LINE.finditer(header))
        key = next((name for name in map(matcher.key, ids) if name is not None), None)
    return None if key is None else (key, None if unwrapped.partial else unwrapped.depth % 2 == 0)


def _applied(found: list[tuple[int, _Entry]], notes: list[str]) -> Iterator[Evidence]:
    """What the applied patches of one queue amount to: of several about one commit the last one applied decides."""
    last: dict[str, _Entry] = {}
    for _, entry in sorted(found, key=lambda pair: pair[0]):
        before = last.get(entry.key)
        if before is not None and before.applies is not entry.applies:
            notes.append(f"patch queue: {entry.citation} is applied after {before.citation} and contradicts it")
        last[entry.key] = entry
    for key, entry in last.items():
        presence = {True: Presence.PRESENT, False: Presence.ABSENT, None: Presence.UNKNOWN}[entry.applies]
        what = {True: "", False: " reverts it", None: " reverts a part of it"}[entry.applies]
        confidence = Confidence.LOW if entry.applies is None else Confidence.MEDIUM
        detail = f"{entry.citation}{what}, applied"
        yield Evidence(EvidenceKind.PATCH_QUEUE, key, presence, entry.citation, detail, confidence)


def _waiting(entry: _Entry) -> Evidence:
    detail = f"{entry.citation} {entry.verb} it and is not applied to these files"
    return Evidence(
        EvidenceKind.PATCH_QUEUE,
        entry.key,
        Presence.UNKNOWN,
        entry.citation,
        detail,
        Confidence.LOW,
        settle="quilt push -a   and audit the tree again",
        unread=True,
    )


def read_patch_queue(catalog: Catalog, reader: FileReader, branch: str) -> PatchQueue:
    """Reads the patch queues of a tree. Patches that .pc/applied-patches lists are applied, in its order; of the others it is
    not known.

    `branch` is the stable branch of the tree (``6.1``).
    """
    matcher = Matcher(catalog, branch)
    evidence: list[Evidence] = []
    notes: list[str] = []
    for series, prefix, applied_path in _QUEUES:
        listing = reader.read(series)
        if listing.state is not ReadState.READ:
            continue
        order = {name: place for place, (_, name) in enumerate(_names(reader.read(applied_path).data))}
        applied: list[tuple[int, _Entry]] = []
        waiting = 0
        for number, name in list(_names(listing.data))[:_MAX_PATCHES]:
            if name.startswith("/") or ".." in name.split("/"):
                continue
            waiting += name not in order
            patch = reader.read(prefix + name)
            header = patch.data[:_HEADER_BYTES].split(b"\n---", 1)[0]
            found = _match(matcher, header) if patch.state is ReadState.READ else None
            if found is None:
                continue
            entry = _Entry(found[0], found[1], f"{series}:{number} ({name})")
            if name in order:
                applied.append((order[name], entry))
            else:
                evidence.append(_waiting(entry))
                notes.append(f"patch not applied yet: {entry.citation} {entry.verb} {catalog.commits[entry.key]}")
        evidence += _applied(applied, notes)
        notes.append(f"patch queue {series}: {len(order)} applied, {waiting} not")
    return PatchQueue(tuple(evidence), tuple(notes))


def read(subject: Subject, request: Request) -> Reading:
    """Reads the patch queues of a tree."""
    opened = subject.parts.tree
    assert opened is not None  # the registry's condition
    version = opened.identity.version
    queue = read_patch_queue(request.catalog, opened.tree.files, "" if version is None else version.branch)
    return Reading(queue.evidence, queue.notes)
