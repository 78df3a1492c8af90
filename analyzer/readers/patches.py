"""Patch queues: ``debian/patches/series``, SUSE's ``series.conf``, the patches of a .spec.

For a tree, patches that are not applied yet are named as such. For a folder of patches without sources, the list says
which ones a build applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.patch_series import read_series
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader, ReadState
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.analyzer.readers.messages import unwrap
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import OpenPatches, Progress, Request, Subject

__all__ = ["PatchQueue", "read", "read_listed_patches", "read_patch_queue"]

_QUEUES = (
    ("debian/patches/series", "debian/patches/", ".pc/applied-patches"),
    ("series.conf", "", ".pc/applied-patches"),
    ("patches/series", "patches/", ".pc/applied-patches"),
)
_MAX_PATCHES = 100_000
"""SUSE's enterprise kernels have some 40,000."""
_SHOW_EVERY = 2000
_HEADER_BYTES = 16 << 10
_ID_LINE = re.compile(
    rb"^(?:Git-commit|Upstream-commit|commit|Origin:.*[/=]|\[ ?Upstream commit|\(cherry picked from commit)[: ]*([0-9a-f]{12,40})\b",
    re.MULTILINE | re.IGNORECASE,
)
_SUBJECT = re.compile(rb"^Subject:[ \t]*((?:[^\n]|\n[ \t])*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class PatchQueue:
    """The evidence from the queues of a tree, and a note about each queue."""

    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A patch and the commit that it applies (True), takes back (False), or takes back in part (None)."""

    key: str
    applies: bool | None
    citation: str

    @property
    def verb(self) -> str:
        """Returns the effect of the patch, as a word."""
        return "carries" if self.applies else "reverts"


def _match(matcher: Matcher, data: bytes, reverse: bool) -> tuple[str, bool | None] | None:
    """Returns the commit that a patch is about, and the effect. The subject counts before ids, since a revert names ids
    too.
    """
    header = data[:_HEADER_BYTES].split(b"\n---", 1)[0]
    found = _SUBJECT.search(header)
    text = "" if found is None else " ".join(found.group(1).decode("utf-8", "replace").split())
    unwrapped = unwrap(re.sub(r"^(?:\[[^\]]*\]\s*)+", "", text))
    key = matcher.subject(unwrapped.subject)
    if key is None and unwrapped.depth == 0:
        ids = (match.group(1).decode("ascii").lower() for match in _ID_LINE.finditer(header))
        key = next((name for name in map(matcher.key, ids) if name is not None), None)
    return None if key is None else (key, None if unwrapped.partial else (unwrapped.depth % 2 == 0) is not reverse)


def _applied(found: list[tuple[int, _Entry]], notes: list[str]) -> Iterator[Evidence]:
    """Yields the evidence from the applied patches of one queue. If several are about one commit, the one applied last
    decides.
    """
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
        unreadable=True,
    )


def read_patch_queue(catalog: Catalog, reader: FileReader, branch: str) -> PatchQueue:
    """Reads the patch queues of a tree.

    Patches in .pc/applied-patches are applied, in that order; of the others it is not known. `branch` is the stable
    branch of the tree (``6.1``).
    """
    matcher = Matcher(catalog, branch)
    evidence: list[Evidence] = []
    notes: list[str] = []
    for series, prefix, applied_path in _QUEUES:
        listing = reader.read(series)
        if listing.state is not ReadState.READ:
            continue
        order = {patch.path: place for place, patch in enumerate(read_series(reader.read(applied_path).data))}
        applied: list[tuple[int, _Entry]] = []
        waiting = 0
        for listed in islice(read_series(listing.data), _MAX_PATCHES):
            if not _is_inside(listed.path):
                continue
            waiting += listed.path not in order
            patch = reader.read(prefix + listed.path)
            found = _match(matcher, patch.data, listed.reverse) if patch.state is ReadState.READ else None
            if found is None:
                continue
            entry = _Entry(found[0], found[1], f"{series}:{listed.line} ({listed.path})")
            if listed.path in order:
                applied.append((order[listed.path], entry))
            else:
                evidence.append(_waiting(entry))
                notes.append(f"patch not applied yet: {entry.citation} {entry.verb} {catalog.commits[entry.key]}")
        evidence += _applied(applied, notes)
        notes.append(f"patch queue {series}: {len(order)} applied, {waiting} not")
    return PatchQueue(tuple(evidence), tuple(notes))


def _is_inside(path: str) -> bool:
    """Returns True if a path in a list stays below the list's folder."""
    return not path.startswith("/") and ".." not in path.split("/")


def _depends(entry: _Entry) -> Evidence:
    detail = f"{entry.citation} {entry.verb} it, and whether a build applies it depends on a condition"
    return Evidence(EvidenceKind.PATCH_QUEUE, entry.key, Presence.UNKNOWN, entry.citation, detail, Confidence.LOW)


def read_listed_patches(catalog: Catalog, folder: OpenPatches, progress: Progress = lambda _: None) -> PatchQueue:
    """Reads the patches that a folder without sources lists. A listed patch is present; one that is not listed proves
    nothing.
    """
    matcher = Matcher(catalog, folder.branch)
    applied: list[tuple[int, _Entry]] = []
    evidence: list[Evidence] = []
    notes: list[str] = []
    absent = 0
    for place, listed in enumerate(folder.patches[:_MAX_PATCHES]):
        if place % _SHOW_EVERY == 0:
            progress(f"reading patch {place + 1} of {len(folder.patches)}")
        patch = folder.files.read(folder.prefix + listed.path) if _is_inside(listed.path) else None
        if patch is None or patch.state is not ReadState.READ:
            absent += listed.applied is not False
            continue
        found = None if listed.applied is False else _match(matcher, patch.data, listed.reverse)
        if found is None:
            continue
        entry = _Entry(found[0], found[1], f"{folder.listing}:{listed.line} ({listed.path})")
        if listed.applied is None:
            evidence.append(_depends(entry))
        else:
            applied.append((place, entry))
    evidence += _applied(applied, notes)
    missing = f", {absent} of them not in the folder or not readable" if absent else ""
    notes.append(
        f"{folder.listing} lists {len(folder.patches)} patches{missing}; {len(evidence)} are about commits of the catalogue"
    )
    return PatchQueue(tuple(evidence), tuple(notes))


def read(subject: Subject, request: Request) -> Reading:
    """Reads the patch queues of a tree, or the patches of a folder that has no sources."""
    if subject.parts.patches is not None:
        listed = read_listed_patches(request.catalog, subject.parts.patches, request.progress)
        settle = None if subject.release is None else subject.release.settle
        return Reading(tuple(item._replace(settle=settle) for item in listed.evidence), listed.notes)
    opened = subject.parts.tree
    assert opened is not None  # the registry's condition
    version = opened.identity.version
    queue = read_patch_queue(request.catalog, opened.tree.files, "" if version is None else version.branch)
    return Reading(queue.evidence, queue.notes)
