"""The cases of the flag that asks a trampoline to carry the count, on played kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation import trampoline_flags
from tailcall_audit.analyzer.readers.emulation.stage import Finding, Outcome, Stage
from tailcall_audit.analyzer.readers.emulation.trampoline_flags import CASES
from tests.readers.played import TRAP, PlayedKernel, outcome

LINK, SIZE, PREPARE, CHECK = (
    "bpf_trampoline_link_prog", "arch_bpf_trampoline_size", "arch_prepare_bpf_trampoline", "bpf_check",
)  # fmt: skip
CTX, IN_USE = 0x80, 2 | 4 | 64
Flags = Callable[[int], int]


def updating(flags: Flags, *, asks: str = PREPARE, parameter: str = "link", end: int | Run = 0) -> PlayedKernel:
    """Returns a kernel whose update asks for code with flags that follow from those of the trampoline."""

    def link(scene: Any, first: int, trampoline: int, target: int) -> int | Run:
        objects = scene.objects
        path = {
            "prog": ("bpf_prog", "type"),
            "node": ("bpf_tramp_node", "link"),
            "link": ("bpf_tramp_link", "link.prog"),
        }
        assert objects.get(first, *path[parameter])
        assert objects.get(trampoline, "bpf_trampoline", "func.addr") == target
        wanted = flags(objects.get(trampoline, "bpf_trampoline", "flags"))
        if asks == SIZE:
            scene.ask(SIZE, 0, wanted)
        elif asks == PREPARE:
            scene.ask(PREPARE, 0, 0, 0, 0, wanted)
        return end

    return PlayedKernel({LINK: link}, {LINK: [parameter, "tr", "tgt_prog"]})


def loading(flags: Callable[[int, bool], int], *, reaches: bool = True, end: int | Run = 0) -> PlayedKernel:
    """Returns a kernel whose verifier leaves flags in the trampoline of a target that tail-calls or not."""

    def check(scene: Any, cell: int, *_: int) -> int | Run:
        objects = scene.objects
        tracer = scene.machine.word(cell)
        aux = objects.get(tracer, "bpf_prog", "aux")
        assert objects.get(aux, "bpf_prog_aux", "attach_btf_id") == 1
        target = objects.get(objects.get(aux, "bpf_prog_aux", "dst_prog"), "bpf_prog", "aux")
        trampoline = scene.ask("bpf_trampoline_get")
        assert not scene.machine.stopped
        before = objects.get(trampoline, "bpf_trampoline", "flags")
        assert before == IN_USE
        calls = bool(objects.get(target, "bpf_prog_aux", "tail_call_reachable"))
        assert objects.get(target, "bpf_prog_aux", "tail_call_reachable") == calls  # a kernel's field has one bit
        objects.set(trampoline, "bpf_trampoline", "flags", flags(before, calls))
        if reaches:
            scene.machine.store(aux + scene.layout.place("bpf_prog_aux", "dst_trampoline"), trampoline)
        scene.ask("bpf_prog_calc_tag")
        # The verifier needs much more to go on: the run ends before.
        if reaches:
            assert scene.machine.stopped
        return end

    return PlayedKernel({CHECK: check})


def why(played: PlayedKernel, name: str) -> Why:
    answer = outcome(played, CASES[name])
    assert isinstance(answer, EmulationError), answer
    return answer.why


def found(played: PlayedKernel, name: str) -> Outcome:
    answer = outcome(played, CASES[name])
    assert not isinstance(answer, EmulationError), answer
    return answer.outcome


@pytest.mark.parametrize("asks", [SIZE, PREPARE])
@pytest.mark.parametrize("parameter", ["prog", "link", "node"])
def test_an_update_keeps_the_flag_or_loses_it(asks: str, parameter: str) -> None:
    """bpf_trampoline_update() masks the old flags with BPF_TRAMP_F_SHARE_IPMODIFY alone before 2b5dcb31a19a."""
    kept, lost = (
        updating(lambda before: before & 0xC0 | 1, asks=asks, parameter=parameter),
        updating(lambda before: before & 0x40 | 1, asks=asks),
    )
    assert found(kept, "trampoline/keeps-wish") is Outcome.DONE
    assert found(lost, "trampoline/keeps-wish") is Outcome.NOT_DONE


def test_an_update_that_always_asks_for_it_is_a_failed_control() -> None:
    assert why(updating(lambda _: CTX | 1), "trampoline/keeps-wish") is Why.CONTROL


@pytest.mark.parametrize("flags", [0, 2, 3])
def test_an_update_for_fentry_asks_for_the_registers_and_not_for_the_function(flags: int) -> None:
    """RESTORE_REGS without CALL_ORIG, as every kernel does for fentry alone."""
    assert why(updating(lambda before: before & CTX | flags), "trampoline/keeps-wish") is Why.CONTROL


@pytest.mark.parametrize("end", [-12 & 0xFFFF_FFFF, TRAP])
def test_an_update_that_asks_for_no_code_is_a_failed_control(end: int | Run) -> None:
    assert why(updating(lambda _: 1, asks="", end=end), "trampoline/keeps-wish") is Why.CONTROL


def adds(before: int, calls: bool) -> int:
    return before | (CTX if calls else 0)


def overwrites(before: int, calls: bool) -> int:
    return CTX if calls else before


@pytest.mark.parametrize(
    ("flags", "wishes", "is_added"),
    [
        (adds, Outcome.DONE, Outcome.DONE),
        # Linux kernel commit 61aaa8782bec ("bpf: Fix WARNING in bpf_tracing_link_release") mends this.
        (overwrites, Outcome.DONE, Outcome.NOT_DONE),
        (lambda before, _: before, Outcome.NOT_DONE, Outcome.DONE),
    ],
    ids=["adds", "overwrites", "sets none"],
)
def test_the_verifier_sets_the_flag_or_adds_it(
    flags: Callable[[int, bool], int], wishes: Outcome, is_added: Outcome
) -> None:
    assert found(loading(flags), "trampoline/wishes") is wishes
    assert found(loading(flags), "trampoline/adds-wish") is is_added


def test_losing_one_of_the_other_flags_is_losing_them() -> None:
    assert (
        found(loading(lambda before, calls: before & ~4 | CTX if calls else before), "trampoline/adds-wish")
        is Outcome.NOT_DONE
    )


def test_a_verifier_that_always_sets_it_is_a_failed_control() -> None:
    assert why(loading(lambda before, _: before | CTX), "trampoline/wishes") is Why.CONTROL
    assert why(loading(lambda before, _: before | CTX), "trampoline/adds-wish") is Why.CONTROL


@pytest.mark.parametrize("name", ["trampoline/wishes", "trampoline/adds-wish", "trampoline/one-flag"])
@pytest.mark.parametrize("end", [0, TRAP])
def test_a_verifier_that_does_not_come_to_the_trampoline_is_a_failed_control(name: str, end: int | Run) -> None:
    assert why(loading(adds, reaches=False, end=end), name) is Why.CONTROL


def test_the_end_of_the_verifier_does_not_matter_once_it_was_there() -> None:
    assert found(loading(adds, end=TRAP), "trampoline/wishes") is Outcome.DONE


@pytest.mark.parametrize(("flag", "kept", "asked"), [(0x80, 0xC0, 0x80), (0x200, 0xC0, 0), (0x200, 0x240, 0x200)])
def test_the_flag_that_is_set_is_the_one_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, flag: int, kept: int, asked: int
) -> None:
    """What the trampoline makes of it is another case (tests/readers/test_emulation_undone.py)."""
    seen: list[tuple[tuple[int, ...], int]] = []

    def traced(stage: Stage, kinds: tuple[int, ...], wish: int) -> tuple[Outcome, str]:
        del stage
        seen.append((kinds, wish))
        return Outcome.STOPS if wish & CTX else Outcome.LOOPS, "is made"

    monkeypatch.setattr(trampoline_flags, "traced", traced)
    played = loading(lambda before, calls: before | (flag if calls else 0))
    played._plays |= updating(lambda before: before & kept | 1)._plays
    played._addresses |= {LINK: 0xFFFFFFFF81001000, PREPARE: 0xFFFFFFFF81002000}
    answer = outcome(played, CASES["trampoline/one-flag"])
    assert isinstance(answer, Finding)
    assert seen == [((0,), asked)]
    assert answer.outcome is (Outcome.STOPS if asked & CTX else Outcome.LOOPS)


def test_a_verifier_that_sets_no_flag_has_none_to_ask_for() -> None:
    assert found(loading(lambda before, _: before), "trampoline/one-flag") is Outcome.NOT_DONE


def test_a_kernel_without_the_verifier_s_function_is_a_reason() -> None:
    assert why(PlayedKernel({LINK: lambda *_: 0}), "trampoline/wishes") is Why.NO_FUNCTION
