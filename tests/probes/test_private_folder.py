"""A folder of this user: a missing file is not the same as one that is not trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tailcall_audit.probes.private_folder import PrivateFolder


def test_a_file_that_is_missing_is_no_file_of_another_user(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    folder.write("here", b"x")
    assert folder.read("here", 10) == b"x"
    with pytest.raises(FileNotFoundError):
        folder.read("gone", 10)
    with pytest.raises(FileNotFoundError):
        PrivateFolder(tmp_path / "gone").read("here", 10)


def test_what_others_may_write_and_what_is_no_file_is_not_trusted(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    folder.write("open", b"x")
    (tmp_path / "open").chmod(0o666)
    (tmp_path / "link").symlink_to("open")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("open", "link", "folder", "pipe"):
        assert folder.read(name, 10) is None, name
    folder.write("large", b"x" * 11)
    assert folder.read("large", 10) is None
