"""What the probe of riscv64's kCFI concludes. No program is loaded: a stand-in for bpf(2) has the counts and the
machine code of guests (docs/architectures.md), or what no kernel showed.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tailcall_audit.probes.defects import riscv_kcfi_tailcall_stack as stack
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.probe import ABSENT, PRESENT
from tests.probes.concluded import concluded

_NOP, _LI_A6_33 = "13000000", "13081002"
_FRAME = "4111 22e4 0008"
"""``addi sp,sp,-16``, ``sd s0,8(sp)``, ``addi s0,sp,16``: compressed, as CONFIG_RISCV_ISA_C has them."""
_BACK = "2264 4101"
"""``ld s0,8(sp)``, ``addi sp,sp,16``."""
_JR_16_T3, _JR_12_T3, _JR_8_T3 = "67000e01", "6700ce00", "67008e00"
KCFI, NO_KCFI = b"ffffffff80000000 T _start\nffffffff80001000 T handle_cfi_failure\n", b"ffffffff80000000 T _start\n"


def machine_code(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts).replace(" ", ""))


class Layers(Bpf):
    """A kernel that runs the layers: what their stack has in the end, and how often the last program is entered."""

    memlock_raised = True

    def __init__(self, *, changed: int = 0, reached: int = 1, refuses: str = "", code: bytes = b"") -> None:
        self.changed, self.reached, self.refuses, self.code = changed, reached, refuses, code
        self.arrays = self.runs = self.puts = 0

    def array(self, size: int = 64) -> int:
        self.arrays += 1
        return self.arrays - 1

    def prog_array(self, entries: int = 1) -> int:
        return 100

    def is_compiled(self, program: int) -> bool:
        return True

    def _step(self, name: str) -> int:
        if name == self.refuses:
            raise BpfError(errno.EINVAL, name)
        return 101

    def load(self, kind: int, program: Program, *, name: str = "", **_: object) -> int:
        program.encode()
        return self._step(name)

    def attach(self, program: int, attach_type: int = 0) -> int:
        return self._step("attach")

    def put(self, array: int, index: int, program: int) -> None:
        self.puts += 1
        self._step("put")

    def run(self, program: int) -> int:
        self.runs += 1
        return 0

    def count(self, array: int, offset: int = 0) -> int:
        if array == 1:
            return self.reached if self.puts else 0
        return self.changed if offset == stack._SUM else self.runs

    def machine_code(self, program: int) -> bytes:
        return self.code


@pytest.fixture(params=[KCFI, NO_KCFI, b"", None], ids=["kCFI", "no kCFI", "empty", "none"])
def kcfi(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool | None:
    """Sets the symbols of the running kernel; returns True if they have kCFI, None if they say nothing."""
    symbols = tmp_path / "kallsyms"
    if request.param is not None:
        symbols.write_bytes(request.param)
    monkeypatch.setattr(stack, "_KALLSYMS", str(symbols))
    return {KCFI: True, NO_KCFI: False}.get(request.param)


def test_a_tail_call_that_returns_shows_the_absence_only_on_a_kernel_with_kcfi(kcfi: bool | None) -> None:
    assert concluded(stack.PROBE.run, Layers()) == (ABSENT, kcfi is True)


@pytest.mark.parametrize("kernel", [Layers(changed=1), Layers(reached=0), Layers(reached=2)])
def test_a_stack_that_changed_and_a_tail_call_that_was_not_taken_decide_nothing(kernel: Layers) -> None:
    assert concluded(stack.PROBE.run, kernel) is None


@pytest.mark.parametrize("step", ["layers", "extension", "attach", "callee", "put"])
def test_a_step_that_is_refused_decides_nothing(step: str) -> None:
    assert concluded(stack.PROBE.run, Layers(refuses=step)) is None


def test_the_tail_call_is_taken_only_after_the_control_ran() -> None:
    kernel = Layers(refuses="callee")
    assert concluded(stack.PROBE.run, kernel) is None
    assert (kernel.runs, kernel.puts) == (1, 0)


SEEN = machine_code(
    "1300000013000000130810027d7122e426e00008aa8401462685b70500b08525b6059385f5ddb205938505800216019203e34502637366027d18",
    "6340080293133600ae9383b303106389030003be030322648264416167000e0181472264826441611b8507008280",
)
"""The program of a host, as the guest of 6.12.117 compiled it. The guest with the fix has a jump of 12 bytes in it."""


def test_the_machine_code_of_6_12_117_jumps_over_the_frame_and_that_with_the_fix_does_not() -> None:
    assert stack._skipped(SEEN) == 4
    jump = SEEN.index(machine_code(_JR_16_T3))
    assert stack._skipped(SEEN[:jump] + machine_code(_JR_12_T3) + SEEN[jump + 4 :]) == 0


PROLOGUE = (_NOP, _NOP, _LI_A6_33, _FRAME)


def test_machine_code_that_jumps_too_far_shows_the_defect_on_a_host_and_runs_nothing() -> None:
    kernel = Layers(code=machine_code(*PROLOGUE, _BACK, _JR_16_T3, _BACK))
    assert concluded(stack.PROBE.safe, kernel) == (PRESENT, True)
    assert (kernel.runs, kernel.puts) == (0, 0)


def test_machine_code_that_skips_only_the_count_shows_the_absence_with_kcfi(kcfi: bool | None) -> None:
    kernel = Layers(code=machine_code(*PROLOGUE, _BACK, _JR_12_T3, _BACK))
    assert concluded(stack.PROBE.safe, kernel) == (ABSENT, kcfi is True)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        bytes(200),
        machine_code(*PROLOGUE, _BACK),
        machine_code(_NOP, _NOP, _FRAME, _BACK, _JR_16_T3),
        machine_code(*PROLOGUE, _BACK, _JR_8_T3, _BACK),
        machine_code(*PROLOGUE, _BACK, _JR_16_T3, _JR_12_T3),
        machine_code(*PROLOGUE, _BACK, _JR_16_T3)[:-1],
    ],
    ids=["hidden", "zeros", "no jump", "no count", "too short", "two jumps", "cut off"],
)
def test_machine_code_of_another_form_decides_nothing(code: bytes) -> None:
    assert concluded(stack.PROBE.safe, Layers(code=code)) is None
