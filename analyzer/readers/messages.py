"""Reads commit messages: the upstream commit that a message claims to be, and those that it reverts.

docs/history.md has the forms of the trailers, with the trees that they were seen in. A commit that a message mentions
in another form (``Fixes:``, ``Stable-dep-of:``, ``Omitted-fix:``, a quotation) proves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "Revert",
    "Trailer",
    "Unwrapped",
    "find_reverts",
    "find_trailers",
    "has_conflicts",
    "normalize_subject",
    "reverts_merge",
    "says_revert",
    "unwrap",
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
_MAX_REVERTS = 40
_TOP_LINES = 16
"""The number of non-empty lines of the body that count as its top, where stable and RHEL trees name the upstream
commit.
"""
_REVERT = re.compile(
    rb"^[ \t]?This (partially |partly )?reverts (?:upstream )?commits? " + _ID, re.MULTILINE | re.IGNORECASE
)
_MERGE_REVERT = re.compile(rb"\breversing\s+changes\s+made\s+to\b", re.IGNORECASE)
_CONFLICT = re.compile(rb"\bconflicts?\b", re.IGNORECASE)
_PREFIX = re.compile(
    r"^(?:(?:UPSTREAM|BACKPORT|FROMGIT|FROMLIST|FROMSTABLE|\[?BACKPORT\]?|upstream|mainline)(?:: *|\] *))+", re.ASCII
)
_REFERENCES = re.compile(
    r"(?<!\s)\s*+\((?:#\d+|LP: ?#\d+|[^()]{0,60}\b(?:git-fixes|(?:bsc|bnc|boo|jsc|fate)#[\w-]+|CVE-[\d-]+)[^()]{0,200})\)$",
    re.ASCII,
)
"""What SUSE, Ubuntu and GitHub put behind a subject: (git-fixes bsc#1229482), (LP: #1), (#12)."""
_TAGS = re.compile(r"^(?:(?:[A-Za-z][A-Za-z0-9 _-]{1,30}:|\[[^\]\[]{1,60}\])\s*)+")
_TAKES_BACK = re.compile(
    r"^(?P<part>partial(?:ly)?:? |partly )?(?P<word>revert|reapply|re-apply|reland|re-land|unrevert)(?:s|ed|ing)?(?:\^(?P<power>\d{1,2}))?:?\s+(?P<more>part of |parts of |of )?",
    re.IGNORECASE,
)
_QUOTES = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"))
_TWICE = frozenset(("reapply", "re-apply", "reland", "re-land", "unrevert"))
_REVERT_WORDS = re.compile(
    r"\b(?:revert|reverts|reverted|reverting|undo|undoes|back out|backs out|backout|drop|drops)\b", re.IGNORECASE
)
_HEADER = re.compile(rb"[ \t]*(?:[A-Za-z][\w-]*(?: [A-Za-z][\w-]*){0,3}:.*|https?://\S+|CVE-[\d-]+)[ \t\r]*")


@dataclass(frozen=True)
class Trailer:
    """A message's claim to be an upstream commit. `certain` is False for a bare ``commit <id>`` line, which counts only
    if the subject agrees.
    """

    id: str
    certain: bool


@dataclass(frozen=True)
class Revert:
    """A message's claim to revert a commit, by id. `partial` is True if it says that it takes back only a part."""

    id: str
    partial: bool


@dataclass(frozen=True)
class Unwrapped:
    """The innermost subject of a revert, how many reverts are around it, and True if it says that it takes back only a
    part.
    """

    subject: str
    depth: int
    partial: bool = False


def normalize_subject(subject: str) -> str:
    """Returns a subject for comparison as a whole: white space is folded; vendors' prefixes and references, and a dot
    at the end, are left out.
    """
    text = _PREFIX.sub("", " ".join(subject.split())).rstrip(".")
    while (shorter := _REFERENCES.sub("", text)) != text:
        text = shorter.rstrip(".")
    return text


def unwrap(subject: str) -> Unwrapped:
    """Unwraps ``Revert "Revert "x""``, also in vendors' forms.

    ``Reapply "x"`` and ``Revert^2 "x"`` count as two. Tags before a revert (``ANDROID:``, ``UBUNTU: SAUCE:``,
    ``[ALPS01]``) and what follows the closing quote are left out.
    """
    depth, partial = 0, False
    current = subject
    for _ in range(_MAX_REVERTS):
        untagged = _TAGS.sub("", current.lstrip())
        match = _TAKES_BACK.match(untagged)
        if match is None:
            break
        inner = _quoted(untagged[match.end() :])
        if inner is None:
            break
        word = match.group("word").lower()
        depth += int(match.group("power") or (2 if word in _TWICE else 1))
        partial = partial or match.group("part") is not None or (match.group("more") or "").lower().startswith("part")
        current = inner
    return Unwrapped(current, depth, partial)


def _quoted(text: str) -> str | None:
    """Returns the text between the first quote and the last one."""
    for left, right in _QUOTES:
        if text.startswith(left):
            end = text.rfind(right)
            return text[1:end] if end > 0 else None
    return None


def unwrap_revert(subject: str) -> tuple[str, int]:
    """Returns the innermost subject of ``Revert "Revert "x""`` and how many reverts are around it."""
    found = unwrap(subject)
    return found.subject, found.depth


def says_revert(subject: str) -> bool:
    """Returns True if a subject has a word for taking something back, in any form."""
    return _REVERT_WORDS.search(subject) is not None


def find_trailers(message: bytes) -> list[Trailer]:
    """Returns the upstream commits that a message claims to be, in the accepted forms and places."""
    if _MENTION.search(message) is None and b"-commit:" not in message and b"-Commit:" not in message:
        return []
    found = []
    _, _, body = message.partition(b"\n")
    previous = b""
    headers_only = True
    lines = [line for line in body.split(b"\n") if line.strip()]
    for top, line in enumerate(lines, 1):
        match = _PICKED.fullmatch(line)
        if match is None and top <= _TOP_LINES:
            match = _TOP.fullmatch(line)
            # "<id> is the first bad commit" is followed by the same bare line in a bisection report.
            bare = None if match is not None or b"bad commit" in previous else _BARE.fullmatch(line)
            if bare is not None:
                certain = previous.lower().startswith(b"from mainline") or (
                    headers_only and _is_log_entry(lines[top : top + 2])
                )
                found.append(Trailer(bare.group(1).decode("ascii").lower(), certain))
        if match is not None:
            name = next(group for group in match.groups() if group)
            found.append(Trailer(name.decode("ascii").lower(), certain=True))
        previous = line
        headers_only = headers_only and _HEADER.fullmatch(line) is not None
    return found


def _is_log_entry(following: list[bytes]) -> bool:
    """Returns True if a ``commit <id>`` line is the head of a whole entry of git's log, as RHEL quotes the upstream
    commit.
    """
    return (
        len(following) == 2
        and following[0].startswith(b"Author:")
        and following[1].startswith((b"Date:", b"AuthorDate:"))
    )


def find_reverts(message: bytes) -> list[Revert]:
    """Returns the commits that a message says it reverts."""
    if b"everts " not in message:
        return []
    return [
        Revert(match.group(2).decode("ascii").lower(), match.group(1) is not None)
        for match in _REVERT.finditer(message)
    ]


def reverts_merge(message: bytes) -> bool:
    """Returns True if a message reverts a merge, and with it commits that it does not name."""
    return b"everts " in message and _MERGE_REVERT.search(message) is not None


def has_conflicts(message: bytes) -> bool:
    """Returns True if a message mentions conflicts: what was committed may then differ from what was picked."""
    _, _, body = message.partition(b"\n")
    return _CONFLICT.search(body) is not None
