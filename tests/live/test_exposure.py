"""What exposure says of programs is what happens to them, in guests with kernels that are affected and fixed.

The scenarios (tests/exposure/scenarios.py) are loaded and run; exposure sees the same programs, prog arrays and
attachments by a recorder. Which kernel has which defect is from tests/live/lab_kernels.py.
"""

from __future__ import annotations

import shutil

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.types import Exposure, State
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT
from tests.exposure.guest import outcomes
from tests.exposure.recorder import recorded
from tests.exposure.scenarios import SCENARIOS
from tests.live.lab_kernels import SHARED
from tests.mutants import named_image

_CATALOG = shipped_catalog()
_PRESENT = {kernel.name: kernel.present for kernel in SHARED}
_5_10, _NO_PITFALL_2, _6_1, _, _6_12 = (kernel.name for kernel in SHARED)
_LOOPS = ("two calls", "4 bytes of stack", "a traced subprogram", "a replaced function")

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 on this machine: install qemu-system-x86"
)


def said(scenario: str, twin: bool = False) -> Exposure:
    slug, *programs = SCENARIOS[scenario]
    (found,) = expose(_CATALOG, [recorded(programs[twin])], closed=True, defects=_CATALOG.find(slug))
    return found


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - {"an extension without a target"}))
def test_a_scenario_is_met_or_refused_and_its_twin_is_not(scenario: str) -> None:
    found, twin = said(scenario), said(scenario, twin=True)
    assert State.MET in (found.state, found.refused)
    assert twin.state is State.NOT_MET


@needs_qemu
@pytest.mark.parametrize(
    ("scenario", "kernel"),
    [
        ("two calls", _6_1),
        ("4 bytes of stack", _NO_PITFALL_2),
        ("a traced subprogram", _5_10),
        ("a replaced function", _6_1),
    ],
)
def test_what_is_met_loops_on_an_affected_kernel_and_its_twin_does_not(scenario: str, kernel: str) -> None:
    slug = SCENARIOS[scenario][0]
    assert slug in _PRESENT[kernel]
    assert (said(scenario).state, said(scenario, twin=True).state) == (State.MET, State.NOT_MET)
    seen = outcomes(named_image(kernel))
    looped = seen[scenario, False].value
    assert looped is not None
    assert looped > LIMIT, "only the program itself stopped it"
    twin = seen[scenario, True].value
    assert twin is not None
    assert twin <= HEALTHY


@needs_qemu
@pytest.mark.parametrize("scenario", _LOOPS[:3])
def test_what_is_met_ends_at_the_limit_on_a_fixed_kernel(scenario: str) -> None:
    assert SCENARIOS[scenario][0] not in _PRESENT[_6_12]
    assert outcomes(named_image(_6_12))[scenario, False].value == HEALTHY


@needs_qemu
def test_an_extension_is_refused_in_an_array_of_its_targets_type_where_pitfall_1_is() -> None:
    scenario = "an extension in another's array"
    assert SCENARIOS[scenario][0] in _PRESENT[_5_10]
    assert said(scenario).state is State.MET
    assert outcomes(named_image(_5_10))[scenario, False].errno == "EINVAL"
    assert outcomes(named_image(_5_10))[scenario, True].value == 1
    assert outcomes(named_image(_6_12))[scenario, False].value == 1


@needs_qemu
@pytest.mark.parametrize(
    ("scenario", "errno"),
    [("a replaced function", "EBUSY"), ("a packet pointer", "EACCES"), ("an extension in a slot", "EINVAL")],
)
def test_what_a_fix_refuses_is_refused_by_a_fixed_kernel_and_taken_by_an_affected_one(
    scenario: str, errno: str
) -> None:
    found = said(scenario)
    assert found.refused is State.MET
    assert errno in {item.errno for item in found.refusals if item.finding.state is State.MET}
    fixed = outcomes(named_image(_6_12))[scenario, False]
    assert fixed.errno == errno
    words = [item.words for item in found.refusals if item.errno == errno and item.words]
    assert all(text in fixed.words for text in words)
    assert outcomes(named_image(_6_1))[scenario, False].errno == ""


@needs_qemu
@pytest.mark.parametrize("scenario", ["a packet pointer", "an extension in a slot"])
def test_the_twin_of_what_is_refused_is_taken_everywhere(scenario: str) -> None:
    assert said(scenario, twin=True).refused is State.NOT_MET
    for kernel in (_6_1, _6_12):
        assert outcomes(named_image(kernel))[scenario, True].value == 1


