"""The cases of the owner check on played kernels: releases with some fixes, and functions that do what none does."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.emulation.owner_check import CASES
from tailcall_audit.analyzer.readers.emulation.read import Emulation, evidence_of
from tailcall_audit.analyzer.readers.emulation.stage import Outcome
from tests.readers.played import NULL, TRAP, WILD, Play, PlayedKernel, outcome, results

CHECK, KFUNC = "bpf_prog_map_compatible", "btf_kfunc_id_set_contains"
LOCK, EXTENSION, PANIC, REFUSED, FUNCTION, ATTACH, STORAGE, BRIDGE, SLEEPABLE, CONFUSED = (
    "54713c85f536", "1c123c567fb1", "f7866c358733", "fdad456cbcca", "28ead3eaabc1", "4540aed51b12", "abad3d0bad72",
    "10627ddc0167", "0f0c332992b8", "c04992612ed4",
)  # fmt: skip
FIXES = (LOCK, EXTENSION, PANIC, REFUSED, FUNCTION, ATTACH, STORAGE, BRIDGE, SLEEPABLE)
PRESENT, ABSENT = Presence.PRESENT, Presence.ABSENT


class Release(NamedTuple):
    """The owner check of a release, by the commits that it has. `confused` is 5.15's c04992612ed4. `bridges` are the
    kinds of storage that BRIDGE looks at, and `sleeps` the owners (0: may not sleep) that SLEEPABLE compares.
    """

    has: frozenset[str] = frozenset(FIXES)
    confused: bool = False
    bridges: tuple[int, ...] = (0, 1)
    sleeps: tuple[int, ...] = (0, 1)


def _number(scene: Any, kind: str) -> int:
    return int(scene.bench.number("bpf_prog_type", f"BPF_PROG_TYPE_{kind}"))


def _resolved(scene: Any, program: int, release: Release) -> int | None:
    """Returns the type that the check takes for a program; None for a NULL pointer that it follows."""
    objects = scene.objects
    kind, aux = objects.get(program, "bpf_prog", "type"), objects.get(program, "bpf_prog", "aux")
    target = objects.get(aux, "bpf_prog_aux", "dst_prog")
    if release.confused:
        return int(objects.get(target, "bpf_prog", "type")) if target else int(kind)
    if kind != _number(scene, "EXT") or EXTENSION not in release.has:
        return int(kind)
    if REFUSED in release.has:
        return int(objects.get(aux, "bpf_prog_aux", "saved_dst_prog_type"))
    if target:
        return int(objects.get(target, "bpf_prog", "type"))
    return int(kind) if PANIC in release.has else None


def _cookies(scene: Any, aux: int) -> tuple[int, ...]:
    place = aux + scene.layout.place("bpf_prog_aux", "cgroup_storage")
    storages = (scene.machine.word(place), scene.machine.word(place + 8))
    return tuple(scene.objects.get(storage, "bpf_map", "cookie") if storage else 0 for storage in storages)


def checking(release: Release) -> Play:
    """Plays the check of a release. The first program of an array is its owner."""

    def play(scene: Any, array: int, program: int) -> int | Run:
        objects, has = scene.objects, release.has
        kind = _resolved(scene, program, release)
        if kind is None:
            return NULL
        aux = objects.get(program, "bpf_prog", "aux")
        facts = {
            "type": kind,
            FUNCTION: objects.get(aux, "bpf_prog_aux", "attach_func_proto"),
            ATTACH: objects.get(program, "bpf_prog", "expected_attach_type"),
            SLEEPABLE: objects.get(program, "bpf_prog", "sleepable"),
        }
        cookies = _cookies(scene, aux)
        if array not in scene.state:
            if LOCK in has:
                scene.ask("_raw_spin_lock", array + scene.layout.place("bpf_array", "map.owner.lock"))
            scene.state[array] = (facts, cookies)
            return 1
        owner, kept = scene.state[array]
        calls = objects.get(aux, "bpf_prog_aux", "tail_call_reachable")
        compared = has if owner[SLEEPABLE] in release.sleeps else has - {SLEEPABLE}
        same = all(owner[name] == value for name, value in facts.items() if name == "type" or name in compared)
        for index, (mine, theirs) in enumerate(zip(cookies, kept, strict=True)):
            looks = BRIDGE in has and index in release.bridges
            may = mine == theirs or (mine == 0 and (not looks or not calls))
            same = same and (STORAGE not in has or may)
        return int(same)

    return play


def kernel(release: Release, **more: Play) -> PlayedKernel:
    return PlayedKernel({CHECK: checking(release), **more})


def decided(catalog: Catalog, played: PlayedKernel) -> dict[str, Presence]:
    found = Emulation(results(played, CASES))
    return {
        item.commit: item.presence
        for item in evidence_of(catalog, found, "x86_64", "it", frozenset((*FIXES, CONFUSED)))
        if item.commit != CONFUSED or item.presence is PRESENT
    }


def test_a_release_with_every_fix_has_them(catalog: Catalog) -> None:
    assert decided(catalog, kernel(Release())) == dict.fromkeys(FIXES, PRESENT)


@pytest.mark.parametrize("lacking", [LOCK, EXTENSION, REFUSED, FUNCTION, ATTACH, BRIDGE, SLEEPABLE])
def test_a_release_without_one_lacks_that_one(catalog: Catalog, lacking: str) -> None:
    found = decided(catalog, kernel(Release(frozenset(FIXES) - {lacking})))
    expected = dict.fromkeys(FIXES, PRESENT) | {lacking: ABSENT}
    if lacking == EXTENSION:
        # A check that takes no freplace program shows nothing of what it does with one that is attached.
        del expected[PANIC], expected[REFUSED]
    assert found == expected


@pytest.mark.parametrize("half", [(0,), (1,)])
def test_a_release_with_half_of_a_fix_lacks_it(catalog: Catalog, half: tuple[int, ...]) -> None:
    """Storage of one kind, shared or per-CPU; an owner that may sleep, or one that may not."""
    assert decided(catalog, kernel(Release(bridges=half))) == dict.fromkeys(FIXES, PRESENT) | {BRIDGE: ABSENT}
    assert decided(catalog, kernel(Release(sleeps=half))) == dict.fromkeys(FIXES, PRESENT) | {SLEEPABLE: ABSENT}


def test_a_release_before_both_fixes_of_pitfall_5_follows_null(catalog: Catalog) -> None:
    found = decided(catalog, kernel(Release(frozenset(FIXES) - {PANIC, REFUSED})))
    assert found == dict.fromkeys(FIXES, PRESENT) | {PANIC: ABSENT, REFUSED: ABSENT}


def test_a_release_that_compares_no_storage_shows_nothing_of_the_bridge(catalog: Catalog) -> None:
    """Between the two fixes of storage: as 6.1.170 for the second, and as 5.10 for the first."""
    found = decided(catalog, kernel(Release(frozenset(FIXES) - {STORAGE, BRIDGE})))
    assert found[STORAGE] is ABSENT
    assert BRIDGE not in found


@pytest.mark.parametrize(("index", "kept", "lost"), [(0, "shared", "per-cpu"), (1, "per-cpu", "shared")])
def test_each_kind_of_storage_is_compared_for_itself(index: int, kept: str, lost: str) -> None:
    """enum bpf_cgroup_storage_type: shared is 0, per-CPU 1."""

    def play(scene: Any, array: int, program: int) -> int:
        kind, aux = (scene.objects.get(program, "bpf_prog", name) for name in ("type", "aux"))
        facts = (kind, _cookies(scene, aux)[index])
        return int(scene.state.setdefault(array, facts) == facts)

    for name, expected in ((kept, Outcome.REFUSED), (lost, Outcome.ACCEPTED)):
        answer = outcome(PlayedKernel({CHECK: play}), CASES[f"owner-check/other-storage-{name}"])
        assert not isinstance(answer, EmulationError)
        assert answer.outcome is expected


def test_a_check_that_takes_a_tracer_for_its_target_has_the_confusion_and_not_the_fix(catalog: Catalog) -> None:
    """Linux kernel commit c04992612ed4 ("bpf: Move bpf map owner out of common struct") (in v5.15.y only)."""
    found = decided(catalog, kernel(Release(frozenset(FIXES) - {PANIC, REFUSED}, confused=True)))
    assert found.get(CONFUSED) is PRESENT
    assert EXTENSION not in found


def _first_only(scene: Any, array: int, _: int) -> int:
    first = array not in scene.state
    scene.state[array] = True
    return int(first)


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("owner-check/loaded-extension", "owner-check/locked")]
)
@pytest.mark.parametrize("play", [lambda *_: 1, lambda *_: 0, lambda *_: 2, _first_only], ids=["1", "0", "2", "first"])
def test_a_check_that_does_what_no_kernel_does_is_a_failed_control(name: str, play: Play) -> None:
    answer = outcome(PlayedKernel({CHECK: play}), CASES[name])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


def test_a_check_that_refuses_a_program_that_tail_calls_is_a_failed_control() -> None:
    """As a flip in 6.12.117's comparison of storages: its guest shows pitfall 1."""
    healthy = checking(Release())

    def play(scene: Any, array: int, program: int) -> int | Run:
        aux = scene.objects.get(program, "bpf_prog", "aux")
        return 0 if scene.objects.get(aux, "bpf_prog_aux", "tail_call_reachable") else healthy(scene, array, program)

    answer = outcome(PlayedKernel({CHECK: play}), CASES["owner-check/extension"])
    assert isinstance(answer, EmulationError)
    assert (answer.why, "that tail-calls" in answer.detail) == (Why.CONTROL, True)


