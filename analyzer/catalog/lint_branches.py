"""The rules of the linter about stable branches: the releases that facts name, their ids, and what no survey looked
at.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.lint_rule import Checked, Finding, Rule, registering
from tailcall_audit.analyzer.catalog.ranges import derive_ranges
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.version import parse_version

__all__ = ["RULES"]

RULES: dict[str, Rule] = {}
"""The rules by the name of their complaint."""
_rule = registering(RULES)


@_rule("wrong-branch")
def _wrong_branch(checked: Checked) -> Iterator[Finding]:
    for key, file in checked.files.commits.items():
        commit = checked.catalog.commits[key]
        for name, fact in commit.branches.items():
            version = fact.release or fact.present_by or fact.surveyed_through
            place = ("branches", name)
            branch = checked.catalog.branches.get(name)
            if version is not None and version.branch != name:
                yield Finding(file, place, name, f"{version} is no release of {name}.y")
            elif branch is None:
                yield Finding(file, place, name, f"{name} is not in branches.yaml")
            elif branch.last is not None and version is not None and version > branch.last:
                yield Finding(file, place, name, f"{version} is newer than {branch.last}, the last release of {name}.y")
            elif commit.only_on_branch is None and parse_version(name) >= commit.first_release:
                yield Finding(file, place, name, f"{name} has the commit from mainline since {commit.first_release}")


@_rule("repeated-id")
def _repeated_id(checked: Checked) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for key, file in checked.files.commits.items():
        for name, fact in checked.catalog.commits[key].branches.items():
            if fact.id is None or (key == fact.id[:12] and checked.catalog.commits[key].only_on_branch):
                continue
            if fact.id in seen:
                yield Finding(file, ("branches", name, "id"), name, f"{fact.id} stands at {seen[fact.id]} too")
            seen[fact.id] = f"{key} {name}"


@_rule("range-gap")
def _range_gap(checked: Checked) -> Iterator[Finding]:
    """A living branch that was affected when it began, and on which no survey looked for the fix."""
    catalog = checked.catalog
    for defect in catalog.defects:
        if defect.fixed is None:
            continue
        for name in _affected_branches(catalog, defect):
            for key in dict.fromkeys(leaves(defect.fixed)):
                if _is_open(catalog.commits[key], name):
                    file = checked.files.commits[key]
                    message = f"{defect.slug}: {name}.y began with the defect, and was not searched for this fix"
                    yield Finding(file, ("first_release",), name, message)


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
