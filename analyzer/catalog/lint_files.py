"""The rules of the linter about what a file says: sources, ids, signatures, examples, changes and conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.files import CatalogFiles, mapping, named_facts
from tailcall_audit.analyzer.catalog.lint_rule import Checked, Finding, Rule, registering
from tailcall_audit.analyzer.catalog.yaml_file import Data, Place, YamlFile

__all__ = ["RULES"]

RULES: dict[str, Rule] = {}
"""The rules by the name of their complaint."""
_rule = registering(RULES)


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
def _unknown_tag(checked: Checked) -> Iterator[Finding]:
    for file in _every_file(checked.files):
        for text, place in _sources(file.data):
            for tag in _SEGMENT.findall(text):
                if tag not in checked.catalog.sources:
                    yield Finding(file, place, tag, f"the tag {tag} is not in sources.yaml")


@_rule("missing-source")
def _missing_source(checked: Checked) -> Iterator[Finding]:
    for file in _every_file(checked.files):
        for text, place in _sources(file.data):
            if not _SEGMENT.findall(text):
                yield Finding(
                    file,
                    place,
                    "",
                    f"{text!r} begins with no tag of sources.yaml, so it does not say where the fact is from",
                )


@_rule("short-id")
def _short_id(checked: Checked) -> Iterator[Finding]:
    for file in checked.files.commits.values():
        data = mapping(file.data)
        if len(data["id"]) != 40:
            yield Finding(file, ("id",), "", f"the id {data['id']} is abbreviated: 40 digits name one commit for good")
        for branch, fact in data.get("branches", {}).items():
            if len(fact.get("id", "0" * 40)) != 40:
                yield Finding(file, ("branches", branch, "id"), branch, f"the id {fact['id']} is abbreviated")


@_rule("guessed-rc")
def _guessed_rc(checked: Checked) -> Iterator[Finding]:
    for file in checked.files.commits.values():
        data = mapping(file.data)
        if "-rc" in data["first_release"] and "unverified" in data:
            message = (
                f"{data['first_release']} names a release candidate of a commit that is unverified: write the release"
            )
            yield Finding(file, ("first_release",), "", message)


@_rule("unused-commit")
def _unused_commit(checked: Checked) -> Iterator[Finding]:
    catalog = checked.catalog
    used = {key for defect in catalog.defects for key in defect.commits}
    used |= {fact.commit for fact in catalog.series}
    used |= {entry.commit for commit in catalog.commits.values() for entry in (*commit.needs, *commit.follow_ups)}
    for key, file in checked.files.commits.items():
        if key not in used:
            yield Finding(file, ("id",), "", "no defect and no series names this commit")


@_rule("wrong-order")
def _wrong_order(checked: Checked) -> Iterator[Finding]:
    """A commit that another one needs is in mainline before it, and a follow-up comes after it; a circle has no order."""
    commits = checked.catalog.commits
    for key, file in checked.files.commits.items():
        commit = commits[key]
        pairs = [("needs", entry, commits[entry.commit], commit) for entry in commit.needs]
        pairs += [("follow_ups", entry, commit, commits[entry.commit]) for entry in commit.follow_ups]
        for name, entry, first, second in pairs:
            if first is second or first.first_release > second.first_release:
                message = f"{first.key} is in mainline since {first.first_release}, {second.key} since {second.first_release}: {first.key} cannot come first"
                yield Finding(file, (name,), entry.commit, message)


@_rule("opposite-present")
def _opposite_present(checked: Checked) -> Iterator[Finding]:
    for file, index, part in _signature_parts(checked.files):
        if len(part["present"]) > 1 and "same_because" not in part:
            place = ("signature", index, "present")
            message = "several forms count as present: add same_because, a line that says why they behave the same"
            yield Finding(file, place, part["name"], message)
        alone = {form[0] for form in part["present"] if len(form) == 1}
        for text in sorted(text for text in alone if f"!{text}" in alone):
            message = f"{text!r} counts as present, and so does its absence: every source has the one or the other"
            yield Finding(file, ("signature", index, "present"), part["name"], message)


@_rule("unseen-part")
def _unseen_part(checked: Checked) -> Iterator[Finding]:
    """A fix of several places is in only if all of them are. A declaration in a header counts as needed for the code to
    compile.
    """
    for key, file in checked.files.commits.items():
        commit = checked.catalog.commits[key]
        if commit.is_feature:
            continue
        seen = {path for part in commit.signature for path in part.files}
        explained = mapping(file.data).get("unseen", {})
        for index, path in enumerate(commit.files):
            if path not in seen and path not in explained and not path.startswith("include/"):
                message = f"no part of the signature reads {path}: add one, or say under unseen why that is enough"
                yield Finding(file, ("files", index), path, message)
        for path in explained:
            if path in seen or path not in commit.files:
                yield Finding(file, ("unseen", path), path, f"{path} is read by the signature or no file of the commit")


@_rule("changes-unsaid")
def _changes_unsaid(checked: Checked) -> Iterator[Finding]:
    """Users meet a fix more often than its defect, as a program that is refused: so each fix names its changes for
    programs.
    """
    fixes = {key for defect in checked.catalog.defects for key in leaves(defect.fixed)}
    for key, file in checked.files.commits.items():
        said = "changes" in mapping(file.data)
        if key in fixes and not said:
            message = "a fix says under changes what it changes for programs; an empty list where it is nothing"
            yield Finding(file, ("id",), "", message)
        elif said and key not in fixes:
            yield Finding(file, ("changes",), "", "no defect is fixed by this commit: changes are those of a fix")


@_rule("condition-missing")
def _condition_missing(checked: Checked) -> Iterator[Finding]:
    """A defect names what programs must do to meet it, and its fix what they must do to be refused."""
    for file in checked.files.defects.values():
        if "exposure" not in mapping(file.data):
            yield Finding(file, ("title",), "", "say under exposure what programs must do to meet it")
    for file in checked.files.commits.values():
        for index, entry in enumerate(mapping(file.data).get("changes", [])):
            if "errno" in entry and "refuses" not in entry:
                message = "say under refuses which programs get the error"
                yield Finding(file, ("changes", index, "errno"), str(index), message)


@_rule("unused-fact")
def _unused_fact(checked: Checked) -> Iterator[Finding]:
    used = {name for _, name, _ in named_facts(checked.files.defects, checked.files.commits)}
    file = checked.files.tables["facts"]
    for name in mapping(file.data):
        if name not in used:
            yield Finding(file, (name,), name, "no condition names this fact")


@_rule("no-example")
def _no_example(checked: Checked) -> Iterator[Finding]:
    for file, index, part in _signature_parts(checked.files):
        if not _is_exemplified(part):
            message = f"{part['name']!r} was seen on no kernel: add examples"
            yield Finding(file, ("signature", index), part["name"], message)
    for file in checked.files.commits.values():
        for kind in ("btf", "emulation", "code"):
            entry = mapping(file.data).get(kind)
            if entry is not None and not _is_exemplified(entry):
                yield Finding(file, (kind,), kind, f"{kind} was seen on no kernel: add examples")


def _is_exemplified(entry: dict[str, Any]) -> bool:
    examples = entry.get("examples", {})
    return bool(examples.get("present") or examples.get("absent"))


def _signature_parts(files: CatalogFiles) -> Iterator[tuple[YamlFile, int, dict[str, Any]]]:
    for file in files.commits.values():
        for index, part in enumerate(mapping(file.data).get("signature", [])):
            yield file, index, part
