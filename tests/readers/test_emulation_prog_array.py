"""The cases of a program that is extended and put, and of an array that is cleared, on played kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.emulation import clear
from tailcall_audit.analyzer.readers.emulation.prog_array import CASES
from tailcall_audit.analyzer.readers.emulation.read import Emulation, evidence_of
from tailcall_audit.analyzer.readers.emulation.scene import ENTRIES
from tailcall_audit.analyzer.readers.emulation.stage import Outcome
from tests.readers.played import TRAP, WILD, PlayedKernel, outcome, results

PUT, TAKE, LINK, CLEAR = (
    "prog_fd_array_get_ptr", "prog_fd_array_put_ptr", "bpf_trampoline_link_prog", "prog_array_map_clear_deferred",
)  # fmt: skip
FIX = "d6083f040d5d"
BUSY, INVALID = -16 & (1 << 64) - 1, -22 & (1 << 64) - 1
LINKS = {"prog": ["prog", "tr"], "link": ["link", "tr", "tgt_prog"], "node": ["node", "tr", "tgt_prog"]}


class Release(NamedTuple):
    """Which of the places of d6083f040d5d a kernel has."""

    put_looks: bool = True
    put_counts: bool = True
    take_counts: bool = True
    link_looks: bool = True
    link_marks: bool = True


def _extension(scene: Any, first: int, parameter: str) -> int:
    objects = scene.objects
    if parameter == "prog":
        return first
    if parameter == "node":
        return int(objects.get(objects.get(first, "bpf_tramp_node", "link"), "bpf_link", "prog"))
    return int(objects.get(first, "bpf_tramp_link", "link.prog"))


def kernel(release: Release, parameter: str = "link", other: Mapping[str, int | Run] | None = None) -> PlayedKernel:
    """Returns a kernel of a release. `other` are functions that always end in one way."""

    def put(scene: Any, array: int, _: int, descriptor: int) -> int:
        program = scene.ask("bpf_prog_get", descriptor)
        aux = scene.objects.get(program, "bpf_prog", "aux")
        assert array
        if release.put_looks and scene.objects.get(aux, "bpf_prog_aux", "is_extended"):
            return BUSY
        count = scene.objects.get(aux, "bpf_prog_aux", "prog_array_member_cnt")
        scene.objects.set(aux, "bpf_prog_aux", "prog_array_member_cnt", count + release.put_counts)
        return int(program)

    def take(scene: Any, array: int, program: int, _: int) -> int:
        aux = scene.objects.get(program, "bpf_prog", "aux")
        assert array
        count = scene.objects.get(aux, "bpf_prog_aux", "prog_array_member_cnt")
        scene.objects.set(aux, "bpf_prog_aux", "prog_array_member_cnt", count - 1 if release.take_counts else 0)
        return 0

    def link(scene: Any, first: int, trampoline: int, target: int) -> int:
        extension = _extension(scene, first, parameter)
        number = scene.bench.number("bpf_prog_type", "BPF_PROG_TYPE_EXT")
        assert scene.objects.get(extension, "bpf_prog", "type") == number
        assert scene.objects.get(trampoline, "bpf_trampoline", "func.addr") == target
        aux = scene.objects.get(target, "bpf_prog", "aux")
        if release.link_looks and scene.objects.get(aux, "bpf_prog_aux", "prog_array_member_cnt"):
            return -16 & 0xFFFF_FFFF  # an int
        scene.objects.set(aux, "bpf_prog_aux", "is_extended", int(release.link_marks))
        scene.ask("bpf_arch_text_poke")
        return 0

    plays: dict[str, Any] = {PUT: put, TAKE: take, LINK: link}
    plays |= {name: (lambda *_, end=end: end) for name, end in (other or {}).items()}
    return PlayedKernel(plays, {LINK: LINKS[parameter]} if parameter in LINKS else {})


def decided(catalog: Catalog, played: PlayedKernel) -> Presence:
    (item,) = evidence_of(catalog, Emulation(results(played, CASES)), "x86_64", "it", frozenset((FIX,)))
    return item.presence


@pytest.mark.parametrize("parameter", [*LINKS, "not known"])
def test_the_whole_fix_is_seen_whatever_is_linked(catalog: Catalog, parameter: str) -> None:
    """A program before v6.0, a link, and a node of one since v7.1. A link is taken if the prototype is not known."""
    assert decided(catalog, kernel(Release(), parameter)) is Presence.PRESENT


@pytest.mark.parametrize("place", Release._fields)
def test_each_place_of_the_fix_that_is_missing_is_seen(catalog: Catalog, place: str) -> None:
    assert decided(catalog, kernel(Release()._replace(**{place: False}))) is Presence.ABSENT


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("broken", [PUT, LINK])
@pytest.mark.parametrize("value", [INVALID, BUSY, 5])
def test_a_plain_put_or_link_that_is_refused_is_a_failed_control(name: str, broken: str, value: int) -> None:
    """A function that ran to its end and did what no kernel does: its release may not say that it has the fix."""
    answer = outcome(kernel(Release(), other={broken: value}), CASES[name])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


@pytest.mark.parametrize("broken", [PUT, LINK])
@pytest.mark.parametrize("end", [WILD, TRAP])
def test_a_fault_has_no_outcome(broken: str, end: Run) -> None:
    answer = outcome(kernel(Release(), other={broken: end}), CASES["prog-array/put-then-extended"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.UNEXPECTED_FAULT


def test_a_take_that_faults_is_a_failed_control() -> None:
    answer = outcome(kernel(Release(), other={TAKE: WILD}), CASES["prog-array/taken-then-extended"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


def test_a_program_that_was_taken_out_of_all_arrays_must_be_free() -> None:
    """A kernel that never counts down refuses more than the fix does."""

    def take(*_: object) -> int:
        return 0

    played = kernel(Release())
    played._plays[TAKE] = take
    answer = outcome(played, CASES["prog-array/taken-then-extended"])
    assert isinstance(answer, EmulationError)
    assert (answer.why, "no prog_array any more" in answer.detail) == (Why.CONTROL, True)


@pytest.mark.parametrize(
    ("name", "member", "case"),
    [
        (PUT, "is_extended", "prog-array/extended-then-put"),
        (LINK, "prog_array_member_cnt", "prog-array/put-then-extended"),
        (LINK, "prog_array_member_cnt", "prog-array/taken-then-extended"),
    ],
)
def test_another_error_than_ebusy_is_no_refusal_of_the_fix(name: str, member: str, case: str) -> None:
    played = kernel(Release())
    healthy = played._plays[name]

    def play(scene: Any, *arguments: int) -> int | Run:
        (program,) = {arguments[2]} if name == LINK else {scene.ask("bpf_prog_get")}
        aux = scene.objects.get(program, "bpf_prog", "aux")
        return INVALID if scene.objects.get(aux, "bpf_prog_aux", member) else healthy(scene, *arguments)

    played._plays[name] = play
    answer = outcome(played, CASES[case])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


@pytest.mark.parametrize("times", [0, 2])
def test_a_link_that_writes_no_jump_or_two_is_a_failed_control(times: int) -> None:
    def link(scene: Any, *_: int) -> int:
        for _number in range(times):
            scene.ask("bpf_arch_text_poke")
        return 0

    played = kernel(Release())
    played._plays[LINK] = link
    answer = outcome(played, CASES["prog-array/put-then-extended"])
    assert isinstance(answer, EmulationError)
    assert (answer.why, f"writes {times} jumps" in answer.detail) == (Why.CONTROL, True)


def clearing(
    pauses: int = ENTRIES, *, how: str = "__cond_resched", leaves: int = 0, puts: bool = True, **more: Any
) -> PlayedKernel:
    """Returns a kernel that clears an array, with so many pauses, and leaves so many entries."""

    def clears(scene: Any, work: int) -> int:
        aux = work - scene.layout.place("bpf_array_aux", "work")
        array = scene.objects.get(aux, "bpf_array_aux", "map")
        operations = scene.objects.get(array, "bpf_array", "map.ops")
        assert scene.objects.get(operations, "bpf_map_ops", "map_poke_run") == scene.kernel.function(
            "prog_array_map_poke_run"
        )
        assert scene.objects.get(operations, "bpf_map_ops", "map_fd_put_ptr") == scene.kernel.function(TAKE)
        assert scene.objects.get(aux, "bpf_array_aux", "poke_mutex.owner.counter")
        jumping = aux + scene.layout.place("bpf_array_aux", "poke_progs")
        assert (scene.machine.word(jumping), scene.machine.word(jumping + 8)) == (jumping, jumping)
        place = array + scene.layout.place("bpf_array", "ptrs")
        for index in range(ENTRIES):
            assert scene.machine.word(place + 8 * index)
            if index >= leaves:
                scene.machine.write(place + 8 * index, bytes(8))
        for _ in range(pauses):
            scene.ask(how)
        if puts:
            scene.ask("bpf_map_put", array)
        return 0

    def nothing(*_: object) -> int:
        return 0

    plays: dict[str, Any] = {CLEAR: clears, "prog_array_map_poke_run": nothing, TAKE: nothing, **more}
    return PlayedKernel(plays if how is None else {**plays, how: nothing})


@pytest.mark.parametrize("how", ["__cond_resched", "_cond_resched"])
@pytest.mark.parametrize(("pauses", "expected"), [(0, Outcome.NOT_DONE), (ENTRIES, Outcome.DONE)])
def test_an_array_is_cleared_with_a_pause_for_each_entry_or_without(how: str, pauses: int, expected: Outcome) -> None:
    answer = outcome(clearing(pauses, how=how), clear.CASES["prog-array/clear-gives-way"])
    assert not isinstance(answer, EmulationError)
    assert answer.outcome is expected
    assert f"calls cond_resched() {pauses} times while it clears {ENTRIES} entries" in answer.story


@pytest.mark.parametrize(
    ("played", "why"),
    [
        (clearing(1), Why.CONTROL),
        (clearing(ENTRIES + 1), Why.CONTROL),
        (clearing(leaves=1), Why.CONTROL),
        (clearing(puts=False), Why.CONTROL),
        (clearing(how="another"), Why.NO_FUNCTION),
        (clearing(__SCT__cond_resched=lambda *_: 0), Why.UNPATCHABLE),
        (clearing(dynamic_cond_resched=lambda *_: 0), Why.UNPATCHABLE),
        (PlayedKernel({CLEAR: lambda *_: TRAP, "__cond_resched": lambda *_: 0, TAKE: lambda *_: 0, "prog_array_map_poke_run": lambda *_: 0}), Why.UNEXPECTED_FAULT),
    ],
    ids=["one", "more", "leaves one", "keeps the array", "no function", "static call", "static key", "trap"],
)  # fmt: skip
def test_clearing_that_shows_nothing_has_its_reason(played: PlayedKernel, why: Why) -> None:
    answer = outcome(played, clear.CASES["prog-array/clear-gives-way"])
    assert isinstance(answer, EmulationError)
    assert answer.why is why
