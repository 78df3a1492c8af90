"""Reads histories for tests, and finds the evidence about one commit."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.makefile import read_identity
from tailcall_audit.analyzer.model import Evidence
from tailcall_audit.analyzer.readers.history import History as Found
from tailcall_audit.analyzer.readers.history import read_history
from tailcall_audit.analyzer.subjects.locate_tree import open_tree
from tests.repositories import FIX_6

KEY_6 = FIX_6[:12]


def read(catalog: Catalog, path: Path, rev: str | None = None) -> Found:
    tree = open_tree(str(path), rev or "HEAD")
    assert tree.repository is not None and tree.commit is not None
    identity = read_identity(tree.files)
    return read_history(catalog, tree.repository, str(tree.commit.id), None if identity is None else identity.version)


def about(found: Found, key: str = KEY_6) -> Evidence:
    return next(item for item in found.evidence if item.commit == key)