def test_a_check_that_refuses_only_a_program_that_does_not_tail_call_is_a_failed_control() -> None:
    healthy = checking(Release())

    def play(scene: Any, array: int, program: int) -> int | Run:
        aux = scene.objects.get(program, "bpf_prog", "aux")
        calls = scene.objects.get(aux, "bpf_prog_aux", "tail_call_reachable")
        same = scene.objects.get(program, "bpf_prog", "type") == _number(scene, "XDP")
        return 0 if array in scene.state and same and not calls else healthy(scene, array, program)

    answer = outcome(PlayedKernel({CHECK: play}), CASES["owner-check/extension"])
    assert isinstance(answer, EmulationError)
    assert (answer.why, "a program like its XDP owner: " in answer.detail) == (Why.CONTROL, True)


def test_a_check_that_takes_freplace_programs_of_any_type_is_a_failed_control() -> None:
    healthy = checking(Release())

    def play(scene: Any, array: int, program: int) -> int | Run:
        kind = scene.objects.get(program, "bpf_prog", "type")
        return 1 if kind == _number(scene, "EXT") else healthy(scene, array, program)

    for name in ("owner-check/extension", "owner-check/attached-extension"):
        answer = outcome(PlayedKernel({CHECK: play}), CASES[name])
        assert isinstance(answer, EmulationError)
        assert (answer.why, "of another type" in answer.detail) == (Why.CONTROL, True)


