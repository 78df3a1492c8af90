"""Files on disk that differ from HEAD: what is on disk is audited, and the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES
from tailcall_audit.analyzer.readers.source import SourceReader, changed_files
from tailcall_audit.analyzer.subjects.locate_tree import open_tree
from tests.repositories import History

CORE, NEW = "kernel/bpf/core.c", "kernel/bpf/new.c"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    history = History(tmp_path / "linux", "6.1")
    history.commit("Linux 6.1\n", {CORE: b"int core;\nint more;\n", "kernel/bpf/Makefile": b"", "Kconfig": b""})
    history.checkout()
    return history.path


def _changed(path: Path, rev: str | None = None) -> list[str]:
    tree = open_tree(str(path), rev)
    return changed_files(tree, SourceReader(tree.files), (CORE, NEW))


def test_a_clean_checkout_differs_in_nothing(checkout: Path) -> None:
    assert _changed(checkout) == []


def test_another_content_is_a_change(checkout: Path) -> None:
    (checkout / CORE).write_bytes(b"int core;\nint less;\n")
    assert _changed(checkout) == [CORE]
    (checkout / "Makefile").write_bytes((checkout / "Makefile").read_bytes() + b"# mine\n")
    assert _changed(checkout) == [CORE, "Makefile"]


def test_the_ends_of_lines_of_windows_are_no_change(checkout: Path) -> None:
    (checkout / CORE).write_bytes(b"int core;\r\nint more;\r\n")
    assert _changed(checkout) == []


def test_a_file_that_a_sparse_checkout_leaves_out_is_no_change(checkout: Path) -> None:
    (checkout / CORE).unlink()
    assert _changed(checkout) == []


def test_a_file_that_head_lacks_or_that_cannot_be_read_is_not_compared(checkout: Path) -> None:
    (checkout / NEW).write_bytes(b"int new;\n")
    (checkout / CORE).write_bytes(b"/" * (MAX_BYTES + 1))
    assert _changed(checkout) == []


def test_a_revision_is_read_from_its_commit(checkout: Path) -> None:
    (checkout / CORE).write_bytes(b"int core;\nint less;\n")
    assert _changed(checkout, "HEAD") == []
