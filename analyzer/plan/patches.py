"""Steps from patch files: mails and what ``git format-patch`` writes, applied in memory where there are no git objects."""

from __future__ import annotations

import email
import email.policy
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Record
from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES, FileRead, FileReader, ReadState
from tailcall_audit.analyzer.kernelfiles.unified_diff import (
    FilePatch,
    PatchError,
    apply_patch,
    read_patch,
    reversed_patch,
)
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.plan.attempt import Wanted
from tailcall_audit.analyzer.plan.types import MAINLINE, Conflict, Origin, Outcome, Step
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.probes.reading import open_file

__all__ = ["Mail", "Overlay", "PatchTrial", "read_patches"]

_MAX_FILES = 2000
_MAX_BYTES = 8 << 20
_FROM = re.compile(rb"^From ([0-9a-f]{40}) [A-Z][a-z]{2} ", re.MULTILINE)
_PREFIX = re.compile(r"^(?:(?:Re|Fwd): *)*\[[^\]]{0,80}\]\s*")
_FUNCTION = re.compile(r"\b(\w+)\(")
_START = re.compile(rb"^(?:diff --git |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
_NO_COMMIT = "0" * 40


class Mail(NamedTuple):
    """A patch file: its place, the id and author that it names ("" if none), its message, and its patch."""

    path: str
    id: str
    author: str
    message: str
    text: bytes
    patch: tuple[FilePatch, ...]


def _parts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields the mails in a file, each with the id of its first line."""
    starts = [(match.start(), match.group(1).decode("ascii")) for match in _FROM.finditer(data)]
    if not starts:
        yield "", data
        return
    ends = [start for start, _ in starts[1:]] + [len(data)]
    for (start, name), end in zip(starts, ends, strict=True):
        yield "" if name == _NO_COMMIT else name, data[start:end]


def _mail(path: str, name: str, data: bytes) -> Mail:
    """Reads a mail; raises PatchError."""
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    subject = _PREFIX.sub("", " ".join(_decoded(message.get("Subject", "")).split()))
    body = message.get_payload(decode=True)
    text = body if isinstance(body, bytes) else data
    text = text.replace(b"\r\n", b"\n")
    start = _START.search(text)
    head = text[: start.start()] if start is not None else text
    said = head.decode("utf-8", "replace").partition("\n---\n")[0]
    patch = tuple(read_patch(text))
    if not patch:
        raise PatchError("there is no patch in it")
    return Mail(
        path,
        name,
        _decoded(message.get("From", "")),
        f"{subject}\n\n{said}",
        text[start.start() if start else 0 :],
        patch,
    )


def _decoded(header: object) -> str:
    import email.header

    try:
        return str(email.header.make_header(email.header.decode_header(str(header))))
    except (LookupError, UnicodeError, ValueError):
        return str(header)


def _read(path: Path) -> list[Mail]:
    with open_file(path) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise PatchError(f"larger than {_MAX_BYTES >> 20} MiB")
    return [_mail(str(path), name, part) for name, part in _parts(data)]


def read_patches(folder: str, catalog: Catalog, branch: str) -> tuple[dict[str, list[Mail]], list[str]]:
    """Returns the mails of a folder by the key of the commit that they have, and notes on files that cannot be read.

    A mail is recognised as a commit of a history is (docs/history.md). Raises AuditError if there is no such folder.
    """
    place = expanded(folder)
    if kind_of(place) is not Kind.FOLDER:
        raise AuditError(f"--patches {folder}: no such folder; name one with mails or git format-patch files")
    matcher = Matcher(catalog, branch)
    found: dict[str, list[Mail]] = {}
    notes: list[str] = []
    names = sorted(os.listdir(place))
    if len(names) > _MAX_FILES:
        raise AuditError(f"--patches {folder}: more than {_MAX_FILES} files in it")
    for path in (place / name for name in names):
        if not is_file(path):
            continue
        try:
            mails = _read(path)
        except (OSError, ValueError, LookupError) as error:
            notes.append(f"{path}: not taken: {error}")
            continue
        for mail in mails:
            record = Record((mail.id or _NO_COMMIT).encode(), b"", mail.message.encode("utf-8", "replace"))
            for event in matcher.read(record)[0]:
                if event.effect is True:
                    found.setdefault(event.key, []).append(mail)
    return found, notes


class Overlay:
    """The files of a tree with some of them changed in memory."""

    def __init__(self, files: FileReader) -> None:
        self._files = files
        self.changed: dict[str, bytes | None] = {}

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Reads a file of at most `limit` bytes, the changed one where there is one."""
        if path not in self.changed:
            return self._files.read(path, limit)
        data = self.changed[path]
        if data is None:
            return FileRead(path, ReadState.MISSING, reason="taken away by a patch")
        return FileRead(path, ReadState.READ, data)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Returns the names in a folder, those that patches made included."""
        found = self._files.names(folder)
        inside = {path: data for path, data in self.changed.items() if os.path.dirname(path) == folder.rstrip("/")}
        if found is None and not inside:
            return None
        gone = {os.path.basename(path) for path, data in inside.items() if data is None}
        made = {os.path.basename(path) for path, data in inside.items() if data is not None}
        return tuple(sorted((set(found or ()) | made) - gone))


@dataclass
class PatchTrial:
    """The state of a trial by patches: the files so far, and the steps that led to them."""

    files: Overlay
    mails: Mapping[str, list[Mail]]
    folder: str
    progress: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)

    def step(self, wanted: Wanted) -> bool:
        """Tries a step and appends it. If it conflicts, returns False and changes nothing."""
        found, changed = self._try(wanted)
        if found.outcome is Outcome.CONFLICTS:
            return False
        self.files.changed |= changed
        self.steps.append(found)
        return True

    def give_up(self, wanted: Wanted) -> None:
        """Appends a step as it is, with its conflicts."""
        self.steps.append(self._try(wanted)[0])

    def _content(self, path: str) -> bytes | None:
        read = self.files.read(path)
        if read.state is ReadState.UNREADABLE:
            raise PatchError(f"{path} cannot be read: {read.reason}")
        return read.data if read.state is ReadState.READ else None

    def _try(self, wanted: Wanted) -> tuple[Step, dict[str, bytes | None]]:
        tries = []
        for mail in self.mails.get(wanted.key, ()):
            self.progress(f"trying {mail.path}")
            tries.append(self._apply(wanted, mail))
            if tries[-1][0].outcome is not Outcome.CONFLICTS:
                return tries[-1]
        if tries:
            return tries[0]
        untested = wanted.step(Outcome.UNTESTED, Origin(wanted.upstream, MAINLINE))._replace(
            fetch=wanted.fetch, notes=(f"no patch of it is in {self.folder}",)
        )
        return untested, {}

    def _apply(self, wanted: Wanted, mail: Mail) -> tuple[Step, dict[str, bytes | None]]:
        step = wanted.step(Outcome.CLEAN, Origin(wanted.upstream, MAINLINE))._replace(
            author=mail.author, message=mail.message, patch=mail.text
        )
        note = f"by {mail.path}"
        try:
            applied = apply_patch(self._content, mail.patch)
            if not applied.failed:
                fuzz = f", with a fuzz of {applied.fuzz}" if applied.fuzz else ""
                return step._replace(notes=(note + fuzz,)), applied.files
            back = apply_patch(self._content, reversed_patch(mail.patch))
        except PatchError as error:
            conflict = (Conflict(mail.patch[0].new or mail.patch[0].old or ""),)
            return step._replace(outcome=Outcome.CONFLICTS, conflicts=conflict, notes=(note, str(error))), {}
        if not back.failed and back.fuzz == 0:
            return step._replace(outcome=Outcome.PRESENT, notes=(note,)), {}
        conflicts = tuple(Conflict(path, _functions(headings)) for path, headings in applied.failed)
        return step._replace(outcome=Outcome.CONFLICTS, conflicts=conflicts, notes=(note,)), {}


def _functions(headings: tuple[str, ...]) -> tuple[str, ...]:
    names = (_FUNCTION.search(heading) for heading in headings)
    return tuple(dict.fromkeys(f"{match.group(1)}()" for match in names if match is not None))
