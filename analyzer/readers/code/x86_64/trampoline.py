"""Pitfall 3: the tail call count survives a trampoline only with all three places of the fix.

Linux kernel commit 2b5dcb31a19a ("bpf, x64: Fix tailcall infinite loop") (in v6.7): the trampoline keeps the count if a
flag is set, the check of the attach target sets the flag for a program that tail-calls, and an update of the trampoline
keeps the flag. Which bytes the trampoline is made of on each path is not followed, so nothing here proves the fix
(`rest_of_emitter`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.flow import Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, REGISTERS, flow_of
from tailcall_audit.analyzer.readers.code.claims import (
    Place,
    PlaceState,
    Shown,
    rest_of_emitter,
    taken_together,
)
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["ATTACH_CHECK", "FUNCTIONS", "TRAMPOLINE", "UPDATE", "trampoline"]

TRAMPOLINE = ("__arch_prepare_bpf_trampoline", "arch_prepare_bpf_trampoline")
ATTACH_CHECK = ("check_attach_btf_id", "bpf_check")
"""gcc inlines the first into the second up to 6.12."""
UPDATE, _SET_FLAGS, _GET = "bpf_trampoline_update", "bpf_trampoline_set_flags", "bpf_trampoline_get"
FUNCTIONS = (*TRAMPOLINE, *ATTACH_CHECK, UPDATE, _SET_FLAGS, _GET)

_EFFECT = "count-through-trampoline"
_FLAG = 0x80
"""BPF_TRAMP_F_TAIL_CALL_CTX of include/linux/bpf.h, a macro: BTF does not have it."""
_SHARE_IPMODIFY = 0x40
"""BPF_TRAMP_F_SHARE_IPMODIFY, which updates kept before they kept the other flag."""
# What EMIT3() of arch/x86/net/bpf_jit_comp.c stores: an instruction's bytes as one little-endian word.
_LOAD_RAX_FROM_STACK = "0x858b48"  # mov rax, [rbp + disp32]
_SET_FRAME_POINTER = "0xe58948"  # mov rbp, rsp
_NEAR = 12
"""The most instructions between two that belong together."""


def trampoline(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf | None
) -> Iterator[Shown]:
    """Yields the claims about pitfall 3: the trampoline, and the code that sets and keeps its flag."""
    name = next(
        (name for name in TRAMPOLINE if any(insn.parts[-1] == _SET_FRAME_POINTER for insn in decoded.get(name, ()))),
        None,
    )
    if name is None:
        return
    restoring = _restoring(functions[name], decoded[name])
    flags = None if btf is None else place_of(btf, "bpf_trampoline", "flags")
    calling = None if btf is None else place_of(btf, "bpf_prog_aux", "tail_call_reachable")
    places = [restoring, rest_of_emitter(functions[name])]
    if restoring.state is PlaceState.LACKING:
        pass  # the other places make no difference any more
    elif flags is None or calling is None:
        places.append(Place(PlaceState.UNSEEN, functions[name], "who sets the flag of a trampoline"))
    else:
        places += [_setting(functions, decoded, flags, calling), _keeping(functions, decoded, flags, functions[name])]
    yield from taken_together(_EFFECT, places)


def _restoring(function: Function, insns: list[Insn]) -> Place:
    """Returns the place where the trampoline loads the count back into rax if the flag is set: before the call, and
    before it returns.
    """
    name, flow = function.name, flow_of(insns)
    loads = [index for index, insn in enumerate(insns) if insn.parts[-1] == _LOAD_RAX_FROM_STACK]
    reached = flow.reached() if flow.is_whole else frozenset(range(len(insns)))
    if not loads:
        return Place(PlaceState.LACKING, function, f"{name}() emits no `mov rax, [rbp + …]`: it loses the count")
    if len(loads) != 2:
        return Place(PlaceState.UNSEEN, function, f"{name}(), which emits `mov rax, [rbp + …]` {len(loads)} times")
    if not reached.issuperset(loads):
        return Place(PlaceState.ODD, function, f"{name}() has code that restores the count, and does not come there")
    tests = any(insn.mnemonic in ("and", "test") and insn.parts[-1] == hex(_FLAG) for insn in insns)
    if not tests and any(insn.mnemonic in ("js", "jns") for insn in insns):
        return Place(PlaceState.UNSEEN, function, f"the flag that {name}() looks at")  # 0x80 is the sign of a byte
    if not tests:
        return Place(PlaceState.ODD, function, f"{name}() restores the count, and looks at no flag {_FLAG:#x}")
    return Place(PlaceState.THERE, function, f"{name}() emits `mov rax, [rbp + …]` twice: it restores the count")


def _memory_at(operand: str, place: int) -> str | None:
    """Returns the base register of a memory operand with this offset; None for any other operand."""
    memory = MEMORY.fullmatch(operand)
    return memory.group(2) if memory is not None and int(memory.group(3) or "0", 0) == place else None


def _setting(functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], flags: int, calling: int) -> Place:
    """Returns the place where the check of the attach target sets the flag for a program that tail-calls."""
    name = next((name for name in ATTACH_CHECK if name in decoded), None)
    if name is None:
        return Place(PlaceState.UNSEEN, next(iter(functions.values())), "check_attach_btf_id()")
    function, flow = functions[name], flow_of(decoded[name])
    getter = functions.get(_GET)
    if getter is None or not any(
        insn.mnemonic == "call" and insn.operands == hex(getter.address) for insn in flow.insns
    ):
        return Place(PlaceState.UNSEEN, function, f"where in {name}() a trampoline is got")
    marks = set(_marks(flow, flags, functions.get(_SET_FLAGS)))
    looks = [
        index
        for index, insn in enumerate(flow.insns)
        if insn.mnemonic == "cmp" and insn.parts[-1] == "0" and _memory_at(insn.parts[0], calling) is not None
    ]
    for index in looks:
        # A program that does not tail-call takes the other branch: only the branch of one that does may lead to the mark.
        if marks & set(_straight(flow, flow.when_different(index))):
            return Place(PlaceState.THERE, function, f"{name}() sets the flag for a program that tail-calls")
    if not marks and _adds_elsewhere(flow):
        return Place(PlaceState.UNSEEN, function, f"what {name}() adds to the flags of a trampoline")
    if not marks:
        return Place(
            PlaceState.LACKING, function, f"{name}() sets no flag of a trampoline for a program that tail-calls"
        )
    return Place(
        PlaceState.ODD, function, f"{name}() sets the flag of a trampoline, without looking at the program first"
    )


def _adds_elsewhere(flow: Flow) -> bool:
    """Returns True if the flag is added to a register: a compiler may load the flags, add it and store them (with
    CONFIG_KASAN, which looks at each read and each write by itself).
    """
    return any(
        insn.mnemonic == "or" and insn.parts[-1] == hex(_FLAG) and insn.parts[0] in REGISTERS for insn in flow.insns
    )


def _marks(flow: Flow, flags: int, setter: Function | None) -> Iterator[int]:
    """Yields where the flag is stored in, or added to, a trampoline's flags, or is handed to
    bpf_trampoline_set_flags().
    """
    for index, insn in enumerate(flow.insns):
        if insn.parts[-1] != hex(_FLAG):
            continue
        if insn.mnemonic in ("mov", "or") and _memory_at(insn.parts[0], flags) is not None:
            yield index
        elif insn.mnemonic == "mov" and insn.parts[0] == "esi" and setter is not None:
            near = flow.insns[index + 1 : index + 6]
            if any(other.mnemonic == "call" and other.operands == hex(setter.address) for other in near):
                yield index


def _straight(flow: Flow, step: tuple[int, int] | None) -> Iterator[int]:
    """Yields the instructions that surely follow a step, up to the next branch, call or `_NEAR`."""
    index = None if step is None else step[1]
    for _ in range(_NEAR):
        if index is None:
            return
        yield index
        following = flow.steps(index)
        index = following[0] if len(following) == 1 else None


def _keeping(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], flags: int, other: Function
) -> Place:
    """Returns the place where an update of the trampoline keeps the flag and clears the others.

    A mask of the other flag alone may also be a look at it, so that the flag is lost only if no mask keeps it.
    """
    insns = decoded.get(UPDATE)
    if insns is None:
        return Place(PlaceState.UNSEEN, other, f"{UPDATE}()")
    function = functions[UPDATE]
    loses = False
    for index, insn in enumerate(insns):
        register = REGISTERS.get(insn.parts[0])
        if insn.mnemonic != "mov" or register is None or _memory_at(insn.parts[-1], flags) is None:
            continue
        for masking in insns[index + 1 : index + 6]:
            if masking.mnemonic != "and" or REGISTERS.get(masking.parts[0]) != register:
                continue
            mask = masking.parts[-1]
            if mask in (hex(_FLAG | _SHARE_IPMODIFY), hex(_FLAG)):
                return Place(PlaceState.THERE, function, f"{UPDATE}() keeps the flag")
            loses = loses or mask == hex(_SHARE_IPMODIFY)
    if loses:
        return Place(PlaceState.LACKING, function, f"{UPDATE}() takes the flag off the trampoline")
    return Place(PlaceState.UNSEEN, function, f"where {UPDATE}() masks the flags")
