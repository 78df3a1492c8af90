"""Patches applied in memory: as patch(1) applies them, and never beyond the tree."""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.unified_diff import PatchError, apply_patch, read_patch, reversed_patch

LINES = st.lists(st.sampled_from([f"line {number}\n" for number in range(8)]), min_size=1, max_size=40)


def diff(old: list[str], new: list[str], path: str = "f") -> bytes:
    return "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")).encode()


def edited(data: st.DataObject, lines: list[str]) -> list[str]:
    found = list(lines)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(found)))
        found[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from(["new\n", "line 3\n", "}\n"]), max_size=2)
        )
    return found


@given(LINES, st.data())
def test_a_patch_turns_the_old_file_into_the_new_one_and_back(old: list[str], data: st.DataObject) -> None:
    new = edited(data, old)
    patch = read_patch(diff(old, new))
    if not patch or not new:
        return
    forward = apply_patch(lambda _: "".join(old).encode(), patch)
    assert (forward.files["f"], forward.failed, forward.fuzz) == ("".join(new).encode(), (), 0)
    assert apply_patch(lambda _: "".join(new).encode(), reversed_patch(patch)).files["f"] == "".join(old).encode()


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch(1) on this machine")
@settings(max_examples=60, deadline=None)
@given(LINES, st.data())
def test_a_file_that_changed_meanwhile_comes_out_as_patch_makes_it(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], data: st.DataObject
) -> None:
    """Between first and last lines that stay: at the ends of a file of two lines GNU patch has rules of its own."""
    first, last = [f"/* {number} */\n" for number in range(4)], [f"/* end {number} */\n" for number in range(4)]
    new, other, old = ([*first, *lines, *last] for lines in (edited(data, old), edited(data, old), old))
    text = diff(old, new)
    if not text:
        return
    place = tmp_path_factory.mktemp("patched") / "f"
    place.write_text("".join(other))
    command = ["patch", "-p1", "-f", "--no-backup-if-mismatch", "-r", "-"]
    done = subprocess.run(command, cwd=place.parent, input=text, capture_output=True, check=False)
    ours = apply_patch(lambda _: "".join(other).encode(), read_patch(text))
    assert bool(ours.failed) == (done.returncode != 0)
    assert ours.files["f"] == (place.read_bytes() if place.exists() else b"")


def test_files_are_made_and_taken_away() -> None:
    text = b"--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+hello\n--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n"
    found = apply_patch({"old": b"bye\n"}.get, read_patch(text))
    assert found.files == {"new": b"hello\n", "old": None}
    assert found.failed == ()
    assert apply_patch({"new": b"", "old": b"bye\n"}.get, read_patch(text)).failed == (("new", ()),)
    assert apply_patch({"old": b"bye\nand more\n"}.get, read_patch(text)).failed != ()


def test_a_line_without_a_break_stays_one() -> None:
    text = b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"
    assert apply_patch({"f": b"a"}.get, read_patch(text)).files == {"f": b"b"}
    assert apply_patch({"f": b"a\n"}.get, read_patch(text)).failed == (("f", ("",)),)


@pytest.mark.parametrize("path", ["a/../../etc/passwd", "/etc/passwd", "passwd", "a/./f", "a//f", 'a/"f"'])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(PatchError, match="no path of a file"):
        read_patch(f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n-a\n+b\n".encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-b\n", "cut off"),
        (b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n", "cut off"),
        (b"--- a/f\n+++ b/f\n", "no hunks"),
        (b"--- a/f\n+++ b/f\n@@ -999999999,999999999 +1 @@\n a\n", "cut off"),
        (b"diff --git a/f b/f\nGIT binary patch\n", "binary"),
        (b"diff --git a/f b/g\nrename from f\nrename to g\n", "renames"),
    ],
)
def test_what_cannot_be_applied_is_said(text: bytes, why: str) -> None:
    with pytest.raises(PatchError, match=why):
        read_patch(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_patch_or_an_error(data: bytes) -> None:
    try:
        patch = read_patch(b"--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n" + data)
    except PatchError:
        return
    apply_patch(lambda _: b"one\ntwo\n", patch)


def test_the_tree_s_own_path_is_not_read(tmp_path: Path) -> None:
    assert read_patch(b"no patch at all\n") == []
