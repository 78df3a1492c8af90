"""Debian's kernels with a fix taken out, or one of its places: what their functions do when they are run."""

from __future__ import annotations

import pytest

from bench.mutation.subject import Edit, Mutation
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.emulation.registry import CASES as RUNS
from tailcall_audit.analyzer.readers.emulation.registry import SYMBOLS
from tailcall_audit.analyzer.readers.emulation.scene import Bench
from tailcall_audit.analyzer.readers.emulation.stage import Outcome, run_case
from tests.mutants import CASES, IN_6_12, IN_7_3, Case, mutation, subject, undone
from tests.readers.emulated import presence_by_running

FLAG, OTHER_FLAG = (0x80).to_bytes(4, "little"), (0x200).to_bytes(4, "little")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_was_taken_out_is_missed_by_running(catalog: Catalog, case: Case) -> None:
    taken = undone(case.lacks)
    assert (
        presence_by_running(subject(case.image).mutant(mutation(case.image, case.lacks)), taken.commit, catalog)
        is Presence.ABSENT
    )


def setting_another_flag(image: str) -> bytes:
    """A kernel whose verifier asks the trampoline by another flag than the one that the trampoline knows: as with
    another bpf.h.
    """
    made = mutation(image, "attach-sets-no-flag")
    (edit,) = made.edits
    assert edit.old.endswith(FLAG)
    changed = Edit(edit.address, edit.old, edit.old.removesuffix(FLAG) + OTHER_FLAG)
    return subject(image).mutant(Mutation(made.kernel, made.function, (changed,), "the flag is the one of bpf.h"))


@pytest.mark.parametrize("image", [IN_6_12, IN_7_3])
def test_another_flag_than_the_one_of_bpf_h_is_not_the_fix(catalog: Catalog, image: str) -> None:
    elf = setting_another_flag(image)
    bench = Bench(KernelImage(Binary(unpack(elf, "vmlinux")), "x86_64"), symbols=SYMBOLS)
    answer = run_case(bench, "trampoline/one-flag", RUNS["trampoline/one-flag"])
    assert answer.finding is not None, answer.why
    # Behind the fix of pitfall 4 a lost count is a lost pointer.
    assert answer.finding.outcome is Outcome.NULL_DEREFERENCE, answer.finding.story
    assert presence_by_running(elf, "2b5dcb31a19a", catalog) is Presence.ABSENT
