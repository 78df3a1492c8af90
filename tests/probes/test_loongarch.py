"""What the probes of LoongArch conclude from their counts. No program is loaded: a stand-in for bpf(2) has the counts
of guests (docs/architectures.md), or counts that no kernel showed.
"""

from __future__ import annotations

import errno

import pytest

from tailcall_audit.probes.defects import (
    loongarch_arena_count_slot,
    loongarch_tailcall_hierarchy,
    loongarch_tailcall_index_zext,
    loongarch_tailcall_jump_offset,
)
from tailcall_audit.probes.kernel import programs
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.instructions import insns_of
from tailcall_audit.probes.probe import ABSENT, PRESENT
from tests.probes.concluded import concluded

_CALL, _PSEUDO_CALL = 0x85, 1
HIERARCHY, INDEX, JUMP, ARENA = (
    module.PROBE
    for module in (
        loongarch_tailcall_hierarchy,
        loongarch_tailcall_index_zext,
        loongarch_tailcall_jump_offset,
        loongarch_arena_count_slot,
    )
)


class Counting(Bpf):
    """A kernel whose programs are entered so often: by name, and by the calls of subprograms in a "chain"."""

    memlock_raised = True

    def __init__(self, counts: dict[str | int, int], arena: int | None = None) -> None:
        self.counts, self.refusal = {0: 34, "entry": 34, **counts}, arena
        self.arrays: list[int] = []
        self.last: str | int = ""

    def array(self, size: int = 64) -> int:
        self.arrays.append(len(self.arrays))
        return self.arrays[-1]

    def prog_array(self, entries: int = 1) -> int:
        return 100

    def arena(self) -> int:
        if self.refusal is not None:
            raise BpfError(self.refusal, "map of type 33")
        return 101

    def put(self, array: int, index: int, program: int) -> None:
        pass

    def write(self, array: int, value: bytes, index: int = 0) -> None:
        pass

    def run(self, program: int) -> int:
        return 0

    def is_compiled(self, program: int) -> bool:
        return True

    def load(self, kind: int, program: Program, *, name: str = "", **_: object) -> int:
        calls = sum(insn.code == _CALL and insn.src == _PSEUDO_CALL for insn in insns_of(program))
        self.last = calls if name == "chain" else name
        return 102

    def count(self, array: int, offset: int = 0) -> int:
        # The program of a tail call that is not taken is entered once; the first of its arrays counts the other program.
        if self.last == "beyond" and array == self.arrays[-1]:
            return 1
        return self.counts[self.last]


@pytest.fixture(autouse=True)
def no_control_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_healthy", set())


@pytest.mark.parametrize(
    ("once", "twice", "expected"),
    [
        (61, 121, (PRESENT, True)),  # 6.12.117
        (34, 34, (ABSENT, True)),  # 7.2.13
        (34, 61, (PRESENT, True)),
        (1, 1, None),
        (34, 20, None),
    ],
)
def test_only_more_entries_than_34_are_a_count_that_starts_anew(
    once: int, twice: int, expected: tuple[str, bool] | None
) -> None:
    assert concluded(HIERARCHY.run, Counting({1: once, 2: twice})) == expected


@pytest.mark.parametrize(("entries", "expected"), [(1, (PRESENT, True)), (34, (ABSENT, True)), (2, None), (61, None)])
def test_a_wide_index_is_taken_or_not(entries: int, expected: tuple[str, bool] | None) -> None:
    assert concluded(INDEX.run, Counting({"wide": entries})) == expected


@pytest.mark.parametrize(("reached", "expected"), [(1, (PRESENT, True)), (0, (ABSENT, True)), (2, None)])
def test_a_tail_call_that_is_not_taken_reaches_no_entry(reached: int, expected: tuple[str, bool] | None) -> None:
    assert concluded(JUMP.run, Counting({"beyond": reached})) == expected


@pytest.mark.parametrize(("entries", "expected"), [(61, (PRESENT, True)), (34, (ABSENT, True)), (1, None)])
def test_a_program_with_an_arena_is_counted_in_a_guest_and_not_run_on_a_host(
    entries: int, expected: tuple[str, bool] | None
) -> None:
    assert concluded(ARENA.run, Counting({"arena": entries})) == expected
    host = Counting({"arena": entries})
    assert concluded(ARENA.safe, host) is None
    assert host.last == "", "nothing is loaded"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EINVAL, (ABSENT, False)), (errno.EOPNOTSUPP, (ABSENT, False)), (errno.EPERM, None), (errno.ENOMEM, None)],
)
def test_only_a_kernel_without_arenas_is_out_of_reach(number: int, expected: tuple[str, bool] | None) -> None:
    """arena_map_alloc() answers EOPNOTSUPP to a JIT without arenas, map_create() EINVAL to a type that it does not know."""
    for run in (ARENA.run, ARENA.safe):
        assert concluded(run, Counting({}, arena=number)) == expected


@pytest.mark.parametrize("probe", [HIERARCHY, INDEX, JUMP], ids=lambda probe: probe.slug)
def test_a_control_that_fails_leaves_every_probe_without_an_answer(probe: object) -> None:
    for count in (1, 33, 35, 61):
        kernel = Counting({0: count, 1: 34, 2: 34, "wide": 34, "beyond": 0})
        assert concluded(probe.run, kernel) is None  # type: ignore[attr-defined]
