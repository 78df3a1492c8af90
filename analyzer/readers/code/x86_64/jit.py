"""Pitfalls 2 and 4: what the x86-64 JIT emits for tail calls and for calls of subprograms.

Only the places of the fixes are read, and not which bytes the JIT emits on each of its paths. So nothing here proves
these fixes (`rest_of_emitter`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, constants
from tailcall_audit.analyzer.readers.code.claims import (
    Place,
    PlaceState,
    Shown,
    rest_of_emitter,
    taken_together,
)
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["FUNCTIONS", "count_offset", "hierarchy"]

_BODIES = ("do_jit", "bpf_int_jit_compile")
FUNCTIONS = (*_BODIES, "emit_bpf_tail_call_direct", "emit_bpf_tail_call_indirect", "emit_prologue")
"""The functions that are read: gcc inlines most of the code into the first, and clang 14 inlines that one into the
second.
"""

# What EMIT3() and EMIT4() of arch/x86/net/bpf_jit_comp.c store: an instruction's bytes as one little-endian word.
_LOAD_RAX_FROM_STACK = "0x858b48"  # mov rax, [rbp + disp32]
_COMPARE_BEHIND_POINTER = "0x21388348"  # cmp qword ptr [rax], 33
_COMPARE_POINTER = "0x21f88348"  # cmp rax, 33
_COMPARE_COUNT = ("0x21f883", "0x20f883")  # cmp eax, 33 as seen in 6.1; 32 in 5.10
_WINDOW = 24
"""The most instructions between the store of `mov rax, [rbp + …]` and that of its displacement: 12 were seen."""
_COUNT_SLOT = "0xfffffff7"
"""Before a call -8 - round_up(depth, 8), where the count is, comes as -9 - ((depth - 1) | 7)."""


def hierarchy(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf | None = None
) -> Iterator[Shown]:
    """Yields the claims about pitfall 4: how emit_bpf_tail_call_*() compares the count, direct and indirect, and what
    emit_prologue() emits.

    Linux kernel commit 116e04ba1459 ("bpf, x64: Fix tailcall hierarchy") (in v6.12).
    """
    body = next((name for name in _BODIES if name in decoded), None)
    if body is None:
        return
    insns = [insn for name in FUNCTIONS for insn in decoded.get(name, ())]
    behind = constants(insns, _COMPARE_BEHIND_POINTER)
    pointer = constants(insns, _COMPARE_POINTER)
    plain = sum(constants(insns, value) for value in _COMPARE_COUNT)
    function = functions[body]
    if (behind, pointer, plain) == (0, 0, 2):
        detail = "the JIT emits `cmp eax, 33`: it counts in a register that is not handed back"
        yield from taken_together("count-behind-pointer", [Place(PlaceState.LACKING, function, detail)])
    elif (behind, plain) == (2, 0) and pointer:
        detail = "the JIT emits `cmp qword ptr [rax], 33`: it counts behind a pointer"
        compares = Place(PlaceState.THERE, function, detail)
        places = [compares, _handed_down(function, decoded[body]), rest_of_emitter(function)]
        yield from taken_together("count-behind-pointer", places)


def _handed_down(function: Function, insns: list[Insn]) -> Place:
    """Returns the place before a call of a subprogram: LACKING if the slot of the stack that is loaded is that of the
    count. That of its pointer would prove nothing (`rest_of_emitter`), and is not looked for.
    """
    sites = [
        index
        for index, insn in enumerate(insns)
        if insn.parts[-1] == _LOAD_RAX_FROM_STACK
        and not constants(insns[index : index + _WINDOW], _COMPARE_BEHIND_POINTER)
    ]
    near = [insn.parts[-1] for index in sites for insn in insns[index : index + _WINDOW]]
    if len(sites) == 1 and _COUNT_SLOT in near:
        return Place(
            PlaceState.LACKING, function, "the JIT hands the count itself to a subprogram, and no pointer to it"
        )
    return Place(PlaceState.UNSEEN, function, "what is handed to a subprogram")


def count_offset(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf | None
) -> Iterator[Shown]:
    """Yields the claims about pitfall 2: before a call, the place of the count is computed from the program's stack
    depth, either rounded up to eight or as it is.

    Linux kernel commit ff672c67ee76 ("bpf, x86: Fix tail call count offset calculation on bpf2bpf call") (in v5.19).
    Since 116e04ba1459 the place is computed once for all uses, and no answer is given.
    """
    body = next((name for name in _BODIES if name in decoded), "")
    insns = decoded.get(body)
    depth = None if btf is None else place_of(btf, "bpf_prog_aux", "stack_depth")
    if insns is None or depth is None or constants(insns, _COMPARE_BEHIND_POINTER):
        return
    sites = [
        index for index, insn in enumerate(insns) if insn.parts[-1] == _LOAD_RAX_FROM_STACK and insn.mnemonic == "mov"
    ]
    if len(sites) != 1:
        return
    target = MEMORY.match(insns[sites[0]].parts[0])
    if target is None:
        return
    rounded = False
    reads = False
    for insn in insns[sites[0] + 1 : sites[0] + 1 + _WINDOW]:
        first, last = insn.parts[0], insn.parts[-1]
        stored = MEMORY.match(first)
        if (
            stored is not None
            and stored.group(2) == target.group(2)
            and int(stored.group(3) or "0", 0) == int(target.group(3) or "0", 0) + 3
        ):
            if not reads:
                return
            how = "rounds the stack depth up to 8" if rounded else "takes the stack depth as it is"
            state = PlaceState.THERE if rounded else PlaceState.LACKING
            place = Place(state, functions[body], f"{body}() {how} for the count's place before a call")
            yield from taken_together("rounded-count-offset", [place, rest_of_emitter(functions[body])])
            return
        source = MEMORY.fullmatch(last)
        if (
            source is not None
            and source.group(1) == "dword"
            and int(source.group(3) or "0", 0) == depth
            and insn.mnemonic in ("mov", "sub")
        ):
            reads = True
        # round_up(x, 8) is ((x - 1) | 7) + 1, or (x + 7) & -8.
        if (insn.mnemonic == "or" and last == "7") or (
            insn.mnemonic == "and" and last in ("0xfffffff8", "-8", "0xfffffffffffffff8")
        ):
            rounded = rounded or reads
        if insn.mnemonic.startswith("j") or insn.mnemonic in ("call", "ret"):
            return
