"""The result of all changelog grammars: entries, newest first, with the stable updates and the subjects that they list.

A grammar only reads the file. `tailcall_audit.analyzer.readers.changelog` decides what a missing subject means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = [
    "Changelog",
    "Entry",
    "Family",
    "Item",
    "StableUpdate",
    "arch_neutral",
    "clean_subject",
    "drops_patches",
    "split_tags",
]

_CVE = re.compile(r"CVE-\d{4}-\d{4,}", re.ASCII)
_TAG = re.compile(r"\[([a-z0-9_*][a-z0-9_*, -]*)\]\s+", re.ASCII)
_MAX_TAGS = 64
_REMARK = re.compile(r"CVE-\d{4}-\d|(?:Closes: |LP: |regression in |fixes )", re.ASCII)
"""What distributions put in parentheses after a subject. The words are at the start, a CVE can be anywhere."""
_DROPS = re.compile(
    r"\b(?:drop|remov|delet|revert|exclud|omit|unappl|back(?:ed)? out|not applied)\w*(?:\W*$|[^\n]{0,200}"
    r"\b(?:patch|commit|change|fix|following|backport|merged|applied|included|upstream))",
    re.IGNORECASE,
)
_ARCH_WORDS = frozenset(
    (
        "s390",
        "riscv",
        "riscv64",
        "x86",
        "x64",
        "x86_64",
        "arm64",
        "arm",
        "powerpc",
        "powerpc64",
        "ppc",
        "loongarch",
        "mips",
    )
)


class Family(Enum):
    """A grammar; the value is its name in the catalogue."""

    DEBIAN = "debian"
    UBUNTU = "ubuntu"
    RPM = "rpm"
    SUSE = "suse"

    @property
    def is_dpkg(self) -> bool:
        """Returns True for the grammar of Debian packages: stable updates are listed under headings, with commits in
        their order.
        """
        return self in (Family.DEBIAN, Family.UBUNTU)

    @property
    def rolls_in_stable(self) -> bool:
        """Returns True if a version names the base release only, and the newest update in the list is the stable
        release.
        """
        return self is Family.UBUNTU

    @property
    def has_versions(self) -> bool:
        """Returns True if entries may name the version that they are of."""
        return self is not Family.SUSE


@dataclass(frozen=True)
class StableUpdate:
    """A stable release that an entry includes. `listed` is the number of subjects under its heading: none means a hole."""

    version: UpstreamVersion
    line: int
    listed: int


class Item(NamedTuple):
    """One line of an entry, unfolded; `line` is 1-based. `is_downstream` marks a change that is not an upstream commit,
    `dropped` an item under a heading that removes patches: such an item proves neither that a commit is present nor
    that it is absent.

    (A named tuple: a changelog has tens of thousands.)
    """

    line: int
    text: str
    is_downstream: bool = False
    dropped: bool = False

    @property
    def tags(self) -> tuple[str, ...]:
        """The architectures before the text: ``[x86]``, ``[arm64,armhf]``, ``[powerpc*]``; only those that this tool
        knows.
        """
        return split_tags(self.text)[0]

    @property
    def subject(self) -> str:
        """The commit's subject: without tags in front and references behind."""
        return clean_subject(split_tags(self.text)[1])

    @property
    def cves(self) -> tuple[str, ...]:
        """The CVEs in the text. They are hints only, because distributions file a commit under different CVEs."""
        return tuple(dict.fromkeys(_CVE.findall(self.text)))


@dataclass(frozen=True)
class Entry:
    """One upload: package and version ("" where the format has none), first line, date as written, and what it lists.

    `unnamed` has the lines of headings that include a set of stable patches without naming the release. `author` is the
    rest of a header, as far as a grammar keeps it. `suites` are those of dpkg's header, without their pockets.
    """

    package: str
    version: str
    line: int
    date: str | None
    items: tuple[Item, ...]
    updates: tuple[StableUpdate, ...] = ()
    bases: tuple[UpstreamVersion, ...] = ()
    unnamed: tuple[int, ...] = ()
    author: str = ""
    suites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changelog:
    """A parsed changelog, newest entry first. `trimmed` is the line that says older entries were removed.

    `patches` are the files that the patch list of a .spec names, with their lines; `built` is the ``VERSION-RELEASE``
    of its fields, `name` their package's name.
    """

    path: str
    family: Family
    entries: tuple[Entry, ...]
    trimmed: str | None = None
    notes: tuple[str, ...] = field(default=())
    patches: tuple[tuple[int, str], ...] = ()
    built: str | None = None
    name: str = ""


def split_tags(text: str) -> tuple[tuple[str, ...], str]:
    """Returns the architecture tags at the start of an item, normalised, and the rest."""
    names: list[str] = []
    position = 0
    for _ in range(_MAX_TAGS):
        match = _TAG.match(text, position)
        if match is None:
            break
        for word in match.group(1).split(","):
            name = word.strip().rstrip("*")
            try:
                # Debian's [x86] is both of them.
                names += ["x86_64", "i386"] if name == "x86" else [normalize_architecture(name)]
            except UnknownArchitectureError:
                continue
        position = match.end()
    return tuple(names), text[position:]


def clean_subject(text: str) -> str:
    """Returns a subject without the references after it: ``(CVE-…)``, ``(Closes: #…)``, ``{CVE-…}``, ``[RHEL-…]``.
    Walks back from the end, each letter once.
    """
    end = _end_of_text(text, len(text))
    while end > 0 and text[end - 1] in ")]}":
        start = text.rfind({")": "(", "]": "[", "}": "{"}[text[end - 1]], 0, end)
        inside = text[start + 1 : end - 1]
        if start < 0 or any(letter in inside for letter in ("()" if text[end - 1] == ")" else "[]{}")):
            break
        if text[end - 1] == ")":
            found = _REMARK.search(inside)
            if found is None or not (found.start() == 0 or found.group().startswith("CVE-")):
                break
        end = _end_of_text(text, start)
    return text[:end].strip()


def _end_of_text(text: str, end: int) -> int:
    """Returns where the text before `end` ends, without the blanks behind it."""
    while end > 0 and text[end - 1].isspace():
        end -= 1
    return end


def drops_patches(heading: str) -> bool:
    """Returns True if a heading or line says that the items below it, or in the rest of it, are removed from the
    package.
    """
    return _DROPS.search(heading) is not None


def arch_neutral(subject: str) -> str:
    """Returns a subject without the architectures in its prefix: Debian writes ``s390/bpf: x`` as ``[s390x] bpf: x``."""
    prefix, colon, rest = subject.partition(": ")
    if not colon:
        return subject
    words = [word for word in re.split(r"[,/ ]+", prefix) if word.lower() not in _ARCH_WORDS]
    return f"{'/'.join(words)}: {rest}" if words else rest


def stable_version(text: str) -> UpstreamVersion | None:
    """Returns the version in the name of an upstream changelog, None if the name has none."""
    try:
        return parse_version(text)
    except ValueError:
        return None
