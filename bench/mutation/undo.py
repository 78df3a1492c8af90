"""Undoes fixes in machine code, completely or at one of their places. Each place is found by what the code does.

A mutation's name says what the changed kernel lacks. Offsets of members come from the kernel's own BTF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.mutation.assemble import jump_if_zero, load32, load64, nops, test64
from bench.mutation.jumps import always, never
from bench.mutation.search import constant, first, following, jump_behind, memory, with_constant
from bench.mutation.subject import Edit, Instruction, Mutation, MutationError, Subject, replace

__all__ = ["UNDONE", "Undone"]

_EXT = 0x1C
"""BPF_PROG_TYPE_EXT."""
_TAIL_CALL_CONTEXT = 0x80
"""BPF_TRAMP_F_TAIL_CALL_CTX, which is a macro and so not in BTF."""
_SHARE_IPMODIFY = 0x40
_LOAD_RAX = 0x858B48
"""``mov rax, [rbp + disp32]`` as EMIT3_off32() stores it."""
_POINTER_SLOT, _COUNT_SLOT = 0xFFFFFFEF, 0xFFFFFFF7
"""The compiler computes -16 - round_up(depth, 8), the slot of the pointer to the count, as -17 - ((depth - 1) | 7), and
the slot of the count as -9 - ….
"""
_COMPARE_POINTER = 0x21F88348
"""``cmp rax, 33`` as EMIT4() stores it: the first instruction of emit_prologue_tail_call() for a main program."""
_NEAR = 14
_JIT, _PUT, _ATTACH, _UPDATE = "do_jit", "prog_fd_array_get_ptr", "__bpf_trampoline_link_prog", "bpf_trampoline_update"
_OWNER_CHECK = ("__bpf_prog_map_compatible", "bpf_prog_map_compatible")
_TRAMPOLINE = ("__arch_prepare_bpf_trampoline", "arch_prepare_bpf_trampoline")
_ATTACH_CHECK = ("check_attach_btf_id", "bpf_check")


class Undone(NamedTuple):
    """A way to undo a fix: what the changed kernel lacks, the fixing commit, the defect that returns, and the function
    that makes the mutation. `make` raises MutationError if the kernel has no such place.
    """

    lacks: str
    commit: str
    slug: str
    make: Callable[[Subject], Mutation]


def _function(subject: Subject, names: Sequence[str]) -> str:
    """Returns the first of some names that is a function of the kernel; raises MutationError if none is."""
    known = subject.functions(names)
    for name in names:
        if name in known:
            return name
    raise MutationError(f"{subject.name}: none of {', '.join(names)} is in its symbols")


def _stores(code: Sequence[Instruction], value: int) -> list[int]:
    return [index for index, item in enumerate(code) if item.mnemonic == "mov" and constant(item) == value]


def _call_site(code: Sequence[Instruction]) -> int:
    """Returns the index where do_jit() stores the load of the count, or of its pointer, before a call of a subprogram.
    Unlike at other such places, it stores no compare after it.
    """
    sites = [
        index
        for index in _stores(code, _LOAD_RAX)
        if not any((constant(item) or 0) & 0xFFFF == 0x8348 for item in following(code, index, _NEAR))
    ]
    if len(sites) != 1:
        raise MutationError(f"{len(sites)} places that load the count before a call, and one is wanted")
    return sites[0]


def _no_rounding(subject: Subject) -> Mutation:
    code = subject.instructions(_JIT)
    site = _call_site(code)
    near = following(code, site, _NEAR)
    if not any(constant(item) == _COUNT_SLOT for item in near):
        raise MutationError("a call loads no count, or a pointer to it, from which no rounding can be taken")
    index = first(code, "rounding of the stack depth", lambda item: item.mnemonic == "or" and constant(item) == 7, site)
    return replace(
        subject, _JIT, "the count's place is rounded up to eight", [(code[index], with_constant(code[index], 7, 0))]
    )


def _count_by_value(subject: Subject) -> Mutation:
    code = subject.instructions(_JIT)
    site = _call_site(code)
    slot = first(code, "offset of the pointer's slot", lambda item: constant(item) == _POINTER_SLOT, site)
    if slot > site + _NEAR:
        raise MutationError("the offset of the pointer's slot is too far from the call")
    (main,) = _stores(code, _COMPARE_POINTER)
    # `if (!is_subprog)` is the nearest jump before the code that emits instructions for a main program.
    jump = next(item for item in reversed(code[:main]) if item.is_conditional_jump)
    return replace(
        subject,
        _JIT,
        "a subprogram counts behind its caller's pointer",
        [(code[slot], with_constant(code[slot], _POINTER_SLOT, _COUNT_SLOT)), (jump, never(jump))],
    )


def _no_flag_in_trampoline(subject: Subject) -> Mutation:
    name = _function(subject, _TRAMPOLINE)
    code = subject.instructions(name)
    index = first(
        code, "test of the flag", lambda item: item.mnemonic == "and" and constant(item) == _TAIL_CALL_CONTEXT
    )
    return replace(
        subject,
        name,
        "the trampoline keeps the count where the flag is set",
        [(code[index], with_constant(code[index], _TAIL_CALL_CONTEXT, 0))],
    )


def _no_restore(which: int) -> Callable[[Subject], Mutation]:
    def make(subject: Subject) -> Mutation:
        name = _function(subject, _TRAMPOLINE)
        code = subject.instructions(name)
        sites = _stores(code, _LOAD_RAX)
        if len(sites) != 2:
            raise MutationError(f"{len(sites)} places that load the count, and two are wanted")
        jump = next(item for item in reversed(code[: sites[which]]) if item.is_conditional_jump)
        return replace(subject, name, "the trampoline loads the count back", [(jump, always(jump))])

    return make


def _no_flag_on_attach(subject: Subject) -> Mutation:
    name = _function(subject, _ATTACH_CHECK)
    code = subject.instructions(name)
    flags = subject.place("bpf_trampoline", "flags")
    setter = subject.functions(["bpf_trampoline_set_flags"]).get("bpf_trampoline_set_flags")
    for index, item in enumerate(code):
        where = memory(item)
        stores = (
            item.mnemonic in ("mov", "or") and where is not None and where.is_target and where.displacement == flags
        )
        passes = (
            item.mnemonic == "mov"
            and item.operands.startswith("esi,")
            and setter is not None
            and any(near.operands == hex(setter.address) for near in following(code, index, 4))
        )
        if (stores or passes) and constant(item) == _TAIL_CALL_CONTEXT:
            new = with_constant(item, _TAIL_CALL_CONTEXT, 0)
            return replace(subject, name, "attaching to a program that tail-calls sets the flag", [(item, new)])
    raise MutationError(f"{name}() sets no flag of a trampoline")


def _no_flag_kept(subject: Subject) -> Mutation:
    code = subject.instructions(_UPDATE)
    both = _TAIL_CALL_CONTEXT | _SHARE_IPMODIFY
    index = first(code, "mask of the flags", lambda item: item.mnemonic == "and" and constant(item) == both)
    return replace(
        subject,
        _UPDATE,
        "the flag survives an update of the trampoline",
        [(code[index], with_constant(code[index], both, _SHARE_IPMODIFY))],
    )


def _resolution(subject: Subject) -> tuple[str, tuple[Instruction, ...], int]:
    """Returns the name of the owner check, its code, and the index where it loads saved_dst_prog_type. A test and a
    conditional move follow that load.
    """
    name = _function(subject, _OWNER_CHECK)
    code = subject.instructions(name)
    saved = subject.place("bpf_prog_aux", "saved_dst_prog_type")

    def loads(item: Instruction) -> bool:
        where = memory(item)
        return item.mnemonic == "mov" and where is not None and (where.width, where.displacement) == ("dword", saved)

    index = first(code, "load of saved_dst_prog_type", loads)
    if [item.mnemonic for item in following(code, index, 2)] != ["test", "cmovne"]:
        raise MutationError("no test and conditional move behind the load of saved_dst_prog_type")
    return name, code, index


def _follow_dst_prog(subject: Subject, checked: bool) -> Mutation:
    name, code, index = _resolution(subject)
    load, _, move = code[index : index + 3]
    where = memory(load)
    assert where is not None
    old = b"".join(item.code for item in code[index : index + 3])
    type_register = move.operands.partition(",")[0]
    follow = load32(type_register, "rax", subject.place("bpf_prog", "type"))
    new = load64("rax", where.base, subject.place("bpf_prog_aux", "dst_prog"))
    if checked:
        new += test64("rax") + jump_if_zero(len(follow))
    new += follow
    if len(new) > len(old):
        raise MutationError("no room for the older form in the owner check")
    edit = Edit(load.address, old, new + nops(len(old) - len(new)))
    undoes = (
        "the saved type of an attached freplace program is taken" if checked else "dst_prog is not followed unchecked"
    )
    return Mutation(subject.name, name, (edit,), undoes)


def _no_resolution(subject: Subject) -> Mutation:
    name, code, load = _resolution(subject)
    index = first(code, "compare with EXT", lambda item: item.mnemonic == "cmp" and constant(item) == _EXT)
    if index > load:
        raise MutationError("the compare with EXT is behind what it decides")
    jump = jump_behind(code, index)
    return replace(subject, name, "the type of a freplace program is resolved", [(jump, always(jump))])


def _member_compare(subject: Subject, function: str, member: str, width: str) -> tuple[Sequence[Instruction], int]:
    code = subject.instructions(function)
    place = subject.place("bpf_prog_aux", member)

    def compares(item: Instruction) -> bool:
        where = memory(item)
        return item.mnemonic == "cmp" and where is not None and (where.width, where.displacement) == (width, place)

    return code, first(code, f"compare of {member} in {function}()", compares)


def _put_takes_extended(subject: Subject) -> Mutation:
    code, index = _member_compare(subject, _PUT, "is_extended", "byte")
    jump = jump_behind(code, index)
    return replace(subject, _PUT, "the put of an extended program is refused", [(jump, never(jump))])


def _attach_takes_callee(subject: Subject) -> Mutation:
    code, index = _member_compare(subject, _ATTACH, "prog_array_member_cnt", "qword")
    jump = jump_behind(code, index)
    return replace(subject, _ATTACH, "the extension of a tail callee is refused", [(jump, never(jump))])


def _attach_marks_nothing(subject: Subject) -> Mutation:
    code = subject.instructions(_ATTACH)
    place = subject.place("bpf_prog_aux", "is_extended")

    def marks(item: Instruction) -> bool:
        where = memory(item)
        return (
            item.mnemonic == "mov"
            and where is not None
            and (where.is_target, where.width, where.displacement) == (True, "byte", place)
            and constant(item) == 1
        )

    item = code[first(code, "store of is_extended", marks)]
    return replace(subject, _ATTACH, "a program that is extended is marked", [(item, with_constant(item, 1, 0))])


def _put_counts_nothing(subject: Subject) -> Mutation:
    code = subject.instructions(_PUT)
    place = subject.place("bpf_prog_aux", "prog_array_member_cnt")

    def counts(item: Instruction) -> bool:
        where = memory(item)
        return item.mnemonic == "add" and where is not None and where.displacement == place and constant(item) == 1

    item = code[first(code, "count of prog_array_member_cnt", counts)]
    return replace(subject, _PUT, "a tail callee is counted", [(item, with_constant(item, 1, 0))])


UNDONE = (
    Undone("resolves-no-extension-type", "1c123c567fb1", "freplace-tailcallee", _no_resolution),
    Undone("rounds-no-count-offset", "ff672c67ee76", "x86-count-offset", _no_rounding),
    Undone("trampoline-tests-no-flag", "2b5dcb31a19a", "x86-trampoline-loop", _no_flag_in_trampoline),
    Undone("trampoline-restores-no-count-1", "2b5dcb31a19a", "x86-trampoline-loop", _no_restore(0)),
    Undone("trampoline-restores-no-count-2", "2b5dcb31a19a", "x86-trampoline-loop", _no_restore(1)),
    Undone("attach-sets-no-flag", "2b5dcb31a19a", "x86-trampoline-loop", _no_flag_on_attach),
    Undone("update-keeps-no-flag", "2b5dcb31a19a", "x86-trampoline-loop", _no_flag_kept),
    Undone("hands-the-count-down-by-value", "116e04ba1459", "x86-hierarchy", _count_by_value),
    Undone(
        "follows-dst-prog-unchecked",
        "f7866c358733",
        "freplace-attached-panic",
        lambda subject: _follow_dst_prog(subject, checked=False),
    ),
    Undone(
        "takes-no-saved-type",
        "fdad456cbcca",
        "freplace-attached-refused",
        lambda subject: _follow_dst_prog(subject, checked=True),
    ),
    Undone("put-takes-an-extended-program", "d6083f040d5d", "freplace-loop", _put_takes_extended),
    Undone("put-counts-nothing", "d6083f040d5d", "freplace-loop", _put_counts_nothing),
    Undone("attach-takes-a-tail-callee", "d6083f040d5d", "freplace-loop", _attach_takes_callee),
    Undone("attach-marks-nothing", "d6083f040d5d", "freplace-loop", _attach_marks_nothing),
)
"""Every fix, or place of a fix, that can be undone this way."""