def test_a_bridge_is_judged_only_where_a_harmless_program_enters() -> None:
    healthy = checking(Release())

    def play(scene: Any, array: int, program: int) -> int | Run:
        aux = scene.objects.get(program, "bpf_prog", "aux")
        if array in scene.state and any(scene.state[array][1]) and not any(_cookies(scene, aux)):
            return 0
        return healthy(scene, array, program)

    for name in ("owner-check/bridge-shared", "owner-check/bridge-per-cpu"):
        answer = outcome(PlayedKernel({CHECK: play}), CASES[name])
        assert isinstance(answer, EmulationError)
        assert answer.why is Why.CONTROL


@pytest.mark.parametrize("end", [WILD, TRAP])
def test_a_fault_that_is_no_null_pointer_is_no_outcome(end: Run) -> None:
    healthy = checking(Release())

    def play(scene: Any, array: int, program: int) -> int | Run:
        kind = scene.objects.get(program, "bpf_prog", "type")
        return end if kind == _number(scene, "EXT") else healthy(scene, array, program)

    answer = outcome(PlayedKernel({CHECK: play}), CASES["owner-check/attached-extension"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.UNEXPECTED_FAULT


def test_a_fault_is_reported_with_its_place() -> None:
    answer = outcome(kernel(Release(frozenset(FIXES) - {PANIC, REFUSED})), CASES["owner-check/attached-extension"])
    assert not isinstance(answer, EmulationError)
    assert answer.outcome is Outcome.NULL_DEREFERENCE
    assert "reads address 0x4 (resolve_prog_type at 0xffffffff81000004)" in answer.story


def locking(lock: str, path: str, struct: str = "bpf_array") -> Play:
    def play(scene: Any, array: int, program: int) -> int:
        del program
        base = array if struct == "bpf_array" else scene.objects.get(array, "bpf_array", "aux")
        place = base + scene.layout.place(struct, path)
        if lock:
            scene.ask(lock, place)
        else:
            scene.machine.store(place, 1)
        return 1

    return play


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (locking("_raw_spin_lock", "map.owner.lock"), "calls _raw_spin_lock()"),
        (locking("_raw_spin_lock_irqsave", "map.owner_lock"), "calls _raw_spin_lock_irqsave()"),
        (locking("rt_spin_lock", "owner.lock", "bpf_array_aux"), "calls rt_spin_lock()"),
        (locking("mutex_lock", "map.owner_lock"), "calls mutex_lock()"),
        (locking("", "map.owner.lock"), "writes to the owner's lock"),
        (locking("", "owner.lock", "bpf_array_aux"), "writes to the owner's lock"),
    ],
)
def test_a_lock_may_be_a_function_or_inlined_where_the_release_has_it(play: Play, expected: str) -> None:
    answer = outcome(PlayedKernel({CHECK: play}), CASES["owner-check/locked"])
    assert not isinstance(answer, EmulationError)
    assert (answer.outcome, expected in answer.story) == (Outcome.DONE, True)


