"""Reading files of a tree that may be anything, under names that may be anything."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest

from tailcall_audit.analyzer.kernelfiles import tree_files
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, DiskReader, KeptBlobs, ReadState
from tests.repositories import History


def test_what_is_no_regular_file_is_unreadable_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("folder")
    reader = DiskReader(tmp_path)
    before = os.listdir("/proc/self/fd")
    for name in ("folder", "pipe", "link", "a\0b", "\0", "n" * 5000, "pipe/below", "../x", "/etc/passwd"):
        assert reader.read(name).state is not ReadState.READ, name
    assert reader.read("folder").reason == "not a regular file"
    assert reader.read("gone").state is ReadState.MISSING
    assert reader.names("a\0b") is None
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_blobs_that_several_commits_share_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path, bare=True)
    names = [history.commit("one\n", {"a": b"a" * 50, "b": b"b" * 50}), history.commit("two\n", {"b": b"c" * 50})]
    commits = [history.repository[name].peel(pygit2.Commit) for name in names]
    kept = KeptBlobs()
    first, second = (BlobReader(history.repository, commit, kept=kept) for commit in commits)
    data = first.read("a").data
    assert second.read("a").data is data
    assert (first.read("b").data, second.read("b").data) == (b"b" * 50, b"c" * 50)
    assert second.read("a", 49).state is ReadState.UNREADABLE  # a kept file has the same limit
    monkeypatch.setattr(tree_files, "_MAX_KEPT", 100)
    small = KeptBlobs()
    reader = BlobReader(history.repository, commits[0], kept=small)
    assert [reader.read(name).data[:1] for name in ("a", "b", "Makefile", "a")] == [b"a", b"b", b"#", b"a"]
    assert small.get(str(reader.entry_id("b"))) is None
