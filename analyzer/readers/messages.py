"""Commit messages: which upstream commit does a message say it is, or reverts?

The forms of the trailers are in docs/history.md, with the trees that they were seen in. A mention of a commit that does not
stand in one of these forms (``Fixes:``, ``Stable-dep-of:``, ``Omitted-fix:``, a quotation) proves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "Revert",
    "Trailer",
    "find_reverts",
    "find_trailers",
    "has_conflicts",
    "normalize_subject",
    "reverts_merge",
    "unwrap_revert",
]

_ID = rb"([0-9a-f]{12,40})(?![0-9a-f])"
_MENTION = re.compile(rb"ommit:?[ \t]+[0-9a-f]{12}")
_PICKED = re.compile(rb"[ \t]?\(?(?:cherry[- ]picked|backported) from commit " + _ID + rb".*", re.IGNORECASE)
_TOP = re.compile(
    rb"[ \t]?(?:"
    rb"commit " + _ID + rb" upstream\.?"
    rb"|\[ ?commit " + _ID + rb" upstream\.? ?\]"
    rb"|\[? ?upstream commit:? " + _ID + rb" ?\]?\.?"
    rb"|upstream-commit:[ \t]*" + _ID + rb"|upstream: commit " + _ID + rb"|git-commit:[ \t]*" + _ID + rb")[ \t\r]*",
    re.IGNORECASE,
)
_BARE = re.compile(rb"commit " + _ID + rb"[ \t\r]*", re.IGNORECASE)
_TOP_LINES = 16
"""How many non-empty lines of the body count as its top, where stable and RHEL trees name the upstream commit."""
_REVERT = re.compile(
    rb"^[ \t]?This (partially |partly )?reverts (?:upstream )?commits? " + _ID, re.MULTILINE | re.IGNORECASE
)
_MERGE_REVERT = re.compile(rb"\breversing\s+changes\s+made\s+to\b", re.IGNORECASE)
_CONFLICT = re.compile(rb"\bconflicts?\b", re.IGNORECASE)
_PREFIX = re.compile(
    r"^(?:UPSTREAM|BACKPORT|FROMGIT|FROMLIST|FROMSTABLE|\[?BACKPORT\]?|upstream|mainline)(?:: *|\] *)", re.ASCII
)


@dataclass(frozen=True)
class Trailer:
    """A message's claim to be an upstream commit. `certain` is False for a bare ``commit <id>`` line, which needs the subject too."""

    id: str
    certain: bool


@dataclass(frozen=True)
class Revert:
    """A message's claim to revert a commit, by id. `partial`: it says that it takes back a part only."""

    id: str
    partial: bool


def normalize_subject(subject: str) -> str:
    """A subject for comparison as a whole: white space folded, Android's prefixes off, a dot at the end off."""
    return _PREFIX.sub("", " ".join(subject.split())).rstrip(".")


def unwrap_revert(subject: str) -> tuple[str, int]:
    """The innermost subject of ``Revert "Revert "x""`` and how many reverts are around it; ``Reapply "x"`` counts as two."""
    depth = 0
    while True:
        for word, weight in (("Revert", 1), ("Reapply", 2)):
            if subject.startswith(f'{word} "') and subject.endswith('"'):
                subject = subject[len(word) + 2 : -1]
                depth += weight
                break
        else:
            return subject, depth


def find_trailers(message: bytes) -> list[Trailer]:
    """The upstream commits that a message claims to be, in the accepted forms and places."""
    if _MENTION.search(message) is None and b"-commit:" not in message and b"-Commit:" not in message:
        return []
    found = []
    _, _, body = message.partition(b"\n")
    top = 0
    previous = b""
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        top += 1
        match = _PICKED.fullmatch(line)
        if match is None and top <= _TOP_LINES:
            match = _TOP.fullmatch(line)
            # "<id> is the first bad commit" is followed by the same bare line in a bisection report.
            bare = None if match is not None or b"bad commit" in previous else _BARE.fullmatch(line)
            if bare is not None:
                found.append(
                    Trailer(
                        bare.group(1).decode("ascii").lower(), certain=previous.lower().startswith(b"from mainline")
                    )
                )
        if match is not None:
            name = next(group for group in match.groups() if group)
            found.append(Trailer(name.decode("ascii").lower(), certain=True))
        previous = line
    return found


def find_reverts(message: bytes) -> list[Revert]:
    """The commits that a message says it reverts."""
    if b"everts " not in message:
        return []
    return [
        Revert(match.group(2).decode("ascii").lower(), match.group(1) is not None)
        for match in _REVERT.finditer(message)
    ]


def reverts_merge(message: bytes) -> bool:
    """Whether a message says that it takes back a merge, and with it commits that it does not name."""
    return b"everts " in message and _MERGE_REVERT.search(message) is not None


def has_conflicts(message: bytes) -> bool:
    """Whether a message speaks of conflicts: then what was committed may not be what was picked."""
    _, _, body = message.partition(b"\n")
    return _CONFLICT.search(body) is not None
