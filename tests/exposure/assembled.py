"""Programs as facts, made by our assembler: no compiler, no file. The analysis of their code is that of the readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.facts import Workshop
from tailcall_audit.analyzer.programs.types import Attachment, Map, Program, ProgramSet, Slot
from tailcall_audit.probes.kernel.assembler import (
    HELPER_TAIL_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    R0,
    R1,
    R2,
    R3,
    R6,
)
from tailcall_audit.probes.kernel.assembler import Program as Assembler
from tailcall_audit.probes.kernel.instructions import insns_of

__all__ = ["JMP", "KFUNCS", "VALUES", "array", "assembled", "entry", "kfunc", "leave", "made", "tail_call"]

_LD_IMM64, _CALL = 0x18, 0x85
_PSEUDO_CALL, _PSEUDO_KFUNC = 1, 2
JMP, VALUES, OTHER, RODATA = 1, 2, 3, 4
"""Descriptors that stand for the maps "jmp", "values", "other" and ".rodata"."""
_NAMES = {JMP: "jmp", VALUES: "values", OTHER: "other", RODATA: ".rodata"}
KFUNCS = (
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_dynptr_from_skb",
)


def entry(name: str = "entry") -> Assembler:
    """Begins a program: its context is kept in R6."""
    return Assembler().function(name).mov(R6, R1)


def tail_call(code: Assembler, key: int = 0, array: int = JMP) -> Assembler:
    """Adds a tail call with a constant index."""
    return code.mov(R1, R6).map_fd(R2, array).set(R3, key).helper(HELPER_TAIL_CALL)


def leave(code: Assembler, value: int = 0) -> Assembler:
    """Adds the end of a function."""
    return code.set(R0, value).exit()


def kfunc(code: Assembler, name: str) -> Assembler:
    """Adds the call of a kfunc."""
    return code._add(_CALL, src=_PSEUDO_KFUNC, imm=KFUNCS.index(name))


def codes_of(code: Assembler, global_functions: frozenset[str], maps: Mapping[int, str] = _NAMES) -> list[Code]:
    """Cuts a program into its functions, and says what their instructions refer to."""
    insns = insns_of(code)
    slots, slot = [], 0
    for insn in insns:
        slots.append(slot)
        slot += 2 if insn.code == _LD_IMM64 else 1
    index_of = {slot: index for index, slot in enumerate(slots)}
    names = list(code.functions)
    starts = [index_of[slot] for slot in code.functions.values()]
    number_of = {slot: number for number, slot in enumerate(code.functions.values())}
    found = []
    for number, name in enumerate(names):
        start = starts[number]
        end = starts[number + 1] if number + 1 < len(starts) else len(insns)
        references = {}
        for index in range(start, end):
            insn = insns[index]
            target = number_of.get((slots[index] + 1 + insn.imm) & 0xFFFFFFFF, 0)
            if insn.code == _LD_IMM64 and insn.src == PSEUDO_MAP_FD:
                references[index - start] = Reference(Refers.MAP, maps[insn.imm])
            elif insn.code == _LD_IMM64 and insn.src == PSEUDO_MAP_VALUE:
                map_name = maps[insn.imm & 0xFFFFFFFF]
                references[index - start] = Reference(
                    Refers.VALUE, map_name, offset=insn.imm >> 32, frozen=map_name == ".rodata"
                )
            elif insn.code == _LD_IMM64 and insn.src == PSEUDO_FUNC:
                references[index - start] = Reference(Refers.ADDRESS, names[target], target)
            elif insn.code == _CALL and insn.src == _PSEUDO_CALL:
                references[index - start] = Reference(Refers.FUNCTION, names[target], target)
            elif insn.code == _CALL and insn.src == _PSEUDO_KFUNC:
                references[index - start] = Reference(Refers.KFUNC, KFUNCS[insn.imm])
        found.append(Code(name, tuple(insns[start:end]), references, name in global_functions, {}))
    return found


def assembled(
    code: Assembler,
    *,
    kind: str | None = "sched_cls",
    attach: str | None = "none",
    attachment: Attachment | None = None,
    sleepable: bool | None = False,
    jited: bool | None = None,
    storages: Sequence[str] = (),
    global_functions: Sequence[str] | None = None,
    key: str | None = None,
    maps: Mapping[int, str] = _NAMES,
    has_target: bool | None = None,
) -> Program:
    """Returns the facts about a program. Its main function is global, and so are those of `global_functions`."""
    name = next(iter(code.functions))
    codes = codes_of(code, frozenset((name, *(global_functions or ()))), maps)
    workshop = Workshop(codes, {name: number for number, name in maps.items()})
    facts = workshop.facts(tuple(range(len(codes))), kind)
    return Program(
        key=key or name,
        name=name,
        source="the assembler",
        section=None,
        type=kind,
        expected_attach_type=attach,
        attachments=() if attachment is None else (attachment,),
        sleepable=sleepable,
        jited=jited,
        instructions=facts.instructions,
        functions=facts.functions,
        maps=facts.maps,
        uses_arena=False,
        cgroup_storage=frozenset(storages),
        license_gpl=True,
        lines=facts.lines,
        has_target=has_target,
    )


def array(
    slots: Mapping[int, str | None] | None = None, *, entries: int = 2, complete: bool = True, name: str = "jmp"
) -> Map:
    """Returns a prog array with programs in its slots."""
    return Map(name, "prog_array", entries, tuple(Slot(*item) for item in (slots or {}).items()), complete, False)


def made(*programs: Program, maps: Sequence[Map] = (), label: str = "made.o") -> ProgramSet:
    """Returns a set of programs with its maps."""
    return ProgramSet(label, programs, tuple(maps) or (array(),), False, ())
