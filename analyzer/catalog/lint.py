"""Finds facts that are valid and doubtful. Each rule has a name; a file can accept a complaint of it with a reason.

A reason stands in the file that the complaint is about, under `lint`, by the complaint's name and, where it has one,
its detail:

    lint:
      range-gap 6.6: no source of 6.6 was at hand

A reason that accepts nothing is a complaint of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from tailcall_audit.analyzer.catalog import lint_branches, lint_files
from tailcall_audit.analyzer.catalog.files import CatalogFiles, mapping
from tailcall_audit.analyzer.catalog.lint_rule import Checked, Rule
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.catalog.yaml_file import Complaint

__all__ = ["RULES", "lint"]


RULES: Mapping[str, Rule] = lint_files.RULES | lint_branches.RULES
"""The rules by the name of their complaint."""


def lint(files: CatalogFiles, catalog: Catalog) -> list[Complaint]:
    """Returns every complaint that no file accepts, in the order of files and lines. `files` have no complaints of
    their own.
    """
    checked = Checked(files, catalog)
    unused = {
        (file.path, accepted): file
        for file in (*files.commits.values(), *files.defects.values())
        for accepted in mapping(file.data).get("lint", {})
    }
    complaints = []
    for name, rule in RULES.items():
        for finding in rule(checked):
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
