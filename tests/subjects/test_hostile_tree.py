"""Trees and repositories that are broken, or would have something run, written or believed."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest

from tailcall_audit import State
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader, ReadState, blob_id
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tailcall_audit.analyzer.subjects.locate_tree import open_tree
from tests.repositories import (
    FIX_6,
    FIX_6_SUBJECT,
    History,
    backport,
    git,
    makefile,
)
from tests.subjects.trees import report, verdict


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.mkdir(), "/x is not a kernel tree: no Makefile"),
        (lambda path: (path.mkdir(), (path / "Makefile").write_text("all:\n\ttrue\n")), "not a kernel tree"),
        (lambda path: (path.mkdir(), (path / "Makefile").write_bytes(b"\xff\x00" * 1000)), "not a kernel tree"),
        (lambda path: pygit2.init_repository(str(path)), "a git repository without a commit"),
        (lambda path: (path / ".git").mkdir(parents=True), "not a kernel tree|cannot be opened"),
    ],
)
def test_what_is_no_kernel_tree_is_an_error(tmp_path: Path, make: object, message: str) -> None:
    target = tmp_path / "x"
    make(target)  # type: ignore[operator]
    with pytest.raises(TreeError, match=message):
        open_tree(str(target), None)


def test_a_broken_repository_leaves_the_code_to_decide(clone: History) -> None:
    (clone.path / ".git/config").write_text("[core]\n\trepositoryformatversion = 99\n")
    found = report(clone.path)
    assert found.verdicts[0].state is State.AFFECTED
    assert any("cannot be opened" in note for note in found.notes)
    with pytest.raises(TreeError, match="cannot be opened"):
        open_tree(str(clone.path), "HEAD")


def test_another_project_is_no_kernel(tmp_path: Path) -> None:
    history = History(tmp_path / "x")
    history.files = {"README": b"hello\n"}
    history.commit("hello\n")
    with pytest.raises(TreeError, match="not a kernel tree"):
        open_tree(str(tmp_path / "x"), None)


@pytest.mark.parametrize("rev", ["v9.9", "--upload-pack=touch /tmp/owned", "HEAD~999", "\x1b[2J", ""])
def test_a_revision_that_is_none_is_an_error(clone: History, rev: str) -> None:
    with pytest.raises(TreeError, match=r"no commit|is no revision"):
        open_tree(str(clone.path), rev)


def test_a_revision_needs_a_repository(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux/Makefile").write_bytes(makefile("6.1.170"))
    with pytest.raises(TreeError, match="rev needs a git repository"):
        open_tree(str(tmp_path / "linux"), "v6.1")


def test_nothing_of_the_repository_is_run_and_nothing_is_written(clone: History, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    trap = f"touch {owned}; false"
    hooks = clone.path / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-commit", "reference-transaction", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\n{trap}\n")
        (hooks / name).chmod(0o755)
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\n{trap}\n")
    script.chmod(0o755)
    with (clone.path / ".git/config").open("a") as config:
        config.write(
            f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {script}\n[core]\n\tpager = {script}\n\tfsmonitor = {script}\n\tsshCommand = {script}\n\teditor = {script}\n\thooksPath = {hooks}\n"
            f'[filter "x"]\n\tclean = {script}\n\tsmudge = {script}\n\tprocess = {script}\n[diff]\n\texternal = {script}\n[alias]\n\trev-list = !{script}\n[remote "origin"]\n\turl = ext::{script}\n\tpromisor = true\n'
        )
    (clone.path / ".gitattributes").write_text("* filter=x diff=x\n")
    commit = clone.commit("net: signed\n")
    assert commit
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(clone.path.rglob("*"))}
    for rev in (None, "HEAD"):
        assert verdict(clone.path, rev).state is State.AFFECTED
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(clone.path.rglob("*"))} == before
    assert not owned.exists()


def test_replace_refs_and_grafts_change_nothing(clone: History) -> None:
    local = clone.commit(backport(FIX_6, FIX_6_SUBJECT))
    parent = str(clone.repository[local].parent_ids[0])  # type: ignore[attr-defined]
    top = clone.commit("net: top\n")
    clone.repository.references.create(f"refs/replace/{local}", parent)
    (clone.path / ".git/info").mkdir(exist_ok=True)
    (clone.path / ".git/info/grafts").write_text(f"{top} {parent}\n")
    item = verdict(clone.path)
    assert any(evidence.kind.value == "history" and evidence.presence.value == "present" for evidence in item.evidence)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_repository_of_another_user_is_read(clone: History) -> None:
    for path in [clone.path, *clone.path.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert verdict(clone.path).state is State.AFFECTED


def test_links_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.c").write_text("x")
    root = tmp_path / "linux"
    root.mkdir()
    (root / "link.c").symlink_to(tmp_path / "outside/secret.c")
    (root / "kernel").symlink_to(tmp_path / "outside")
    (root / "large.c").write_bytes(b"x" * (5 << 20))
    os.mkfifo(root / "pipe.c")
    reader = DiskReader(root)
    for path in ("link.c", "kernel/secret.c", "large.c", "pipe.c"):
        assert reader.read(path).state is ReadState.UNREADABLE, path
    assert reader.read("nothing.c").state is ReadState.MISSING


def test_a_file_that_a_sparse_checkout_left_out_is_not_missing(clone: History) -> None:
    (clone.path / "kernel/bpf/arraymap.c").unlink()
    read = open_tree(str(clone.path), None).files.read("kernel/bpf/arraymap.c")
    assert read.state is ReadState.UNREADABLE
    assert "sparse checkout" in read.reason
    assert open_tree(str(clone.path), None).files.read("kernel/bpf/nothing.c").state is ReadState.MISSING


def test_a_device_in_place_of_a_source_file_is_unknown(clone: History) -> None:
    (clone.path / "kernel/bpf/arraymap.c").unlink()
    (clone.path / "kernel/bpf/arraymap.c").symlink_to("/dev/zero")
    item = verdict(clone.path)
    assert any("symbolic link" in evidence.detail for evidence in item.evidence)


def test_blob_ids_are_gits(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello\n")
    assert blob_id(b"hello\n") == git("hash-object", str(tmp_path / "x")).strip()