_7_3 = "vmlinuz-7.3.4+deb13-cloud-amd64"
REFUSED = {
    "fentry programs of two functions": (_5_10, _6_12, "EINVAL"),
    "two cgroup storages": (_5_10, _6_1, "EINVAL"),
    "between two cgroup storages": (_6_1, _6_12, "EINVAL"),
    "a sleepable program": (_6_12, _7_3, "EINVAL"),
    "a callback": (_6_12, _7_3, "EINVAL"),
    "a subprogram of a callback": (_6_12, _7_3, "EINVAL"),
    "what is returned": (_6_12, _7_3, "EINVAL"),
    "behind a tail call": (_6_1, _6_12, "EACCES"),
    "an RCU section": (None, _6_12, "EINVAL"),
    "preemption off": (None, _6_12, "EINVAL"),
    "an interpreted subprogram": (None, _6_12, "EINVAL"),
    "an extension and another type": (None, _6_12, "EINVAL"),
    "an extension of what keeps the packet": (_6_1, _6_12, "EINVAL"),
}
"""By the scenario: a kernel without the fix (None: none at hand has the code and lacks the fix), a kernel with it, and
the errno that the catalogue expects.
"""


@needs_qemu
@pytest.mark.parametrize("scenario", sorted(REFUSED))
def test_a_refusal_is_what_the_kernel_says(scenario: str) -> None:
    _, fixed, errno = REFUSED[scenario]
    found = said(scenario)
    assert found.refused is State.MET
    sure = [item for item in found.refusals if item.finding.state is State.MET and item.errno == errno]
    seen = outcomes(named_image(fixed))[scenario, False]
    assert sure
    assert (seen.errno, [item.words for item in sure if item.words and item.words not in seen.words]) == (errno, [])
    assert said(scenario, twin=True).refused is State.NOT_MET
    assert outcomes(named_image(fixed))[scenario, True].errno == "", "the harmless twin is taken"


@needs_qemu
@pytest.mark.parametrize("scenario", sorted(name for name, row in REFUSED.items() if row[0] is not None))
def test_a_kernel_without_the_fix_takes_it(scenario: str) -> None:
    lacking = REFUSED[scenario][0]
    assert lacking is not None
    for twin in (False, True):
        assert outcomes(named_image(lacking))[scenario, twin].errno == ""


@needs_qemu
def test_a_later_fix_takes_a_refusal_back() -> None:
    """e3245f899043 lets a main program keep its packet pointers behind a tail call."""
    assert outcomes(named_image(_7_3))["behind a tail call", False].errno == ""


@needs_qemu
def test_a_branch_on_what_is_returned_is_removed_where_the_verifier_knows_the_failed_call_only() -> None:
    scenario = "a branch on what is returned"
    assert (said(scenario).state, said(scenario, twin=True).state) == (State.MET, State.NOT_MET)
    assert SCENARIOS[scenario][0] in _PRESENT[_6_12]
    assert outcomes(named_image(_6_12))[scenario, False].value == 0, "the subprogram returned 7, and nothing saw it"
    assert outcomes(named_image(_7_3))[scenario, False].value == 1
    assert outcomes(named_image(_7_3))[scenario, True].value == 0


@needs_qemu
@pytest.mark.parametrize("kernel", [_5_10, _6_1, _6_12, _7_3])
def test_an_extension_without_a_target_is_refused_by_a_kernel_without_the_defect(kernel: str) -> None:
    scenario = "an extension without a target"
    assert said(scenario).state is State.POSSIBLE, "it calls nothing for which the kernel asks for its target's type"
    assert outcomes(named_image(kernel))[scenario, False].errno == "EINVAL"
    assert outcomes(named_image(kernel))[scenario, True].value == 1


@needs_qemu
def test_a_replaced_program_in_a_prog_array_that_nothing_calls_is_refused_too() -> None:
    """The twin of pitfall 6 has no loop, and the fix refuses it all the same."""
    twin = said("a replaced function", twin=True)
    assert (twin.state, twin.refused) == (State.NOT_MET, State.MET)
    assert outcomes(named_image(_6_12))["a replaced function", True].errno == "EBUSY"


@needs_qemu
@pytest.mark.parametrize("scenario", ["what is returned", "connect4 and connect6"])
def test_a_kernel_without_the_fix_takes_what_it_would_refuse(scenario: str) -> None:
    """e3245f899043 (6.19) and 4540aed51b12 (6.18) are in none of these kernels but the last, which has the second."""
    assert said(scenario).refused is State.MET
    assert outcomes(named_image(_5_10))[scenario, False].value == 1
    if scenario == "connect4 and connect6":
        assert outcomes(named_image(_6_12))[scenario, False].errno == "EINVAL"
        assert outcomes(named_image(_6_12))[scenario, True].value == 1
