"""Debian's kernels with one jump of the JIT or of the trampoline turned around: the guest shows a defect while every shape
of its fix is in the code. Shapes may not call that the fix, and running the functions must not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.isa import isas
from tailcall_audit.analyzer.readers.code.registry import findings
from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases
from tests.mutants import FLIPS, IN_5_10, IN_6_1_192, IN_6_12, IN_7_3, MISBEHAVING, Flip, debian_image, flipped, subject
from tests.readers.emulated import presence_by_running

X86_64 = isas()["x86_64"]
EMITTED = {"ff672c67ee76", "2b5dcb31a19a", "116e04ba1459"}
"""The fixes that lie in functions that emit machine code."""


def claims(elf: bytes) -> dict[str, Claim]:
    binary = Binary(unpack(elf, "vmlinux"))
    return {item.commit: item.claim for item in findings(X86_64, binary.functions(X86_64.functions), binary.btf)}


@pytest.mark.parametrize("flip", FLIPS, ids=str)
def test_a_shape_of_the_fix_in_code_that_does_not_work_is_not_the_fix(flip: Flip) -> None:
    kernel = subject(flip.image)
    # The shapes see no difference at all: this is why they may not call either of the two fixed.
    assert claims(kernel.mutant(flipped(flip)))[flip.commit] is claims(kernel.elf)[flip.commit] is Claim.SIMILAR


@pytest.mark.parametrize("flip", FLIPS, ids=str)
def test_functions_that_are_run_miss_what_the_guest_misses(catalog: Catalog, flip: Flip) -> None:
    assert presence_by_running(subject(flip.image).mutant(flipped(flip)), flip.commit, catalog) is Presence.ABSENT


def test_only_the_direct_tail_call_loses_the_count_where_it_keeps_the_stack(catalog: Catalog) -> None:
    (flip,) = (flip for flip in FLIPS if flip.lacks == "a direct tail call gives the stack back")
    elf = subject(flip.image).mutant(flipped(flip))
    (found,) = emulate(Binary(unpack(elf, "vmlinux")), "x86_64", ("jit/count-offset",)).results.values()
    # Only the program that fills its stack has some to give back when it tail-calls, and that call is a direct one.
    assert found.outcome == "loops"
    assert "61 times above a stack of zeros, 2 times above a stack of ones, 34 times alone" in found.story


@pytest.mark.parametrize("commit", ["ff672c67ee76", "2b5dcb31a19a"])
def test_the_kernels_themselves_have_the_fixes_when_they_are_run(catalog: Catalog, commit: str) -> None:
    for image in {flip.image for flip in FLIPS if flip.commit == commit}:
        assert presence_by_running(subject(image).elf, commit, catalog) is Presence.PRESENT


@pytest.mark.parametrize("image", [IN_5_10, IN_6_1_192, IN_6_12, IN_7_3])
def test_no_shape_in_a_function_that_emits_code_proves_a_fix(image: str) -> None:
    found = claims(subject(image).elf)
    assert found.keys() & EMITTED
    assert all(found[commit] is not Claim.PRESENT for commit in found.keys() & EMITTED)


@pytest.mark.parametrize("flip", MISBEHAVING, ids=str)
def test_a_failed_control_is_no_answer_of_functions_that_are_run(catalog: Catalog, flip: Flip) -> None:
    only = frozenset((flip.commit,))
    elf = subject(flip.image).mutant(flipped(flip))
    found = emulate(Binary(unpack(elf, "vmlinux")), "x86_64", wanted_cases(catalog, "x86_64", only))
    (item,) = evidence_of(catalog, found, "x86_64", "vmlinux", only)
    assert item.presence is Presence.UNKNOWN
    assert "a control does not behave as every kernel must" in item.detail
    assert not item.unreadable


def test_an_image_that_fails_a_control_is_not_fixed_because_of_its_release(tmp_path: Path) -> None:
    """The guest shows pitfall 1, which its release has fixed: the functions are not those of the release."""
    flip = MISBEHAVING[2]
    image = tmp_path / "vmlinux"
    image.write_bytes(subject(flip.image).mutant(flipped(flip)))
    (verdict,) = audit(images=[str(image)], only=["freplace-tailcallee"]).targets[0].verdicts
    assert verdict.state is State.UNKNOWN, verdict.reason
    assert verdict.settle is not None
    assert "--confirm=vm" in verdict.settle
    (whole,) = audit(images=[str(debian_image(flip.image))], only=["freplace-tailcallee"]).targets[0].verdicts
    assert whole.state is State.FIXED
