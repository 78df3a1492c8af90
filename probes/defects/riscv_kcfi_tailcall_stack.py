"""riscv64 with kCFI: a tail call skips the instruction that makes the callee's stack frame.

In a guest: loads an XDP program in three layers. The first fills its stack with one address and calls the second, which
calls the third. A freplace program stands in for the third and tail-calls a fourth program. With the defect, the fourth
gives back a frame that it has not taken: the second continues with a stack pointer that is too high, takes the first
one's stack for its own saved registers, and returns to the address there. The oops names that address, which nothing
else holds. Only frames of the probe's own programs are overwritten. The control is the same run with an empty
prog_array, so that the tail call is not taken.

On a host, nothing is run: the machine code of a program with a tail call shows how far its jump is from the instruction
that sets the count, which every tail call skips. The one behind it makes the frame.

__build_epilogue() of arch/riscv/net/bpf_jit_comp64.c decides. prog->bpf_func has lain behind the hash since Linux
kernel commit e63985ecd226 ("bpf, riscv64/cfi: Support kCFI + BPF on riscv64") (in v6.9); 30a59cc79754 ("riscv, bpf: Fix
possible infinite tailcall when CONFIG_CFI_CLANG is enabled") (in v6.12) adds the hash to the offset of the jump, and
52fb1756ea1d ("riscv, bpf: Fix kernel stack corruption in tailcall with CFI") (in v7.3) takes it out again.
"""

from __future__ import annotations

import struct

from tailcall_audit.probes.defects.freplace import extension
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import FP, R0, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.programs import (
    adjust_head,
    bound,
    count_entry,
    expect,
    needs_jit,
    return_value,
    tail_call,
)
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result
from tailcall_audit.probes.reading import read_file

__all__ = ["PROBE"]

_TRAP = 0x7A11CA11_5BADC0DE
"""An even number that is no address of any page table of riscv64, so that a jump there faults."""
_FILLED, _WATCHED = 256, 64
"""Bytes of the stacks of the first and the second layer. The fourth program's frame has 16 bytes (32 from v7.3 on): it
lies in what is watched, and the register with the return address in what is filled.
"""
_UNKNOWN, _SUM = 8, 16
"""Offsets in the counters' value: a zero that the verifier does not know, and the sum of what is watched."""
_KALLSYMS = "/proc/kallsyms"
_MOST_SYMBOLS = 128 << 20
_OF_KCFI = (b" report_cfi_failure\n", b" handle_cfi_failure\n", b" cfi_get_func_hash\n")
"""Functions of kernel/cfi.c and arch/riscv/kernel/cfi.c, which are compiled with kCFI only."""
_SETS_COUNT = struct.pack("<I", 33 << 20 | 16 << 7 | 0x13)
"""``li a6, 33``: the count of a program that was not tail-called (bpf_jit_build_prologue())."""
_JUMP, _JUMP_BITS = 28 << 15 | 0x67, 0xFFFFF
"""``jr OFFSET(t3)``: the jump of a tail call. The offset is in the upper 12 bits."""


def _layers(kernel: Bpf, counters: int) -> int:
    """Loads the three layers. The replaceable function is the second in the program, as `extension` expects."""
    program = count_entry(Program().function("entry"), counters, "leave")
    program.set(R2, _TRAP >> 32).alu(R2, "<<", 32).alu(R2, "|", _TRAP & 0xFFFFFFFF)
    for offset in range(8, _FILLED + 1, 8):
        program.store(8, FP, -offset, R2)
    return_value(program.mov(R1, R6).call("middle"), label="leave")
    return_value(adjust_head(program.function("sub").mov(R6, R1)))
    program.function("middle").mov(R6, R1).map_value(R3, counters, _UNKNOWN).load(8, R2, R3, 0)
    for offset in range(8, _WATCHED + 1, 8):
        program.store(8, FP, -offset, R2)
    program.call("sub").set(R0, 0)
    for offset in range(8, _WATCHED + 1, 8):
        program.load(8, R2, FP, -offset).alu_reg(R0, "|", R2)
    return_value(program.map_value(R3, counters, _SUM).store(8, R3, 0, R0))
    functions = (Function("entry", True), Function("sub", True), Function("middle", False))
    return kernel.load(bpf.XDP, program, functions=functions, name="layers")


