"""Takes the fixes of defects out of a kernel's sources, or applies fixes that these sources lack, so that a kernel with
a known difference can be built of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.readers.half_fixes.corners import UNDONE, Edit
from tests.readers.half_fixes.edits import LOONGARCH, RISCV64, S390, Half, edited

__all__ = ["ORIGINAL", "ChangeError", "changed"]

ORIGINAL = ".tailcall-audit-original"
"""The end of a file's name that holds what the file had before it was changed."""
_TRAMPOLINE, _COUNT = "__arch_prepare_bpf_trampoline", "offsetof(struct prog_frame, tail_call_cnt)"
_COMPILABLE = {
    "s390-tailcall-hierarchy": (
        Edit(
            S390, "bpf_jit_insn", "if (insn->src_reg == BPF_PSEUDO_CALL)\n\t\t\t/*\n\t\t\t * mvc", "if (0)\n/*\n * mvc"
        ),
    ),
    # The count is copied onto itself, for the traced function neither takes nor gives it.
    "s390-trampoline-tcc": (
        Edit(S390, _TRAMPOLINE, f"{_COUNT},\n\t\t       0xf000 | tjit->tccnt_off", f"{_COUNT},\n 0xf000 | {_COUNT}"),
        Edit(S390, _TRAMPOLINE, "0xd203f000 | tjit->tccnt_off,\n\t\t       0xf000", f"0xd203f000 | {_COUNT},\n 0xf000"),
    ),
    # If offsets count from -1 (in programs with subprograms), the jump leads to the instruction in front of the
    # tail call.
    "loongarch-tailcall-jump-offset": (
        Edit(
            LOONGARCH,
            "emit_bpf_tail_call",
            "ctx->offset[insn + 1] - ctx->idx",
            "(ctx->prog->is_func ? ctx->offset[insn] - 1 : ctx->offset[insn + 1]) - ctx->idx",
        ),
    ),
}
"""The edits for defects whose edits in `UNDONE` do not compile: with these the kernel compiles and behaves as it does
without the fix.
"""

_FIXES = {
    "riscv-kcfi-tailcall-stack": (
        Edit(
            RISCV64,
            "__build_epilogue",
            "is_tail_call ? (RV_KCFI_NINSNS + RV_FENTRY_NINSNS + 1) * 4 : 0",
            "is_tail_call ? (RV_FENTRY_NINSNS + 1) * 4 : 0",
        ),
    ),
}
"""The fixes of defects, as edits of sources that lack them: each gives the text of a later source that has the fix."""


class ChangeError(Exception):
    """Raised if sources cannot be changed as asked; the message says why."""


@contextmanager
def changed(sources: Path, without: Sequence[str], fixes: Sequence[str], architecture: str) -> Iterator[None]:
    """Takes fixes of defects out of the sources, and applies others, while the context lasts. Raises ChangeError if it
    is not known how.

    The originals lie beside the files meanwhile: what a killed run has left is put back first.
    """
    _put_back(sources)
    try:
        for edit in (*_undoing(without, architecture), *_fixing(fixes)):
            path = sources / edit.path
            original = path.with_name(path.name + ORIGINAL)
            if not original.exists():
                shutil.copy2(path, original)
            path.write_text(_edit(path.read_text(encoding="utf-8"), edit), encoding="utf-8")
        yield
    finally:
        _put_back(sources)


def _undoing(slugs: Sequence[str], architecture: str) -> Iterator[Edit]:
    for slug in slugs:
        found = [item.edits for item in UNDONE if item.slug == slug and item.architecture == architecture]
        if not found:
            raise ChangeError(f"tests/readers/half_fixes/corners.py does not undo the fix of {slug} on {architecture}")
        yield from _COMPILABLE.get(slug, found[0])


def _fixing(slugs: Sequence[str]) -> Iterator[Edit]:
    for slug in slugs:
        if slug not in _FIXES:
            raise ChangeError(f"it is not known how to fix {slug}, only {', '.join(_FIXES)}")
        yield from _FIXES[slug]


def _put_back(sources: Path) -> None:
    undone = {edit.path for item in UNDONE for edit in item.edits}
    for path in undone | {edit.path for edits in _FIXES.values() for edit in edits}:
        original = sources / (path + ORIGINAL)
        if original.exists():
            shutil.copyfile(original, sources / path)
            original.unlink()


def _edit(text: str, edit: Edit) -> str:
    """Returns the changed text of a file; raises ChangeError if what the edit changes is not in it."""
    if edit.old not in text:
        raise ChangeError(f"{edit.path} does not have {edit.old!r}: it cannot be changed as asked")
    if not edit.function:
        return text.replace(edit.old, edit.new)
    return edited(text, Half("", "", "", "", edit.path, edit.function, edit.old, edit.new))