@pytest.mark.parametrize(
    "lock",
    [
        "_raw_spin_lock",
        "__raw_spin_lock",
        "_raw_spin_lock_nested",
        "_raw_spin_lock_irq",
        "_raw_spin_lock_irqsave",
        "_raw_spin_lock_bh",
        "rt_spin_lock",
        "mutex_lock",
        "mutex_lock_nested",
    ],
)
def test_every_way_to_take_a_lock_is_one(lock: str) -> None:
    """The functions of Linux include/linux/spinlock.h and mutex.h, as configurations have them."""
    answer = outcome(PlayedKernel({CHECK: locking(lock, "map.owner.lock")}), CASES["owner-check/locked"])
    assert not isinstance(answer, EmulationError)
    assert (answer.outcome, f"calls {lock}()" in answer.story) == (Outcome.DONE, True)


def test_another_lock_than_the_owner_s_is_not_the_fix() -> None:
    """A lock of something else does not keep two programs from becoming owners at once."""
    answer = outcome(PlayedKernel({CHECK: locking("_raw_spin_lock", "map.freeze_mutex")}), CASES["owner-check/locked"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.NO_MEMBER
    other = locking("", "map.freeze_mutex")
    written = outcome(PlayedKernel({CHECK: other}), CASES["owner-check/locked"])
    assert not isinstance(written, EmulationError)
    assert written.outcome is Outcome.NOT_DONE


def test_the_owner_s_lock_counts_beside_another_one() -> None:
    def play(scene: Any, array: int, program: int) -> int | Run:
        locking("mutex_lock", "map.freeze_mutex")(scene, array, program)
        return locking("", "map.owner.lock")(scene, array, program)

    answer = outcome(PlayedKernel({CHECK: play}), CASES["owner-check/locked"])
    assert not isinstance(answer, EmulationError)
    assert answer.outcome is Outcome.DONE


def test_a_release_without_the_structure_of_the_lock_is_judged_by_the_other_ones() -> None:
    lacking = ("bpf_array.map.owner_lock", "bpf_array.map.owner.lock")
    play = locking("_raw_spin_lock", "owner.lock", "bpf_array_aux")
    found = outcome(PlayedKernel({CHECK: play}, lacks=lacking), CASES["owner-check/locked"])
    assert not isinstance(found, EmulationError)
    assert found.outcome is Outcome.DONE
    no_aux = PlayedKernel({CHECK: locking("_raw_spin_lock", "map.owner.lock")}, lacks=("bpf_array.aux",))
    found = outcome(no_aux, CASES["owner-check/locked"])
    assert not isinstance(found, EmulationError)
    assert found.outcome is Outcome.DONE


@pytest.mark.parametrize("value", [0, 2])
def test_a_lock_is_judged_only_where_the_first_program_becomes_the_owner(value: int) -> None:
    answer = outcome(PlayedKernel({CHECK: lambda *_: value}), CASES["owner-check/locked"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


def loading(
    of_extension: int | Run, of_others: int | Run = 0, parameters: tuple[str, ...] = ("btf", "kfunc_btf_id", "prog")
) -> PlayedKernel:
    def play(scene: Any, *arguments: int) -> int | Run:
        values = dict(zip(parameters, arguments, strict=True))
        kind = scene.objects.get(values["prog"], "bpf_prog", "type")
        assert values["btf"] and values["kfunc_btf_id"] == 1
        return of_extension if kind == _number(scene, "EXT") else of_others

    return PlayedKernel({CHECK: checking(Release()), KFUNC: play}, {KFUNC: list(parameters)})


def test_a_loaded_extension_has_its_own_outcomes() -> None:
    name = "owner-check/loaded-extension"
    for played, expected in ((loading(0), Outcome.DONE), (loading(NULL), Outcome.NULL_DEREFERENCE)):
        answer = outcome(played, CASES[name])
        assert not isinstance(answer, EmulationError)
        assert answer.outcome is expected
    reasons = {
        Why.CONTROL: loading(0, of_others=WILD),
        Why.UNEXPECTED_FAULT: loading(WILD),
        Why.NO_FUNCTION: PlayedKernel({CHECK: checking(Release()), KFUNC: lambda *_: 0}, {KFUNC: ["btf", "id"]}),
    }
    for why, played in reasons.items():
        answer = outcome(played, CASES[name])
        assert isinstance(answer, EmulationError)
        assert answer.why is why


@pytest.mark.parametrize("name", ["bpf_prog_map_compatible", "__bpf_prog_map_compatible", "bpf_prog_array_compatible"])
def test_the_check_has_a_name_for_each_release(name: str) -> None:
    answer = outcome(PlayedKernel({name: checking(Release())}), CASES["owner-check/extension"])
    assert not isinstance(answer, EmulationError)
    assert answer.story.startswith(f"{name}() at 0xffffffff81000000 lets in a freplace program")


def test_a_kernel_without_the_check_is_a_reason() -> None:
    answer = outcome(PlayedKernel({KFUNC: lambda *_: 0}), CASES["owner-check/extension"])
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.NO_FUNCTION
    assert answer.detail == "bpf_prog_map_compatible() or __bpf_prog_map_compatible() or bpf_prog_array_compatible()"