def _callee(kernel: Bpf, reached: int) -> int:
    program = count_entry(Program().function("callee"), reached, "leave")
    return kernel.load(bpf.XDP, return_value(program, label="leave"), name="callee")


def _run_layers(kernel: Bpf, entry: int, counters: int, times: int) -> None:
    """Runs the layers; raises InconclusiveError if they were not run, or found their own stack changed."""
    kernel.run(entry)
    entered, changed = kernel.count(counters), kernel.count(counters, _SUM)
    if entered != times or changed:
        raise InconclusiveError(
            f"the program was entered {entered} times and not {times}, or its stack has {changed:#x}"
        )


def _has_kcfi() -> bool | None:
    """Returns True if the running kernel has functions that are compiled with kCFI only. Returns None if it names no
    function at all.
    """
    try:
        symbols = read_file(_KALLSYMS, _MOST_SYMBOLS)
    except OSError:
        return None
    return any(name in symbols for name in _OF_KCFI) if symbols else None


def _absent(seen: str) -> Result:
    """Returns the result for a tail call that is as it should be: conclusive only on a kernel with kCFI."""
    kcfi = _has_kcfi()
    if kcfi is None:
        return Result(
            ABSENT, f"{seen}; {_KALLSYMS} does not say if this kernel has kCFI, which the defect needs", False
        )
    if not kcfi:
        return Result(ABSENT, f"cannot be reached: this kernel has no kCFI; {seen}", False)
    return Result(ABSENT, f"{seen}, on a kernel with kCFI")


def _look_only(kernel: Bpf) -> Result:
    needs_jit(kernel)
    program = return_value(tail_call(Program().function("caller").mov(R6, R1), kernel.prog_array()))
    loaded = expect(kernel, lambda: kernel.load(bpf.SOCKET_FILTER, program, name="caller"), "a program that tail-calls")
    skipped = _skipped(kernel.machine_code(loaded))
    if skipped:
        return Result(PRESENT, f"a tail call jumps {skipped} bytes beyond the instruction that sets the count")
    return _absent("a tail call jumps behind the instruction that sets the count")


def _skipped(code: bytes) -> int:
    """Returns how many bytes a tail call skips behind the instruction that sets the count; raises InconclusiveError."""
    if not code:
        raise InconclusiveError("the kernel does not show the machine code (kernel.kptr_restrict; CAP_SYSLOG)")
    behind = code.find(_SETS_COUNT) + len(_SETS_COUNT)
    words = [int.from_bytes(code[place : place + 4], "little") for place in range(behind, len(code) - 3, 2)]
    offsets = {word >> 20 for word in words if word & _JUMP_BITS == _JUMP}
    skipped = min(offsets, default=0) - behind
    if behind < len(_SETS_COUNT) or len(offsets) != 1 or skipped < 0:
        raise InconclusiveError("the machine code has no tail call as it is known")
    return skipped


def _run(kernel: Bpf) -> Result:
    needs_jit(kernel, bpf.XDP)
    counters, reached, array = kernel.array(), kernel.array(), kernel.prog_array()
    entry = expect(kernel, bound(_layers, kernel, counters), "a program in three layers")
    replacement = expect(kernel, bound(extension, kernel, entry, array), "a freplace program that tail-calls")
    expect(kernel, bound(kernel.attach, replacement), "the attach of a freplace program")
    expect(kernel, bound(_run_layers, kernel, entry, counters, 1), "control: a tail call that is not taken")
    callee = expect(kernel, bound(_callee, kernel, reached), "a program to tail-call")
    expect(kernel, bound(kernel.put, array, 0, callee), "the put")
    expect(kernel, bound(_run_layers, kernel, entry, counters, 2), "a tail call that is taken")
    if kernel.count(reached) != 1:
        raise InconclusiveError(
            f"the program that is tail-called was entered {kernel.count(reached)} times and not once"
        )
    return _absent("a tail call returns, and leaves the stacks of its callers as they were")


PROBE = Probe(
    "riscv-kcfi-tailcall-stack",
    "an XDP program, and a freplace program of its subprogram that makes a tail call",
    _run,
    hazard="panics the kernel where the defect is there",
    faults_at=_TRAP,
    safe=_look_only,
)
