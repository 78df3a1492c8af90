"""What a distribution's changelog says: which commits were backported to the package's base, and what silence means.

A listed subject proves a backport, and its revert the opposite. Silence proves an absence only where the changelog is complete:
it reaches back to the base release, and every stable update in between lists its subjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog, Commit, Proof
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item, arch_neutral
from tailcall_audit.analyzer.kernelfiles.release.package_release import (
    debian_version,
    distribution_of,
    is_source_of,
    package_release,
    rpm_release,
    upstream_of,
)
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.hints import read_hints
from tailcall_audit.analyzer.readers.messages import normalize_subject, unwrap_revert
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.text import printable
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["ChangelogFacts", "PackageName", "read", "read_changelog_facts"]

_EPOCH = re.compile(r"^\d+:")
_RPM_ARCHITECTURE = re.compile(r"\.(?:x86_64|aarch64|s390x|ppc64le|noarch|i686)$")
_JUMP = re.compile(
    r"\b(?:updat|rebas|upgrad|bump|switch|mov|sync|auto-?upgrad)\w*\b.{0,80}?\b(?:to|version|onto|at)\W{1,3}"
    r"(?:the |kernel |linux |version |upstream |stable |release ){0,4}v?(\d{1,4})\.(\d{1,4})",
    re.IGNORECASE | re.ASCII,
)
"""The words of openEuler ("update kernel-rt version to 6.6.0-64.0.0.5"), Azure Linux ("Auto-upgrade to 6.6.134.1"), Photon ("Update to
version 4.19.127") and XCP-ng ("Update kernel to 4.19")."""
_WHOLE_KERNEL = re.compile(r"\b(?:kernel|linux|upstream|bpf)\b", re.IGNORECASE)
_MAX_JUMP = 300
_MAX_ITEM = 4000
"""Letters of an item that can be a subject with its references."""
_SHOWN_HOLES = 6


@dataclass(frozen=True)
class ChangelogFacts:
    """What a changelog says of one package version: the kernel it is, evidence, and how far the file can be trusted."""

    release: KernelRelease
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Window:
    """The entries that count as backports to the base: those since the base release, newest first."""

    entries: tuple[Entry, ...]
    base: UpstreamVersion
    stable: UpstreamVersion
    gap: str | None


class PackageName(NamedTuple):
    """What a package that a changelog came in says of itself: its version, source package, name, and the release in that."""

    version: str
    source: str = ""
    name: str = ""
    release: str | None = None


def _cut(changelog: Changelog, version: str | None) -> tuple[Entry, ...]:
    """The entries up to the audited version; raises ChangelogError when the file does not have it.

    A file without versions is that of one build, which `version` names.
    """
    if version is None or changelog.family is Family.SUSE or not any(entry.version for entry in changelog.entries):
        return changelog.entries
    wanted = {version, debian_version(version), _RPM_ARCHITECTURE.sub("", _EPOCH.sub("", version))}
    for index, entry in enumerate(changelog.entries):
        if entry.version in wanted or debian_version(entry.version) in wanted:
            return changelog.entries[index:]
    near = ", ".join(entry.version for entry in changelog.entries[:3] if entry.version)
    raise ChangelogError(
        f"{changelog.path}: no entry of version {version}; the newest are {near or 'without a version'}"
    )


def _same_series(entry: Entry, base: UpstreamVersion) -> bool:
    version = upstream_of(entry.version)
    return version is None or version.branch == base.branch


def _holes(entries: Sequence[Entry], stable: UpstreamVersion) -> list[str]:
    """The stable releases up to the newest one rolled in whose subjects are not listed."""
    listed = {update.version for entry in entries for update in entry.updates if update.listed}
    wanted = [UpstreamVersion(stable.major, stable.minor, number) for number in range(1, stable.sublevel + 1)]
    return [str(version) for version in wanted if version not in listed]


def _jump(path: str, entries: Sequence[Entry], base: UpstreamVersion) -> str | None:
    """Where an RPM's changelog moves to another version without listing what came with it."""
    for entry in entries:
        for item in entry.items:
            found = _JUMP.search(item.text[:_MAX_JUMP])
            if found is None:
                continue
            to = (int(found.group(1)), int(found.group(2)))
            named = _WHOLE_KERNEL.search(item.text[:_MAX_JUMP]) is not None
            if to == (base.major, base.minor) or (named and to > (base.major, base.minor) and to[0] <= base.major + 3):
                text = printable(item.text, 80)
                return f'entry {entry.version or entry.date} says "{text}" and does not list what came with that ({path}:{item.line})'
    return None


def _window(changelog: Changelog, entries: tuple[Entry, ...], release: KernelRelease, lists_commits: bool) -> _Window:
    base = release.version.base
    kept = tuple(entry for entry in entries if _same_series(entry, base))
    reaches_past = len(kept) < len(entries)
    stable = release.version
    gap: str | None = None
    if changelog.family is Family.UBUNTU:
        rolled = [update.version for entry in kept for update in entry.updates if update.version.branch == base.branch]
        stable = max(rolled, default=base)
    if changelog.family in (Family.DEBIAN, Family.UBUNTU):
        oldest = kept[-1] if kept else entries[-1]
        holes = _holes(kept, stable)
        if not reaches_past:
            gap = f"it ends with {oldest.version} ({oldest.date or 'no date'}), within the series"
            if changelog.trimmed:
                gap += f'; "{changelog.trimmed}"'
        elif unnamed := next(((entry, entry.unnamed[0]) for entry in kept if entry.unnamed), None):
            gap = (
                f"entry {unnamed[0].version} rolls in a stable patchset that names no release, and such a set may be partial"
                f" ({changelog.path}:{unnamed[1]})"
            )
        elif holes:
            more = f" and {len(holes) - _SHOWN_HOLES} more" if len(holes) > _SHOWN_HOLES else ""
            gap = f"it lists no subject of {', '.join(holes[:_SHOWN_HOLES])}{more}"
    elif changelog.family is Family.RPM:
        first = re.compile(rf"{base.major}\.{base.minor}(?:\.0)?-1(?:\.|$)")
        if any(item.text.startswith("Linux v") for entry in kept for item in entry.items):
            gap = "this distribution names stable releases and does not list their subjects"
        elif jump := _jump(changelog.path, kept, base):
            gap = jump
        elif not any(first.match(entry.version) for entry in kept):
            oldest = kept[-1] if kept else entries[-1]
            gap = f"it ends with {oldest.version or 'an entry without a version'} of {oldest.date}, before the first build of {base}"
    else:
        gap = "a .changes file does not say where the base release begins"
    if gap is None and not lists_commits:
        gap = "it is not known that its vendor lists every commit that it takes"
    return _Window(kept, base, stable, gap)


def _identify(catalog: Catalog, changelog: Changelog, entry: Entry, package: PackageName) -> KernelRelease:
    """The kernel that a package is; raises ChangelogError where its version names none."""
    named = package.version
    try:
        if changelog.family in (Family.DEBIAN, Family.UBUNTU):
            source = package.source or entry.package
            is_ubuntu = changelog.family is Family.UBUNTU
            if is_ubuntu and is_source_of(catalog, "ubuntu", source):
                return parse_release(named, catalog)._replace(
                    distro="ubuntu", package=named, proof=Proof.PATCHED, vanilla_like=True, local=None, notes=()
                )
            return package_release(
                catalog,
                source=source,
                version=named,
                name=package.name,
                release=package.release,
                is_ubuntu=is_ubuntu,
            )
        return rpm_release(catalog, named, is_suse=changelog.family is Family.SUSE)
    except ReleaseError as error:
        raise ChangelogError(
            f"{changelog.path}: {named!r} is no kernel version; name the package's with --package-version"
        ) from error


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
        """The commit that an item applies (True), takes back (False), or is dropped as a patch (None): then it may be either."""
        if item.own or len(item.text) > _MAX_ITEM:
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


def _listed(catalog: Catalog, changelog: Changelog, window: _Window) -> Iterator[Evidence]:
    subjects = _Subjects(catalog, window.base.branch)
    last: dict[str, tuple[Entry, list[tuple[Item, bool | None]]]] = {}
    for entry in reversed(window.entries):
        for item in entry.items:
            found = subjects.find(item)
            if found is not None:
                key = found[0].key
                if key not in last or last[key][0] is not entry:
                    last[key] = entry, []
                last[key][1].append((item, found[1]))
    # Debian and Ubuntu list an update in the order of its commits; an RPM's entry follows no rule.
    ordered = changelog.family in (Family.DEBIAN, Family.UBUNTU)
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
    """What was read and cannot be told: whatever ranks below decides nothing."""
    return Evidence(
        EvidenceKind.CHANGELOG,
        key,
        Presence.UNKNOWN,
        citation,
        detail,
        Confidence.LOW,
        settle="tailcall-audit --tree PATH   on the unpacked sources of this package",
    )


def read_changelog_facts(
    catalog: Catalog,
    changelog: Changelog,
    version: str | None = None,
    package: PackageName | None = None,
) -> ChangelogFacts:
    """Read what a changelog says about a package version (None: its newest entry); raises ChangelogError where it has none.

    `package` is the package that the changelog came in, whose version its entries need not name.
    """
    entries = _cut(changelog, version)
    named = version or (package.version if package is not None else entries[0].version)
    if not named:
        raise ChangelogError(
            f"{changelog.path}: its newest entry has no version; name the package's with --package-version"
        )
    release = _identify(catalog, changelog, entries[0], (package or PackageName(named))._replace(version=named))
    distribution = distribution_of(catalog, release)
    lists_commits = distribution is not None and distribution.changelog.get("lists") == "commits"
    window = _window(changelog, entries, release, lists_commits)
    release = release._replace(version=window.stable)
    evidence = list(_listed(catalog, changelog, window))
    known = {item.commit for item in evidence}
    # A hint at a fix that was made for another stable branch is a hint at nothing here.
    elsewhere = {key for key, item in catalog.commits.items() if item.only_on_branch not in (None, window.base.branch)}
    evidence += read_hints(catalog, changelog, window.entries, known | elsewhere)
    seen = {item.commit for item in evidence}
    oldest = changelog.entries[-1]
    span = (
        f"{len(window.entries)} entries of {window.base.branch}, back to {window.entries[-1].version or window.entries[-1].date}"
        if window.entries
        else "no entry"
    )
    for key, commit in catalog.commits.items():
        if key in seen or (commit.first_release <= window.base and commit.only_on_branch is None):
            continue
        if window.gap is None:
            detail = f"not listed in {span} of {changelog.path}, which is complete"
            evidence.append(
                Evidence(
                    EvidenceKind.CHANGELOG_SILENCE, key, Presence.ABSENT, changelog.path, detail, Confidence.MEDIUM
                )
            )
        else:
            detail = f"not listed in {changelog.path}, which is not complete: {window.gap}"
            settle = "tailcall-audit --changelog FILE   with the complete changelog of the source package"
            evidence.append(
                Evidence(
                    EvidenceKind.CHANGELOG_SILENCE,
                    key,
                    Presence.UNKNOWN,
                    changelog.path,
                    detail,
                    Confidence.LOW,
                    settle=settle,
                    unread=True,
                )
            )
    notes = [f"changelog: {span}; the file goes back to {oldest.version or oldest.date}"]
    if not any(entry.version for entry in entries):
        notes.append(f"{changelog.path} has no versions: taken whole as the changelog of {named}")
    if window.gap is not None:
        notes.append(f"the changelog is not complete: {window.gap}")
    if changelog.family is Family.UBUNTU:
        notes.append(f"the newest stable release that Ubuntu has rolled in is {window.stable}")
    return ChangelogFacts(release, tuple(evidence), tuple(notes))


def read(subject: Subject, request: Request) -> Reading:
    """Reads what the changelog lists, and what it says that it takes back."""
    assert subject.parts.changelog is not None  # the registry's condition
    listed = (item for item in subject.parts.changelog.evidence if item.kind is EvidenceKind.CHANGELOG)
    return Reading(tuple(listed))
