"""Reading files of a tree that may be anything, under names that may be anything."""

from __future__ import annotations

import os
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader, ReadState


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
