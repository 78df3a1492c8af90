"""A defect that no kernel at hand has, brought to one of Debian's by its machine code: the guest shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.mutation.bring import type_by_target
from bench.mutation.subject import MutationError
from tailcall_audit import audit
from tailcall_audit.analyzer.live.confirm import Guests, boot_target
from tailcall_audit.analyzer.model import Observation, ObservationState
from tailcall_audit.probes.guest.boot import Guest
from tests.mutants import IN_5_10, IN_6_1, debian_image, subject

SLUG = "tracing-dst-prog-type-confusion"
CONTROL = "freplace-tailcallee"


def observed(image: Path) -> dict[str, Observation]:
    predicted = audit(images=[str(image)], only=[SLUG, CONTROL], emulate=False).targets[0]
    target, _ = boot_target(predicted, Guests(Guest(patience=240.0)), lambda _: None)
    return {item.defect.slug: item.observation for item in target.verdicts if item.observation is not None}


@pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 on this machine: install qemu-system-x86"
)
def test_the_type_of_the_target_lets_a_tracing_program_in(tmp_path: Path) -> None:
    """The kernel as it is refuses what the one with the check of 5.15.192 takes; an extension program may enter both."""
    before = observed(debian_image(IN_6_1))
    assert before[SLUG].state is ObservationState.ABSENT, before[SLUG].detail
    changed = tmp_path / "vmlinux"
    changed.write_bytes(subject(IN_6_1).mutant(type_by_target(subject(IN_6_1))))
    after = observed(changed)
    changed.unlink()
    assert after[SLUG].state is ObservationState.PRESENT, after[SLUG].detail
    assert before[CONTROL].state is after[CONTROL].state is ObservationState.ABSENT


def test_a_kernel_without_such_a_check_is_not_changed() -> None:
    with pytest.raises(MutationError):
        type_by_target(subject(IN_5_10))
