"""Git metadata that its own objects do not back: cut-off objects, moved tags, forged commit-graphs, grafts."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.history import read_history
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tailcall_audit.analyzer.subjects.locate_tree import open_tree
from tailcall_audit.analyzer.version import parse_version
from tests.repositories import (
    FIX_6,
    FIX_6_SUBJECT,
    INTRODUCTION_6,
    INTRODUCTION_6_SUBJECT,
    History,
    backport,
    git,
    stable_branch,
)

# Git metadata that its own objects do not back


def _truncate(history: History, name: str) -> None:
    path = history.path / ".git/objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-14])


def test_a_loose_object_that_is_cut_off_ends_in_a_message(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux", "6.1.170")
    head = history.commit("top\n")
    history.checkout()
    objects = LooseObjects(history.repository)
    objects.check(head)
    objects.check_all()
    _truncate(history, head)
    with pytest.raises(BrokenObjectError, match="cut off"):
        LooseObjects(history.repository).check(head)
    with pytest.raises(TreeError, match="cut off"):
        open_tree(str(history.path), "HEAD")
    tree = open_tree(str(history.path), None)  # the files are there and are judged without the history
    assert tree.commit is None
    assert any("cut off" in note for note in tree.notes)


def test_a_blob_that_is_cut_off_is_unreadable(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux", "6.1.170", bare=False)
    history.commit("code\n", {"kernel/bpf/core.c": b"int x;\n"})
    tree = open_tree(str(history.path), None)
    name = tree.files.entry_id("kernel/bpf/core.c")  # type: ignore[attr-defined]
    _truncate(history, name)
    read = open_tree(str(history.path), None).files.read("kernel/bpf/core.c")
    assert "cut off" in read.reason


def test_an_object_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux", "6.1.170")
    place = history.path / ".git/objects/00"
    place.mkdir(exist_ok=True)
    (place / ("1" * 38)).write_bytes(zlib.compress(b"blob 0\0" + bytes(300 << 20), 1))
    with pytest.raises(BrokenObjectError, match="larger than"):
        LooseObjects(history.repository).check("00" + "1" * 38)


def _presence(history: History, mainline: str | None, key: str = "1c123c567fb1") -> Presence:
    catalog = load_catalog()
    branches = {**catalog.branches, "6.1": catalog.branches["6.1"]._replace(mainline=mainline)}
    head = str(history.repository.head.target)
    found = read_history(catalog._replace(branches=branches), history.repository, head, parse_version("6.1.170"))
    return next(item for item in found.evidence if item.commit == key).presence


def test_a_tag_that_is_not_mainlines_is_no_base(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux", "6.1.170")
    honest = str(history.repository.references["refs/tags/v6.1"].target)
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit("net: top\n")
    assert _presence(history, honest) is Presence.PRESENT
    history.repository.references.create("refs/tags/v6.1", history.repository.head.target, force=True)
    assert _presence(history, None) is Presence.ABSENT  # what a moved tag does where mainline's id is not known
    assert _presence(history, honest) is Presence.PRESENT
    elsewhere = "0123456789abcdef0123456789abcdef01234567"
    assert _presence(history, elsewhere, "d6083f040d5d") is Presence.UNKNOWN  # a rewritten import


def test_a_forged_commit_graph_is_not_believed(tmp_path: Path) -> None:
    import hashlib

    history = stable_branch(tmp_path / "linux", "6.1.170")
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit(backport(FIX_6, FIX_6_SUBJECT))
    before = str(history.repository.head.target)
    history.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {before}.\n')
    history.commit("net: top\n")
    honest = _presence(history, None, "d6083f040d5d")
    assert honest is Presence.ABSENT
    git("commit-graph", "write", "--reachable", cwd=history.path)
    graph = history.path / ".git/objects/info/commit-graph"
    data = bytearray(graph.read_bytes())
    names = sorted(bytes.fromhex(line) for line in git("rev-list", "--all", cwd=history.path).split())
    start = data.index(b"".join(names)) + 20 * len(
        names
    )  # the commit data follow the ids in git's default order of chunks
    count = int.from_bytes(data[6:7], "big")
    chunks = {
        bytes(data[8 + 12 * n : 12 + 12 * n]): int.from_bytes(data[12 + 12 * n : 20 + 12 * n], "big")
        for n in range(count)
    }
    head = names.index(bytes.fromhex(str(history.repository.head.target)))
    place = chunks[b"CDAT"] + 36 * head + 20
    assert start <= len(data)
    data[place : place + 4] = names.index(bytes.fromhex(before)).to_bytes(4, "big")
    data[-20:] = hashlib.sha1(data[:-20]).digest()
    graph.chmod(0o644)
    graph.write_bytes(data)
    assert f"{before}" in git("rev-list", "--parents", "-1", "HEAD", cwd=history.path)  # git by itself believes it
    assert _presence(history, None, "d6083f040d5d") is honest


def test_grafts_are_refused_where_git_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = stable_branch(tmp_path / "linux", "6.1.170")
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit("net: top\n")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert _presence(history, None) is Presence.PRESENT
    (history.path / ".git/info").mkdir(exist_ok=True)
    (history.path / ".git/info/grafts").write_text("")
    assert _presence(history, None) is Presence.UNKNOWN
