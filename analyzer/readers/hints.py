"""Hints that a fix is in: a CVE that an entry names, a patch file named after a commit. They prove nothing, and forbid
"affected".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.text import printable

__all__ = ["file_name_of", "names_commit", "read_hints"]

_CUT = 40
"""Letters of a cut name that are enough to recognise it: `git format-patch` cuts the file's name, number and suffix
included, after 64.
"""
_MAX_TEXT = 4000
_NUMBER = re.compile(r"(?:\d+[._-])*")
_ODD = re.compile(r"[^A-Za-z0-9._]+")
_WORD = re.compile(r"\S{1,255}\.patch\b", re.ASCII)


def file_name_of(subject: str) -> str:
    """Returns the name that `git format-patch` makes of a subject, without number and suffix (Git's pretty.c,
    format_sanitized_subject).
    """
    return re.sub(r"\.{2,}", ".", _ODD.sub("-", subject)).strip("-.")


def names_commit(patch: str, subject: str) -> bool:
    """Returns True if a patch file has the name that `git format-patch` gives the subject, whole or cut, with or
    without a number in front.
    """
    name = patch.rsplit("/", 1)[-1].removesuffix(".patch").lower()
    wanted = file_name_of(subject).lower()
    number = _NUMBER.match(name)
    starts = (0, 0 if number is None else number.end())
    return any(
        name[start:] == wanted or (len(name) - start >= _CUT and wanted.startswith(name[start:])) for start in starts
    )


def _fixes_of_cves(catalog: Catalog) -> dict[str, list[Commit]]:
    """Returns the fixing commits of the defects that a CVE is filed for."""
    found: dict[str, list[Commit]] = {}
    for defect in catalog.defects:
        for cve in defect.cves:
            keys = (key for key in dict.fromkeys(leaves(defect.fixed)) if key in catalog.commits)
            found.setdefault(cve, []).extend(catalog.commits[key] for key in keys)
    return found


def _hint(commit: Commit, what: str, citation: str) -> Evidence:
    return Evidence(
        EvidenceKind.CHANGELOG,
        commit.key,
        Presence.UNKNOWN,
        citation,
        f"{what}, a hint that it is in, which proves neither that it is nor that it is not ({citation})",
        Confidence.LOW,
        settle="tailcall-audit --tree PATH   on the unpacked sources of this package",
    )


def read_hints(catalog: Catalog, changelog: Changelog, entries: Sequence[Entry], known: Set[str]) -> Iterator[Evidence]:
    """Yields the hints in a changelog, and in the patch list of a .spec, at commits about which nothing better is
    known; one for each commit.
    """
    seen = set(known)
    for line, patch in changelog.patches:
        for commit in catalog.commits.values():
            if commit.key not in seen and names_commit(patch, commit.subject):
                seen.add(commit.key)
                yield _hint(commit, f"the patch list names {printable(patch, 100)}", f"{changelog.path}:{line}")
    fixes = _fixes_of_cves(catalog)
    for entry in entries:
        name = entry.version or entry.date
        for item in entry.items:
            for cve in item.cves if "CVE-" in item.text else ():
                for commit in fixes.get(cve, ()):
                    if commit.key not in seen:
                        seen.add(commit.key)
                        yield _hint(commit, f"entry {name} names {cve}", f"{changelog.path}:{item.line}")
            for word in _WORD.findall(item.text[:_MAX_TEXT]) if ".patch" in item.text else ():
                for commit in catalog.commits.values():
                    if commit.key not in seen and names_commit(word, commit.subject):
                        seen.add(commit.key)
                        text = f"entry {name} names the patch {printable(word, 100)}"
                        yield _hint(commit, text, f"{changelog.path}:{item.line}")
