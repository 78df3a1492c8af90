"""The kernel's selftests of tail calls are the independent measure: each that was written for a defect names it.

They are built at test time (tests/programs/selftests.py); docs/exposure.md has the table of all, which is held against
what is found here.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.types import Exposure, State
from tailcall_audit.analyzer.programs.objects import read_object
from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet, Slot
from tests.programs.selftests import selftests

_CATALOG = shipped_catalog()
_SERIES = "7.3"
_DOCUMENT = Path(__file__).parents[2] / "docs/exposure.md"
_ELSEWHERE = ("arm64-", "s390-", "loongarch-", "riscv", "powerpc", "interp-")
"""Defects of other architectures and of the interpreter repeat what is said of x86-64, and are left out of the table."""

WRITTEN_FOR = {
    "tailcall_bpf2bpf6": {"x86-count-offset": State.MET},
    "tailcall_bpf2bpf_fentry": {"x86-trampoline-loop": State.POSSIBLE},
    "tailcall_bpf2bpf_fexit": {"x86-trampoline-loop": State.POSSIBLE},
    "tailcall_bpf2bpf_hierarchy1": {"x86-hierarchy": State.POSSIBLE},
    "tailcall_bpf2bpf_hierarchy2": {"x86-hierarchy": State.MET},
    "tailcall_bpf2bpf_hierarchy3": {"x86-hierarchy": State.POSSIBLE},
    "tailcall_bpf2bpf_hierarchy_fentry": {"x86-hierarchy": State.POSSIBLE, "x86-trampoline-loop": State.POSSIBLE},
    "tailcall_callback": {"tailcall-direct-in-callback": State.MET, "tailcall-via-callback-subprog": State.MET},
    "tailcall_cgrp_storage": {
        "tailcall-cgroup-storage-oob": State.POSSIBLE,
        "tailcall-cgroup-storage-bridge": State.POSSIBLE,
    },
    "tailcall_cgrp_storage_no_storage": {"tailcall-cgroup-storage-bridge": State.POSSIBLE},
    "tailcall_cgrp_storage_owner": {"tailcall-cgroup-storage-oob": State.POSSIBLE},
    "tailcall_freplace": {
        "freplace-tailcallee": State.POSSIBLE,
        "freplace-attached-panic": State.POSSIBLE,
        "freplace-loop": State.POSSIBLE,
    },
    "tailcall_poke": {"prog-array-poke-run-bug": State.POSSIBLE},
    "tailcall_sleepable": {"tailcall-sleepable-callee": State.MET},
    "tc_bpf2bpf": {"freplace-loop": State.POSSIBLE},
}
"""By the name of the source: the defects that it was written for (its commit in the kernel says so), and the state: what
user space does at run time is possible. The programs that user space combines are put together below.
"""


@functools.cache
def sets(name: str) -> tuple[ProgramSet, ...]:
    made = selftests(_SERIES)
    if name not in made.objects:
        pytest.skip(f"{name}.c of {_SERIES}: {made.failed.get(name, 'not there')}")
    return read_object(str(made.objects[name]))


def exposures(found: tuple[ProgramSet, ...], *, closed: bool) -> dict[str, Exposure]:
    compiled = [
        item._replace(programs=tuple(program._replace(jited=True) for program in item.programs)) for item in found
    ]
    return {item.defect: item for item in expose(_CATALOG, compiled, closed=closed)}


@pytest.mark.parametrize("name", sorted(WRITTEN_FOR))
def test_a_selftest_names_the_defect_that_it_was_written_for(name: str) -> None:
    found = exposures(sets(name), closed=False)
    assert {slug: found[slug].state for slug in WRITTEN_FOR[name]} == WRITTEN_FOR[name]


def filled(found: ProgramSet, slots: dict[str, dict[int, str]]) -> ProgramSet:
    """A set whose prog arrays hold what user space puts there."""
    maps = tuple(
        item._replace(slots=tuple(Slot(*slot) for slot in slots[item.name].items()), slots_are_all=True)
        if item.name in slots
        else item
        for item in found.maps
    )
    return found._replace(maps=maps)


def attached(program: Program, target: str, function: str) -> Program:
    return program._replace(attachments=(Attachment(None, target, function),))


def test_hierarchy1_is_met_once_user_space_has_filled_its_prog_array() -> None:
    (found,) = sets("tailcall_bpf2bpf_hierarchy1")
    whole = filled(found, {"jmp_table": {0: "entry"}})
    item = exposures((whole,), closed=True)["x86-hierarchy"]
    assert item.state is State.MET
    assert [place.function for place in item.finding.where[:2]] == ["entry", "entry"]
    assert all(place.line and "tailcall_bpf2bpf_hierarchy1.c:" in place.line for place in item.finding.where[:2])
    empty = filled(found, {"jmp_table": {}})
    assert exposures((empty,), closed=True)["x86-hierarchy"].state is State.NOT_MET


def test_hierarchy_fentry_is_met_once_user_space_has_filled_its_prog_array() -> None:
    """It is the fentry program that calls its subprogram twice."""
    (found,) = sets("tailcall_bpf2bpf_hierarchy_fentry")
    whole = filled(found, {"jmp_table": {0: "fentry"}})
    assert exposures((whole,), closed=True)["x86-hierarchy"].state is State.MET


@pytest.mark.parametrize("name", ["tailcall_bpf2bpf_fentry", "tailcall_bpf2bpf_fexit"])
def test_bpf2bpf2_is_met_once_its_subprogram_is_traced(name: str) -> None:
    """prog_tests/tailcalls.c attaches them to subprog_tail() of the program that it puts into the prog array."""
    (found,), (tracers,) = sets("tailcall_bpf2bpf2"), sets(name)
    whole = filled(found, {"jmp_table": {0: "classifier_0"}})
    assert exposures((whole,), closed=True)["x86-trampoline-loop"].state is State.NOT_MET
    tracer = attached(tracers.programs[0], "classifier_0", "subprog_tail")
    whole = whole._replace(programs=(*whole.programs, tracer))
    item = exposures((whole,), closed=True)["x86-trampoline-loop"]
    assert item.state is State.MET
    assert any("is traced by" in step for step in item.finding.chain)


def test_freplace_is_met_once_it_is_attached_and_its_target_put_into_its_prog_array() -> None:
    (extensions,), (targets,) = sets("tailcall_freplace"), sets("tc_bpf2bpf")
    target = next(item for item in targets.programs if item.key == "entry_tc")
    extension = attached(extensions.programs[0], "entry_tc", "subprog_tc")
    whole = extensions._replace(programs=(extension, target))
    loop = filled(whole, {"jmp_table": {0: "entry_tc"}})
    found = exposures((loop,), closed=True)["freplace-loop"]
    assert found.state is State.MET
    assert "is replaced by" in " ".join(found.finding.chain)
    assert found.refused is State.MET
    assert exposures((filled(whole, {"jmp_table": {}}),), closed=True)["freplace-loop"].state is State.NOT_MET


def test_every_other_selftest_meets_none_of_the_six_pitfalls_in_a_closed_world() -> None:
    # On LoongArch one tail call of a subprogram is enough, and what the slots hold is not in an object.
    pitfalls = [item.slug for item in _CATALOG.defects if item.pitfall and not item.slug.startswith(_ELSEWHERE)]
    others = sorted(set(selftests(_SERIES).objects) - set(WRITTEN_FOR))
    assert len(others) > 10
    for name in others:
        found = exposures(sets(name), closed=True)
        states = {slug: found[slug].state for slug in pitfalls if found[slug].state is not State.NOT_MET}
        if name.startswith("freplace_"):  # an extension, whose own prog array or another one's may hold it
            assert set(states) <= {"freplace-attached-panic", "freplace-attached-refused"}
            states = {}
        assert states == {}, name


def _slugs(found: dict[str, Exposure], state: State) -> str:
    shown = [slug for slug, item in found.items() if item.state is state and not slug.startswith(_ELSEWHERE)]
    return ", ".join(shown)


def table() -> list[str]:
    """The table of docs/exposure.md."""
    lines = ["| selftest | met | possible with `--closed --jit` | possible without |", "| --- | --- | --- | --- |"]
    for name in sorted(selftests(_SERIES).objects):
        closed, world = exposures(sets(name), closed=True), exposures(sets(name), closed=False)
        count = sum(item.state is State.POSSIBLE for slug, item in world.items() if not slug.startswith(_ELSEWHERE))
        lines.append(f"| {name} | {_slugs(closed, State.MET)} | {_slugs(closed, State.POSSIBLE)} | {count} |")
    return lines


def test_the_table_of_the_documentation_is_what_is_found() -> None:
    text = _DOCUMENT.read_text("utf-8")
    rows = re.findall(r"^\| (?:freplace_|tailcall|tc_bpf2bpf).*$", text, re.MULTILINE)
    assert rows == table()[2:]
