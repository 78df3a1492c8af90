"""Picking one commit, held against git's own cherry-pick."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.plan.pick import functions_with_markers, pick
from tailcall_audit.analyzer.plan.scratch import MissingObjectError, Scratch
from tailcall_audit.analyzer.plan.types import Outcome
from tests.repositories import History, git

LINES = [f"line {number}\n" for number in range(40)]


def changed(data: st.DataObject, lines: list[str], mark: str) -> list[str]:
    """The lines with a few of them changed, taken out, or with others between them."""
    found = list(lines)
    for number in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(found) - 1))
        kind = data.draw(st.sampled_from(["change", "drop", "insert"]))
        if kind == "insert":
            found.insert(place, f"{mark} {number}\n")
        elif kind == "change":
            found[place] = f"{mark} {number}\n"
        else:
            del found[place]
    return found


def text(lines: list[str]) -> bytes:
    return "".join(lines).encode()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git binary on this machine")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_a_pick_makes_the_tree_that_git_makes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The commit and the tree changed two files each; one may have been moved in the tree, one made by the commit."""
    place = tmp_path_factory.mktemp("pick")
    history = History(place / "repository", "6.1")
    root = history.commit("root\n", {"a/one.c": text(LINES), "a/two.c": text(LINES[::-1])})
    fix = history.commit("fix\n", {"a/one.c": text(changed(data, LINES, "fix")), "b/new.c": b"new\n"})
    history.files = {name: value for name, value in history.files.items() if name != "b/new.c"}
    ours = {"a/one.c": text(changed(data, LINES, "ours")), "a/two.c": text(changed(data, LINES[::-1], "ours"))}
    if data.draw(st.booleans()):
        ours |= {"a/moved.c": text(LINES)}
        history.files.pop("a/one.c")
        ours.pop("a/one.c")
    head = history.commit("ours\n", dict(ours), parents=[root])
    scratch = Scratch(place / "scratch", [history.path / ".git/objects"])
    found = pick(scratch, str(scratch.commit(head).tree_id), scratch.commit(fix))
    git("reset", "-q", "--hard", head, cwd=history.path)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "cherry-pick", fix], cwd=history.path, env=environment, capture_output=True, check=False
    )
    assert (found.outcome is not Outcome.CONFLICTS) == (done.returncode == 0), (found, done)
    if done.returncode == 0:
        assert found.tree == git("rev-parse", "HEAD^{tree}", cwd=history.path).strip()
    else:
        unmerged = git("diff", "--name-only", "--diff-filter=U", cwd=history.path).split()
        assert {conflict.path for conflict in found.conflicts} == set(unmerged)


def test_the_functions_of_markers() -> None:
    text = """static int first(int x)
{
<<<<<<< ours
	a();
=======
	b();
>>>>>>> theirs
out:
	return 0;
}

void second(struct a *b, int c)
{
<<<<<<< ours
<<<<<<< again
"""
    assert functions_with_markers(text) == ("first()", "second()")
    assert functions_with_markers("<<<<<<< at the top\n") == ()


def test_a_merge_and_a_first_commit_cannot_be_picked(tmp_path: Path) -> None:
    history = History(tmp_path / "repository", "6.1")
    root = history.commit("root\n", {"a": b"1\n"})
    other = history.commit("other\n", {"b": b"1\n"})
    merge = history.commit("Merge\n", parents=[root, other])
    scratch = Scratch(tmp_path / "scratch", [history.path / ".git/objects"])
    for name in (root, merge):
        commit = scratch.commit(name)
        with pytest.raises(MissingObjectError, match="cannot be picked"):
            pick(scratch, str(commit.tree_id), commit)


def test_files_are_put_into_a_tree_and_taken_out_of_it(tmp_path: Path) -> None:
    history = History(tmp_path / "repository", "6.1")
    tree = history.commit("root\n", {"a/b/c": b"1\n", "a/d": b"2\n"})
    scratch = Scratch(tmp_path / "scratch", [history.path / ".git/objects"])
    start = str(scratch.commit(tree).tree_id)
    entry = scratch.entry(start, "a/d")
    assert entry is not None
    gone = scratch.with_files(start, {"a/b/c": None})
    assert scratch.entry(gone, "a/b") is None
    assert scratch.with_files(gone, {"a/b/c": scratch.entry(start, "a/b/c")}) == start
    assert [change.path for change in scratch.changes(start, gone)] == ["a/b/c"]
    moved = scratch.with_files(start, {"a/d": None, "x/y/z": entry})
    assert [change.path for change in scratch.changes(start, moved)] == ["a/d", "x/y/z"]
