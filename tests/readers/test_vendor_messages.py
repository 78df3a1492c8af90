"""Reverts and backports in vendors' words, in clones without blobs: cases 7 and 8 of real trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.readers.messages import normalize_subject, unwrap
from tests.repositories import (
    INTRODUCTION_6,
    INTRODUCTION_6_SUBJECT,
    History,
    backport,
    git,
    stable_branch,
)

F = "f7866c35873377313ff94398f17d425b28b71de1"
S = "bpf: Fix null pointer dereference in resolve_prog_type() for BPF_PROG_TYPE_EXT"
UNKNOWN_ID = "0123456789abcdef0123456789abcdef01234567"


def blobless(history: History, target: Path) -> State:
    """The verdict on F's defect in a bare clone without blobs."""
    git("config", "uploadpack.allowFilter", "true", cwd=history.path)
    git("clone", "-q", "--bare", "--filter=blob:none", f"file://{history.path}", str(target))
    report = audit(trees=[str(target)], arch="x86_64", only=["resolve-prog-type-null-deref-load"]).targets[0]
    return report.verdicts[0].state


@pytest.fixture
def clone(tmp_path: Path) -> History:
    history = stable_branch(tmp_path / "linux", "6.1.90")
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    return history


REVERTS = (
    f'ANDROID: Revert "UPSTREAM: {S}"\n\nIt breaks the ABI.\n',
    f'UBUNTU: SAUCE: Revert "{S}"\n',
    f'Revert "{S}" (LP: #123)\n',
    f'[ALPS01] Revert "{S}"\n',
    f'Partially revert "{S}"\n',
    f'ANDROID: Revert "{S}"\n\nThis reverts commit {UNKNOWN_ID}.\n',
    f"net: back out {S} for now\n",
    f"Revert {S}\n",
    f'BACKPORT: FROMGIT: Revert "{S}".\n',
)


@pytest.mark.parametrize("message", REVERTS)
def test_case_7_a_revert_in_a_vendors_words_is_never_fixed(clone: History, tmp_path: Path, message: str) -> None:
    clone.commit(backport(F, S))
    assert blobless(clone, tmp_path / "before") is State.FIXED
    clone.commit(message)
    assert blobless(clone, tmp_path / "after") is not State.FIXED


BACKPORTS = (
    f"redhat: our own subject\n\nJIRA: https://issues.example.org/RHEL-1\n\ncommit {F}\nAuthor: A <a@example.org>\nDate:   Mon Jul 1 2024\n\n    {S}\n",
    f"{S} (git-fixes bsc#1229482).\n",
    f"{S} (#12)\n",
    f"UPSTREAM: {S} (bsc#1 CVE-2024-43837)\n",
    f"vendor: take {S}\n",
    f"{S} (v2, adapted)\n",
)


@pytest.mark.parametrize("message", BACKPORTS)
def test_case_8_a_backport_in_a_vendors_words_is_never_affected(clone: History, tmp_path: Path, message: str) -> None:
    assert blobless(clone, tmp_path / "before") is State.AFFECTED
    clone.commit(message)
    assert blobless(clone, tmp_path / "after") is not State.AFFECTED


def test_rhels_quotation_and_references_behind_a_subject_are_backports(clone: History, tmp_path: Path) -> None:
    clone.commit(BACKPORTS[0])
    assert blobless(clone, tmp_path / "after") is State.FIXED


def test_a_quoted_log_entry_that_explains_something_is_no_backport(clone: History, tmp_path: Path) -> None:
    clone.commit(f"net: fix it\n\nSince this one we crash:\n\ncommit {F}\nAuthor: A <a@b>\nDate: today\n\n    {S}\n")
    assert blobless(clone, tmp_path / "after") is State.AFFECTED


def test_a_second_revert_brings_it_back(clone: History, tmp_path: Path) -> None:
    clone.commit(backport(F, S))
    clone.commit(f'Revert "{S}"\n')
    clone.commit(f'Revert^2 "{S}"\n')
    assert blobless(clone, tmp_path / "after") is State.FIXED


@pytest.mark.parametrize(
    ("subject", "depth", "partial"),
    [
        (f'Revert^2 "{S}"', 2, False),
        (f'ANDROID: Reland "{S}"', 2, False),
        (f'Revert "Revert "{S}""', 2, False),
        (f'UBUNTU: SAUCE: (no-up) Revert "{S}"', 0, False),
        (f'Revert part of "{S}"', 1, True),
        (f'[ALPS01] [x] ANDROID: Revert^3 "{S}" (#3)', 3, False),
        (f"Revert \u201c{S}\u201d", 1, False),
    ],
)
def test_reverts_are_counted_in_any_vendors_words(subject: str, depth: int, partial: bool) -> None:
    found = unwrap(subject)
    assert (found.depth, found.partial) == (depth, partial)
    if depth:
        assert normalize_subject(found.subject) == S
