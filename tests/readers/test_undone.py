"""Debian's kernels with a fix taken out, or one of its places: what the code and the whole audit say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.isa import isas
from tailcall_audit.analyzer.readers.code.registry import findings
from tests.mutants import (
    CASES,
    IN_5_10,
    IN_6_1,
    IN_6_12,
    IN_7_3,
    Case,
    debian_image,
    lacking,
    mutation,
    subject,
    undone,
)

X86_64 = isas()["x86_64"]

# If the place has code that never runs, or no longer asks what it asked, the code does not prove what it does instead.
DOUBTFUL = {"trampoline-tests-no-flag", "trampoline-restores-no-count-1", "trampoline-restores-no-count-2"}
IN_THE_NEWEST = [
    Case(IN_7_3, lacks)
    for lacks in dict.fromkeys(case.lacks for case in CASES if case.lacks != "rounds-no-count-offset")
]


def claims(elf: bytes) -> dict[str, Claim]:
    binary = Binary(unpack(elf, "vmlinux"))
    return {item.commit: item.claim for item in findings(X86_64, binary.functions(X86_64.functions), binary.btf)}


@pytest.mark.parametrize("case", [*CASES, *IN_THE_NEWEST], ids=str)
def test_the_signature_misses_what_was_taken_out(case: Case) -> None:
    found = claims(subject(case.image).mutant(mutation(case.image, case.lacks)))
    expected = Claim.DOUBTFUL if case.lacks in DOUBTFUL else Claim.ABSENT
    assert found[undone(case.lacks).commit] is expected


@pytest.mark.parametrize("image", [IN_5_10, IN_6_1, IN_6_12, IN_7_3])
def test_what_was_not_taken_out_is_seen_as_before(image: str) -> None:
    """No other commit's signature sees a change, but those of the same function that look at the same instructions."""
    whole = claims(subject(image).elf)
    for case in CASES:
        if case.image != image:
            continue
        commit = undone(case.lacks).commit
        found = claims(subject(image).mutant(mutation(image, case.lacks)))
        for other, claim in whole.items():
            if other != commit and found.get(other) is not claim:
                # Without the resolved type, or with dst_prog's, the owner check says less, or nothing, of its other commits.
                assert case.lacks in ("resolves-no-extension-type", "follows-dst-prog-unchecked", "takes-no-saved-type")
                assert found.get(other) in (None, Claim.ABSENT)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_audit_believes_the_code_and_not_the_version(case: Case, tmp_path: Path) -> None:
    slug = undone(case.lacks).slug
    with lacking(case.image, case.lacks, tmp_path) as image:
        target = audit(images=[str(image)], only=[slug]).targets[0]
    (before,) = audit(images=[str(debian_image(case.image))], only=[slug]).targets[0].verdicts
    (verdict,) = target.verdicts
    assert before.state is State.FIXED
    # What the code leaves open, the kernel's own functions may have shown by running.
    expected = {State.AFFECTED, State.UNKNOWN} if case.lacks in DOUBTFUL else {State.AFFECTED}
    assert verdict.state in expected, verdict.reason
    if verdict.state is State.UNKNOWN:
        assert verdict.settle is not None
        assert "--confirm=vm" in verdict.settle
