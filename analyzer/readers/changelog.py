"""Evidence from a distribution's changelog: which commits were backported to the package's base.

A listed subject proves a backport, and its revert proves the opposite.
`tailcall_audit.analyzer.readers.changelog_silence` reads what a changelog does not list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Entry, Item, arch_neutral
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.hints import read_hints
from tailcall_audit.analyzer.readers.messages import normalize_subject, unwrap_revert
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.text import printable

__all__ = ["listed_evidence", "mentioning_versions", "read"]

_MAX_ITEM = 4000
"""The most letters of an item that can be a subject with its references."""


class _Subjects:
    """Finds the catalogue's commits by the subjects of a changelog, compared as a whole."""

    def __init__(self, catalog: Catalog, branch: str) -> None:
        usable = [commit for commit in catalog.commits.values() if commit.only_on_branch in (None, branch)]
        self._whole = {normalize_subject(commit.subject): commit for commit in usable}
        self._neutral = {arch_neutral(normalize_subject(commit.subject)): commit for commit in usable}
        self._exceptions = {(normalize_subject(entry.subject), entry.commit) for entry in catalog.not_fixes}
        # A cheap test first: most lines of a changelog share no word with the catalogue.
        self._ends = {subject.split()[-1] for subject in (*self._whole, *self._neutral)}

    def find(self, item: Item) -> tuple[Commit, bool | None] | None:
        """Returns the commit that an item applies (True), takes back (False), or drops as a patch (None: it may be
        present or not); None if the item names none.
        """
        if item.is_downstream or len(item.text) > _MAX_ITEM:
            return None
        if not any(end in item.text for end in self._ends):
            return None
        subject, depth = unwrap_revert(item.subject)
        name = normalize_subject(subject)
        commit = self._whole.get(name)
        if commit is None and item.tags:
            commit = self._neutral.get(arch_neutral(name))
        if commit is None or (name, commit.key) in self._exceptions:
            return None
        return commit, None if item.dropped else depth % 2 == 0


def _listed(opened: OpenChangelog) -> Iterator[Evidence]:
    changelog, window = opened.changelog, opened.window
    subjects = _Subjects(opened.catalog, window.base.branch)
    last: dict[str, tuple[Entry, list[tuple[Item, bool | None]]]] = {}
    for entry in reversed(window.entries):
        for item in entry.items:
            found = subjects.find(item)
            if found is not None:
                key = found[0].key
                if key not in last or last[key][0] is not entry:
                    last[key] = entry, []
                last[key][1].append((item, found[1]))
    # A Debian package's changelog lists an update in the order of its commits; an RPM's entry follows no rule.
    ordered = changelog.family.is_dpkg
    for key, (entry, mentions) in last.items():
        item, applied = mentions[-1]
        citation = f"{changelog.path}:{item.line}"
        name = entry.version or entry.date
        if not ordered and len({state for _, state in mentions}) > 1:
            yield _open_question(
                key, citation, f"entry {name} both lists and reverts it, in no certain order ({citation})"
            )
            continue
        if applied is None:
            text = f"entry {name} drops a patch of it, which may have been applied upstream or taken out ({citation})"
            yield _open_question(key, citation, text)
            continue
        what = "" if applied else "reverted: "
        detail = f'{what}entry {name} lists "{printable(item.subject, 120)}" ({citation})'
        presence = Presence.PRESENT if applied else Presence.ABSENT
        yield Evidence(EvidenceKind.CHANGELOG, key, presence, citation, detail, Confidence.HIGH)


def _open_question(key: str, citation: str, detail: str) -> Evidence:
    """Returns the evidence from an entry that was read and does not decide: lower ranks may not overrule it."""
    return Evidence(
        EvidenceKind.CHANGELOG,
        key,
        Presence.UNKNOWN,
        citation,
        detail,
        Confidence.LOW,
        settle="tailcall-audit --tree PATH   on the unpacked sources of this package",
    )


def _inherited(found: Iterable[Evidence], whose: str) -> Iterator[Evidence]:
    """Yields evidence from the changelog of another vendor's build of the same name. Listed commits are present. A
    commit that the changelog takes back is unknown here, because the base may have it.
    """
    for item in found:
        detail = f"by the changelog of {whose}, whose build has the same name: {item.detail}"
        if item.presence is Presence.ABSENT:
            yield item._replace(presence=Presence.UNKNOWN, detail=detail, confidence=Confidence.LOW)
        else:
            yield item._replace(detail=detail, confidence=min(item.confidence, Confidence.MEDIUM))


def mentioning_versions(opened: OpenChangelog) -> list[str]:
    """Returns the versions whose entries list or take back a commit of the catalogue, oldest first."""
    subjects = _Subjects(opened.catalog, opened.window.base.branch)
    return [
        entry.version
        for entry in reversed(opened.window.entries)
        if any(subjects.find(item) is not None for item in entry.items)
    ]


@lru_cache(maxsize=1)
def listed_evidence(opened: OpenChangelog) -> tuple[Evidence, ...]:
    """Returns the commits that a changelog lists or hints at. The last answer is cached, because the reader of silence
    asks for it next.
    """
    catalog = opened.catalog
    found = list(_listed(opened))
    known = {item.commit for item in found}
    # A hint at a fix that was made for another stable branch does not count for this one.
    branch = opened.window.base.branch
    elsewhere = {key for key, item in catalog.commits.items() if item.only_on_branch not in (None, branch)}
    return (*found, *read_hints(catalog, opened.changelog, opened.window.entries, known | elsewhere))


def read(subject: Subject, request: Request) -> Reading:
    """Reads the commits that the changelog lists, and those that it takes back."""
    opened = subject.parts.changelog
    assert opened is not None  # the registry's condition
    found = listed_evidence(opened)
    return Reading(found if opened.inherited is None else tuple(_inherited(found, opened.inherited)))
