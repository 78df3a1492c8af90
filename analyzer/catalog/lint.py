"""Finds facts that are valid and doubtful. Each rule has a name; a file can accept a complaint of it with a reason.

A reason stands in the file that the complaint is about, under `lint`, by the complaint's name and, where it has one,
its detail:

    lint:
      range-gap 6.6: no source of 6.6 was at hand

A reason that accepts nothing is a complaint of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.files import CatalogFiles, mapping, named_facts
from tailcall_audit.analyzer.catalog.ranges import derive_ranges
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.catalog.yaml_file import Complaint, Data, Place, YamlFile
from tailcall_audit.analyzer.version import parse_version

__all__ = ["RULES", "lint"]


class _Finding(NamedTuple):
    """What a rule has found: the file and the place in it, a detail that an acceptance can name, and the message."""

    file: YamlFile
    place: Place
    detail: str
    message: str


class _Subject(NamedTuple):
    files: CatalogFiles
    catalog: Catalog


_Rule = Callable[[_Subject], Iterator[_Finding]]
RULES: dict[str, _Rule] = {}
"""The rules by the name of their complaint."""


def _rule(name: str) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        RULES[name] = rule
        return rule

    return register


def lint(files: CatalogFiles, catalog: Catalog) -> list[Complaint]:
    """Returns every complaint that no file accepts, in the order of files and lines. `files` have no complaints of
    their own.
    """
    subject = _Subject(files, catalog)
    unused = {
        (file.path, accepted): file
        for file in (*files.commits.values(), *files.defects.values())
        for accepted in mapping(file.data).get("lint", {})
    }
    complaints = []
    for name, rule in RULES.items():
        for finding in rule(subject):
            path = finding.file.path
            accepted = mapping(finding.file.data).get("lint", {}) if isinstance(finding.file.data, dict) else {}
            used = [key for key in (name, f"{name} {finding.detail}") if key in accepted]
            for key in used:
                unused.pop((path, key), None)
            if not used:
                complaints.append(Complaint(name, path, finding.file.line(finding.place), finding.message))
    for (path, accepted), file in unused.items():
        message = f"nothing complains about {accepted!r}: take the line out"
        complaints.append(Complaint("unused-acceptance", path, file.line(("lint", accepted)), message))
    return sorted(complaints, key=lambda complaint: (complaint.path, complaint.line, complaint.name))


def _sources(data: Data, place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Yields every `source` in a file."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "source" and isinstance(value, str):
                yield value, (*place, key)
            else:
                yield from _sources(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _sources(value, (*place, index))


def _every_file(files: CatalogFiles) -> Iterator[YamlFile]:
    for group in (files.commits, files.defects, files.series, files.tables):
        yield from group.values()


_SEGMENT = re.compile(r"(?:^|; )([A-Z]{2,})\b(?!-)")


@_rule("unknown-tag")
def _unknown_tag(subject: _Subject) -> Iterator[_Finding]:
    for file in _every_file(subject.files):
        for text, place in _sources(file.data):
            for tag in _SEGMENT.findall(text):
                if tag not in subject.catalog.sources:
                    yield _Finding(file, place, tag, f"the tag {tag} is not in sources.yaml")


@_rule("missing-source")
def _missing_source(subject: _Subject) -> Iterator[_Finding]:
    for file in _every_file(subject.files):
        for text, place in _sources(file.data):
            if not _SEGMENT.findall(text):
                yield _Finding(
                    file, place, "", f"{text!r} begins with no tag of sources.yaml, so it says not where it is from"
                )


@_rule("short-id")
def _short_id(subject: _Subject) -> Iterator[_Finding]:
    for file in subject.files.commits.values():
        data = mapping(file.data)
        if len(data["id"]) != 40:
            yield _Finding(file, ("id",), "", f"the id {data['id']} is abbreviated: 40 digits name one commit for good")
        for branch, fact in data.get("branches", {}).items():
            if len(fact.get("id", "0" * 40)) != 40:
                yield _Finding(file, ("branches", branch, "id"), branch, f"the id {fact['id']} is abbreviated")


@_rule("guessed-rc")
def _guessed_rc(subject: _Subject) -> Iterator[_Finding]:
    for file in subject.files.commits.values():
        data = mapping(file.data)
        if "-rc" in data["first_release"] and "release candidate" in data.get("unverified", ""):
            message = f"{data['first_release']} names a release candidate that was not seen: write the release"
            yield _Finding(file, ("first_release",), "", message)


@_rule("unused-commit")
def _unused_commit(subject: _Subject) -> Iterator[_Finding]:
    catalog = subject.catalog
    used = {key for defect in catalog.defects for key in defect.commits}
    used |= {fact.commit for fact in catalog.series}
    used |= {entry.commit for commit in catalog.commits.values() for entry in (*commit.needs, *commit.follow_ups)}
    for key, file in subject.files.commits.items():
        if key not in used:
            yield _Finding(file, ("id",), "", "no defect and no series names this commit")


@_rule("wrong-order")
def _wrong_order(subject: _Subject) -> Iterator[_Finding]:
    """A commit that another one needs is in mainline before it, and a follow-up comes after it; a circle has no order."""
    commits = subject.catalog.commits
    for key, file in subject.files.commits.items():
        commit = commits[key]
        pairs = [("needs", entry, commits[entry.commit], commit) for entry in commit.needs]
        pairs += [("follow_ups", entry, commit, commits[entry.commit]) for entry in commit.follow_ups]
        for name, entry, first, second in pairs:
            if first is second or first.first_release > second.first_release:
                message = f"{first.key} is in mainline since {first.first_release}, {second.key} since {second.first_release}: {first.key} cannot come first"
                yield _Finding(file, (name,), entry.commit, message)


@_rule("opposite-present")
def _opposite_present(subject: _Subject) -> Iterator[_Finding]:
    for file, index, part in _signature_parts(subject.files):
        if len(part["present"]) > 1 and "same_because" not in part:
            place = ("signature", index, "present")
            message = "several forms count as present: add same_because, a line that says why they behave the same"
            yield _Finding(file, place, part["name"], message)


@_rule("unseen-part")
def _unseen_part(subject: _Subject) -> Iterator[_Finding]:
    """A fix of several places is in only if all of them are. A declaration in a header counts as needed for the code to
    compile.
    """
    for key, file in subject.files.commits.items():
        commit = subject.catalog.commits[key]
        if commit.is_feature:
            continue
        seen = {path for part in commit.signature for path in part.files}
        explained = mapping(file.data).get("unseen", {})
        for index, path in enumerate(commit.files):
            if path not in seen and path not in explained and not path.startswith("include/"):
                message = f"no part of the signature reads {path}: add one, or say under unseen why that is enough"
                yield _Finding(file, ("files", index), path, message)
        for path in explained:
            if path in seen or path not in commit.files:
                yield _Finding(
                    file, ("unseen", path), path, f"{path} is read by the signature or no file of the commit"
                )


@_rule("changes-unsaid")
def _changes_unsaid(subject: _Subject) -> Iterator[_Finding]:
    """Users meet a fix more often than its defect, as a program that is refused: so each fix names its changes for
    programs.
    """
    fixes = {key for defect in subject.catalog.defects for key in leaves(defect.fixed)}
    for key, file in subject.files.commits.items():
        said = "changes" in mapping(file.data)
        if key in fixes and not said:
            message = "a fix says under changes what it changes for programs; an empty list where it is nothing"
            yield _Finding(file, ("id",), "", message)
        elif said and key not in fixes:
            yield _Finding(file, ("changes",), "", "no defect is fixed by this commit: changes are those of a fix")


@_rule("condition-missing")
def _condition_missing(subject: _Subject) -> Iterator[_Finding]:
    """A defect names what programs must do to meet it, and its fix what they must do to be refused."""
    for file in subject.files.defects.values():
        if "exposure" not in mapping(file.data):
            yield _Finding(file, ("title",), "", "say under exposure what programs must do to meet it")
    for file in subject.files.commits.values():
        for index, entry in enumerate(mapping(file.data).get("changes", [])):
            if "errno" in entry and "refuses" not in entry:
                message = "say under refuses which programs get the error"
                yield _Finding(file, ("changes", index, "errno"), str(index), message)


@_rule("unused-fact")
def _unused_fact(subject: _Subject) -> Iterator[_Finding]:
    used = {name for _, name, _ in named_facts(subject.files.defects, subject.files.commits)}
    file = subject.files.tables["facts"]
    for name in mapping(file.data):
        if name not in used:
            yield _Finding(file, (name,), name, "no condition names this fact")


@_rule("no-example")
def _no_example(subject: _Subject) -> Iterator[_Finding]:
    for file, index, part in _signature_parts(subject.files):
        if not _is_exemplified(part):
            message = f"{part['name']!r} was seen on no kernel: add examples"
            yield _Finding(file, ("signature", index), part["name"], message)
    for file in subject.files.commits.values():
        for kind in ("btf", "emulation", "code"):
            entry = mapping(file.data).get(kind)
            if entry is not None and not _is_exemplified(entry):
                yield _Finding(file, (kind,), kind, f"{kind} was seen on no kernel: add examples")


def _is_exemplified(entry: dict[str, Any]) -> bool:
    examples = entry.get("examples", {})
    return bool(examples.get("present") or examples.get("absent"))


def _signature_parts(files: CatalogFiles) -> Iterator[tuple[YamlFile, int, dict[str, Any]]]:
    for file in files.commits.values():
        for index, part in enumerate(mapping(file.data).get("signature", [])):
            yield file, index, part


@_rule("wrong-branch")
def _wrong_branch(subject: _Subject) -> Iterator[_Finding]:
    for key, file in subject.files.commits.items():
        commit = subject.catalog.commits[key]
        for name, fact in commit.branches.items():
            version = fact.release or fact.present_by or fact.surveyed_through
            place = ("branches", name)
            branch = subject.catalog.branches.get(name)
            if version is not None and version.branch != name:
                yield _Finding(file, place, name, f"{version} is no release of {name}.y")
            elif branch is None:
                yield _Finding(file, place, name, f"{name} is not in branches.yaml")
            elif branch.last is not None and version is not None and version > branch.last:
                yield _Finding(
                    file, place, name, f"{version} is newer than {branch.last}, the last release of {name}.y"
                )
            elif commit.only_on_branch is None and parse_version(name) >= commit.first_release:
                yield _Finding(file, place, name, f"{name} has the commit from mainline since {commit.first_release}")


@_rule("repeated-id")
def _repeated_id(subject: _Subject) -> Iterator[_Finding]:
    seen: dict[str, str] = {}
    for key, file in subject.files.commits.items():
        for name, fact in subject.catalog.commits[key].branches.items():
            if fact.id is None or (key == fact.id[:12] and subject.catalog.commits[key].only_on_branch):
                continue
            if fact.id in seen:
                yield _Finding(file, ("branches", name, "id"), name, f"{fact.id} stands at {seen[fact.id]} too")
            seen[fact.id] = f"{key} {name}"


@_rule("range-gap")
def _range_gap(subject: _Subject) -> Iterator[_Finding]:
    """A living branch that was affected when it began, and on which no survey looked for the fix."""
    catalog = subject.catalog
    for defect in catalog.defects:
        if defect.fixed is None:
            continue
        for name in _affected_branches(catalog, defect):
            for key in dict.fromkeys(leaves(defect.fixed)):
                if _is_open(catalog.commits[key], name):
                    file = subject.files.commits[key]
                    message = f"{defect.slug}: {name}.y began with the defect, and was not searched for this fix"
                    yield _Finding(file, ("first_release",), name, message)


def _affected_branches(catalog: Catalog, defect: Defect) -> Iterator[str]:
    """Branches without an end whose base release has the defect."""
    (mainline,) = (entry for entry in derive_ranges(catalog, defect) if entry.branch == "mainline")
    for name, branch in catalog.branches.items():
        base = parse_version(name)
        for span in mainline.affected:
            after = span.fixed is not None and base >= parse_version(span.fixed)
            if branch.last is None and parse_version(span.start) <= base and not after:
                yield name


def _is_open(commit: Commit, branch: str) -> bool:
    return (
        branch not in commit.branches
        and not commit.is_feature
        and commit.only_on_branch is None
        and parse_version(branch) < commit.first_release
    )
