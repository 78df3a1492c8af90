"""Debian's kernels with a fix taken out, or one of its places, booted: the guest shows the defect, and no prediction
denied it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import mutants
from bench.mutation.judges import SLUGS
from tailcall_audit import State, audit
from tailcall_audit.analyzer.live.confirm import Guests, boot_target
from tailcall_audit.analyzer.model import Agreement, ObservationState
from tailcall_audit.probes.guest.boot import Guest
from tests.mutants import CASES, IN_6_12, Case, debian_image, lacking, undone

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 on this machine: install qemu-system-x86"
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_guest_shows_what_was_taken_out(case: Case, tmp_path: Path) -> None:
    slug = undone(case.lacks).slug
    with lacking(case.image, case.lacks, tmp_path) as image:
        predicted = audit(images=[str(image)], only=SLUGS).targets[0]
        target, _ = boot_target(predicted, Guests(Guest(patience=240.0)), lambda _: None)
    seen = {item.defect.slug: item.observation for item in target.verdicts}
    observation = seen[slug]
    assert observation is not None
    if case.shows:
        assert observation.state is ObservationState.PRESENT, observation.detail
        assert observation.agreement in (Agreement.CONFIRMED, Agreement.SETTLED), observation.detail
        assert target.states[slug] is State.AFFECTED
    else:
        assert observation.state is not ObservationState.PRESENT, observation.detail
    for other, found in seen.items():
        if found is not None and found.state is ObservationState.PRESENT:
            assert found.agreement is not Agreement.CONTRADICTED, (other, found.detail)


def test_the_sample_of_the_mutation_lab_has_no_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every jump of prog_fd_array_get_ptr() turned around, and its two places taken out: neither its code nor what it
    does when it is run is called fixed where the guest loops.
    """
    image = str(debian_image(IN_6_12))
    arguments = [image, "--sample", "--judge", "code", "--judge", "emulation", "--results", str(tmp_path)]
    assert mutants.main(arguments) == 0
    (line,) = [
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if " freplace-loop " in line and "present" not in line
    ]
    mutations, present = int(line[2]), int(line[3])
    assert mutations == 10
    # Its two places taken out, and the jump behind the compare that never jumps. Three and four were seen: how a mutant ends that
    # breaks more than the fix differs from run to run.
    assert present >= 2
    assert line[6].startswith("0/")
    assert line[8].startswith("0/")
    # All is in the tables now: nothing is booted again.
    assert mutants.main([*arguments, "--again"]) == 0
