"""What a distribution's changelog says: which commits were backported to the package's base, and what silence means.

A listed subject proves a backport, and its revert the opposite. Silence proves an absence only where the changelog is complete:
it reaches back to the base release, and every stable update in between lists its subjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tailcall_audit.analyzer.catalog.types import Catalog, Commit
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family, Item, arch_neutral
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.messages import normalize_subject, unwrap_revert
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.release_string import KernelRelease, ReleaseError, parse_release
from tailcall_audit.analyzer.subjects.schemes import Proof
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.text import printable
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["ChangelogFacts", "read", "read_changelog_facts"]

_SIGNED = re.compile(r"(\d[\d.]*~?[a-z0-9]*)\+(\d\S*)", re.ASCII)
_UPSTREAM = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?", re.ASCII)
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


def _debian_version(text: str) -> str:
    """Debian's signed packages are versioned 6.1.170+3 for the sources 6.1.170-3."""
    match = _SIGNED.fullmatch(text)
    return text if match is None or "-" in text else f"{match.group(1)}-{match.group(2)}"


def _cut(changelog: Changelog, version: str | None) -> tuple[Entry, ...]:
    """The entries up to the audited version; raises ChangelogError when the file does not have it."""
    if version is None:
        return changelog.entries
    if changelog.family is Family.SUSE:
        raise ChangelogError(
            f"{changelog.path}: a .changes file has no versions, so it cannot be cut at {version}: give the file of that build"
        )
    wanted = {
        version,
        _debian_version(version),
        re.sub(r"^\d+:", "", re.sub(r"\.(?:x86_64|aarch64|s390x|ppc64le|noarch|i686)$", "", version)),
    }
    for index, entry in enumerate(changelog.entries):
        if entry.version in wanted or _debian_version(entry.version) in wanted:
            return changelog.entries[index:]
    near = ", ".join(entry.version for entry in changelog.entries[:3] if entry.version)
    raise ChangelogError(
        f"{changelog.path}: no entry of version {version}; the newest are {near or 'without a version'}"
    )


def _upstream(version: str) -> UpstreamVersion | None:
    match = _UPSTREAM.match(version)
    return (
        None if match is None else UpstreamVersion(int(match.group(1)), int(match.group(2)), int(match.group(3) or 0))
    )


def _same_series(entry: Entry, base: UpstreamVersion) -> bool:
    version = _upstream(entry.version)
    return version is None or version.branch == base.branch


def _holes(entries: Sequence[Entry], stable: UpstreamVersion) -> list[str]:
    """The stable releases up to the newest one rolled in whose subjects are not listed."""
    listed = {update.version for entry in entries for update in entry.updates if update.listed}
    wanted = [UpstreamVersion(stable.major, stable.minor, number) for number in range(1, stable.sublevel + 1)]
    return [str(version) for version in wanted if version not in listed]


def _window(changelog: Changelog, entries: tuple[Entry, ...], release: KernelRelease) -> _Window:
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
        elif not any(first.match(entry.version) for entry in kept):
            oldest = kept[-1] if kept else entries[-1]
            gap = f"it ends with {oldest.version or 'an entry without a version'} of {oldest.date}, before the first build of {base}"
    else:
        gap = "a .changes file does not say where the base release begins"
    return _Window(kept, base, stable, gap)


def _identify(changelog: Changelog, entry: Entry, version: str | None) -> KernelRelease:
    """The kernel that a package version names."""
    named = version or entry.version
    if not named:
        raise ChangelogError(
            f"{changelog.path}: its newest entry has no version; name the package's with --package-version"
        )
    if changelog.family is Family.DEBIAN:
        package = _debian_version(named)
        release = parse_release(f"Debian {package}")
        return release._replace(
            release=package, notes=(f"Debian's package version {package} is the upstream stable release",)
        )
    try:
        release = parse_release(named)
    except ReleaseError as error:
        raise ChangelogError(
            f"{changelog.path}: {named!r} is no kernel version; name the package's with --package-version"
        ) from error
    if changelog.family is Family.UBUNTU:
        return release._replace(
            distro="ubuntu", package=named, proof=Proof.PATCHED, vanilla_like=True, local=None, notes=()
        )
    return release


class _Subjects:
    """Finds the catalogue's commits by the subjects of a changelog, compared as a whole."""

    def __init__(self, catalog: Catalog, branch: str) -> None:
        usable = [commit for commit in catalog.commits.values() if commit.only_on_branch in (None, branch)]
        self._whole = {normalize_subject(commit.subject): commit for commit in usable}
        self._neutral = {arch_neutral(normalize_subject(commit.subject)): commit for commit in usable}
        self._exceptions = {(normalize_subject(entry.subject), entry.commit) for entry in catalog.not_fixes}
        # A cheap test first: most lines of a changelog share no word with the catalogue.
        self._ends = {subject.split()[-1] for subject in (*self._whole, *self._neutral)}

    def find(self, item: Item) -> tuple[Commit, bool] | None:
        """The commit that an item applies (True) or takes back (False)."""
        if item.own:
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
        return commit, depth % 2 == 0


def _listed(catalog: Catalog, changelog: Changelog, window: _Window) -> Iterator[Evidence]:
    subjects = _Subjects(catalog, window.base.branch)
    last: dict[str, tuple[Entry, list[tuple[Item, bool]]]] = {}
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
            yield Evidence(
                EvidenceKind.CHANGELOG,
                key,
                Presence.UNKNOWN,
                citation,
                f"entry {name} both lists and reverts it, in no certain order ({citation})",
                Confidence.LOW,
                settle="tailcall-audit --tree PATH   on the unpacked sources of this package",
            )
            continue
        what = "" if applied else "reverted: "
        detail = f'{what}entry {name} lists "{printable(item.subject, 120)}" ({citation})'
        presence = Presence.PRESENT if applied else Presence.ABSENT
        yield Evidence(EvidenceKind.CHANGELOG, key, presence, citation, detail, Confidence.HIGH)


def read_changelog_facts(
    catalog: Catalog, changelog: Changelog, version: str | None = None, package: str | None = None
) -> ChangelogFacts:
    """Read what a changelog says about a package version (None: its newest entry); raises ChangelogError where it has none.

    `package` is the version of the package that the changelog came in, where its entries need not name it.
    """
    entries = _cut(changelog, version)
    release = _identify(changelog, entries[0], version or package)
    window = _window(changelog, entries, release)
    release = release._replace(version=window.stable)
    evidence = list(_listed(catalog, changelog, window))
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
