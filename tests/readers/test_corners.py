"""Each fix taken back as a whole, and each defect in a source that is older than what it needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tests.kernels import kernel_source
from tests.readers.half_fixes.corners import OLDER, UNDONE, Corner, Edit
from tests.readers.half_fixes.edits import Half, edited
from tests.readers.sources import A, N
from tests.readers.test_source import EXPECTED

# The pitfalls have their four corners in tests/readers/test_source.py; loongarch-tailcall-index-zext is in no source without its fix.
_THERE = {
    "freplace-tailcallee",
    "x86-count-offset",
    "x86-trampoline-loop",
    "x86-hierarchy",
    "freplace-attached-panic",
    "freplace-attached-refused",
    "freplace-loop",
    "resolve-prog-type-null-deref-load",
}
_NO_OLDER_FORM = {"powerpc32-tailcall-oops"}
"""Fixes whose older form was never seen: without them the source is unknown."""
_UNPROVEN = {"tailcall-stack-liveness"}
"""Defects whose introducing commit was only read: its absence makes no source safe."""


def _apply(folder: Path, edit: Edit) -> None:
    path = folder / edit.path
    text = path.read_text()
    if edit.function:
        half = Half("", "", "", "", edit.path, edit.function, edit.old, edit.new)
        path.write_text(edited(text, half))
        return
    assert edit.old in text
    path.write_text(text.replace(edit.old, edit.new))


def _state(corner: Corner, target: Path) -> State:
    series = corner.version.rpartition(".")[0]
    source, got = kernel_source(series, corner.version)
    if got != corner.version:
        pytest.skip(f"linux-source {corner.version} has left the mirror")
    shutil.copytree(source, target)
    for edit in corner.edits:
        _apply(target, edit)
    if corner.release is not None:
        makefile = target / "Makefile"
        text = makefile.read_text()
        for name, value in zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), (*corner.release, 0), strict=True):
            text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, count=1, flags=re.MULTILINE)
        makefile.write_text(text)
    report = audit(trees=[str(target)], arch=corner.architecture, only=[corner.slug])
    (verdict,) = report.targets[0].verdicts
    return verdict.state


@pytest.mark.parametrize("corner", UNDONE, ids=lambda corner: corner.slug)
def test_without_its_fix_a_source_is_affected(corner: Corner, tmp_path: Path) -> None:
    assert _state(corner, tmp_path / "tree") is State.AFFECTED


@pytest.mark.parametrize("corner", OLDER, ids=lambda corner: corner.slug)
def test_a_source_from_before_the_defect_is_not_affected(corner: Corner, tmp_path: Path) -> None:
    assert _state(corner, tmp_path / "tree") is State.NOT_AFFECTED


def test_no_corner_of_a_defect_with_a_fix_is_left_out() -> None:
    fixed = {slug for slug, row in EXPECTED.items() if "fixed" in row}
    affected = {slug for slug in fixed if A in EXPECTED[slug]} | {corner.slug for corner in UNDONE} | _THERE
    assert fixed - affected == _NO_OLDER_FORM
    older = {slug for slug in fixed if N in EXPECTED[slug]} | {corner.slug for corner in OLDER} | _THERE
    assert fixed - older == _UNPROVEN
