"""Patch queues in a tree: what they name, what they revert, and how SUSE's is matched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tailcall_audit import State
from tests.kernels import kernel_source
from tests.repositories import FIX_6, FIX_6_SUBJECT, makefile
from tests.subjects.trees import report


def test_a_patch_queue_names_what_is_not_applied(tmp_path: Path) -> None:
    source, _ = kernel_source("6.1", "6.1.170-3")
    root = tmp_path / "linux"
    shutil.copytree(source, root)
    (root / "debian/patches/bugfix").mkdir(parents=True)
    (root / "debian/patches/series").write_text(
        "# comment\nbugfix/loop.patch -p1\nbugfix/other.patch\n../../etc/passwd\n"
    )
    (root / "debian/patches/bugfix/loop.patch").write_text(
        f"From: Leon Hwang\nSubject: [PATCH 1/2] {FIX_6_SUBJECT}\nOrigin: https://git.kernel.org/linus/{FIX_6}\n\n---\n kernel/bpf/arraymap.c | 2 +-\n"
    )
    (root / "debian/patches/bugfix/other.patch").write_text("Subject: something\n")
    found = report(root)
    assert found.verdicts[0].state is State.AFFECTED
    assert any("patch not applied yet" in note and "bugfix/loop.patch" in note for note in found.notes)
    (root / ".pc").mkdir()
    (root / ".pc/applied-patches").write_text("bugfix/loop.patch\n")
    found = report(root)
    assert any(
        item.kind.value == "patch-queue" and item.presence.value == "present" for item in found.verdicts[0].evidence
    )
    assert found.verdicts[0].state is State.AFFECTED
    assert any("patch-queue says present" in str(text) for text in found.verdicts[0].disagreements)


@pytest.mark.parametrize("body", ["", "\nThis reverts\ncommit d6083f040d5d8f8d748462c77e90547097df936e.\n"])
def test_an_applied_patch_that_reverts_a_fix_is_not_the_fix(tmp_path: Path, body: str) -> None:
    root = tmp_path / "linux"
    (root / "debian/patches").mkdir(parents=True)
    (root / "Makefile").write_bytes(makefile("6.1.192"))
    (root / "debian/patches/series").write_text("revert.patch\n")
    subject = "bpf: Prevent tailcall infinite loop caused by freplace"
    (root / "debian/patches/revert.patch").write_text(f'Subject: [PATCH] Revert "{subject}"\n{body}---\n')
    (root / ".pc").mkdir()
    (root / ".pc/applied-patches").write_text("revert.patch\n")
    found = next(item for item in report(root).verdicts[0].evidence if item.kind.value == "patch-queue")
    assert (found.commit, found.presence.value) == ("d6083f040d5d", "absent")


def test_a_suse_queue_is_matched_by_its_git_commit(tmp_path: Path) -> None:
    root = tmp_path / "linux"
    root.mkdir()
    (root / "Makefile").write_bytes(makefile("6.4.0"))
    (root / "series.conf").write_text("\tpatches.suse/loop.patch\n+needs_work\tpatches.suse/guarded.patch\n")
    (root / "patches.suse").mkdir()
    (root / "patches.suse/loop.patch").write_text(
        f"From: L\nSubject: something else\nPatch-mainline: v6.13-rc1\nGit-commit: {FIX_6}\n\n---\n"
    )
    assert any("series.conf:1 (patches.suse/loop.patch)" in note for note in report(root).notes)
