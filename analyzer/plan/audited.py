"""The tree that a plan is for, as it is committed, with the verdict on every defect of the catalogue."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tailcall_audit.analyzer.judging import read_facts
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader
from tailcall_audit.analyzer.model import Verdict
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.readers.source import SourceReader, changed_files, signature_files
from tailcall_audit.analyzer.subjects.locate_tree import KernelTree
from tailcall_audit.analyzer.subjects.subject import OpenTree, Parts, Request, Subject
from tailcall_audit.analyzer.subjects.tree import open_subjects
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Audited", "audit_committed"]


class Audited(NamedTuple):
    """The tree as it is: what was read, and the verdict on every defect of the catalogue."""

    subject: Subject
    tree: KernelTree
    version: UpstreamVersion | None
    facts: Facts
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]


def _committed(subject: Subject, request: Request) -> tuple[Subject, list[str]]:
    """Returns the subject as it is committed: picks go on top of a commit, so changes that are only on disk are left
    out.
    """
    opened = subject.parts.tree
    assert opened is not None  # the subject is a tree
    tree = opened.tree
    if tree.repository is None or tree.commit is None or not tree.on_disk:
        return subject, []
    changed = changed_files(tree, SourceReader(tree.files), signature_files(request.catalog))
    committed = dataclasses.replace(tree, files=BlobReader(tree.repository, tree.commit), on_disk=False)
    notes = [f"not committed, and not in this plan: changes of {', '.join(changed)}"] if changed else []
    return subject._replace(parts=Parts(tree=OpenTree(committed, opened.identity))), notes


def audit_committed(request: Request, path: str) -> Audited:
    """Opens, reads and judges a tree as it is committed; raises AuditError."""
    (found,) = open_subjects(request, path)
    subject, notes = _committed(found, request)
    opened = subject.parts.tree
    assert opened is not None  # the subject is a tree
    facts, read_notes = read_facts(subject, request)
    verdicts = judge_all(request.catalog, facts, request.catalog.defects)
    return Audited(
        subject, opened.tree, opened.identity.version, facts, verdicts, (*notes, *subject.notes, *read_notes)
    )
