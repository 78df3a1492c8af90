"""Derives facts about the programs that a kernel has loaded, from the kernel's answers (`loaded.py`) or bpftool's
(`bpftool.py`).

The instructions are those after the verifier (xlated). They differ from those in an object: a map is given by its id, a
helper or kfunc by the distance of its address from __bpf_call_base, and a call of a subprogram has the distance in its
offset field. Loads from the context are loads from kernel structs, so that packet pointers cannot be recognised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tailcall_audit.analyzer.programs.attachments import Attachments, Typed, Types
from tailcall_audit.analyzer.programs.btf_ext import Lines
from tailcall_audit.analyzer.programs.code import Code, ProgramsError
from tailcall_audit.analyzer.programs.facts import Facts, Workshop
from tailcall_audit.analyzer.programs.names import helper_number, map_type, program_type
from tailcall_audit.analyzer.programs.translated import Names, Surroundings, split
from tailcall_audit.analyzer.programs.types import Map, Program, ProgramSet, Slot
from tailcall_audit.probes.kernel.btf import BtfError
from tailcall_audit.probes.kernel.instructions import Insn
from tailcall_audit.probes.kernel.records import Loaded, LoadedMap, LoadedProgram

__all__ = ["programs_of"]

_PSEUDO_KFUNC = 2
_STORAGES = frozenset(("cgroup_storage", "percpu_cgroup_storage"))
_SLEEPING = frozenset(map(helper_number, ("copy_from_user", "copy_from_user_task", "ima_inode_hash", "ima_file_hash")))
"""Helpers that only a program that may sleep can call (`might_sleep` of struct bpf_func_proto)."""


class _Host:
    def __init__(
        self, loaded: Loaded, label: str, names: Mapping[int, Names], functions: Mapping[tuple[int, int], Typed]
    ) -> None:
        self._loaded = loaded
        self._given = names
        self._label = label
        self._types = Types(loaded)
        self.notes = list(loaded.notes)
        self.map_names = {item.id: f"{item.name}#{item.id}" if item.name else f"map#{item.id}" for item in loaded.maps}
        self._kinds = {item.id: map_type(item.type) for item in loaded.maps}
        self._names = {item.id: self._name(item) for item in loaded.programs}
        self._by_id = {item.id: item for item in loaded.programs}
        keys = {number: key for number in self._names if (key := self.key(number)) is not None}
        self._attachments = Attachments(loaded, self._types, keys, functions)
        self._codes: list[Code] = []

    def _name(self, program: LoadedProgram) -> str:
        """Returns a program's full name from BTF. Outside of BTF the kernel keeps at most 15 characters."""
        found = self._names_in(program).functions.get(0)
        return found[0] if found is not None and found[0] else program.name

    def _names_in(self, program: LoadedProgram) -> Names:
        """Returns the function names and source lines of a program: the given ones, otherwise those in its BTF."""
        if program.id in self._given:
            return self._given[program.id]
        functions: dict[int, tuple[str, bool | None]] = {}
        for start, kind in program.functions:
            functions[start] = self._types.function(program.btf, kind) or ("", None)
        btf = self._types.btf(program.btf)
        if btf is None:
            return Names(functions, {})
        lines = Lines(btf)
        return Names(functions, {row[0]: lines.line(*row[1:]) for row in program.lines})

    def symbol(self, insn: Insn) -> str | None:
        """Returns the name of the kernel function that an instruction calls, None if it is not known."""
        symbols = self._loaded.symbols
        found = None if symbols is None else symbols.get(insn.imm)
        if found is None and insn.src == _PSEUDO_KFUNC and self._types.kernel is not None:
            try:
                found = self._types.kernel.type(insn.imm).name
            except BtfError:
                found = None
        return found

    def key(self, number: int) -> str | None:
        """Returns the key of the program with an id, None if there is no such program."""
        if number not in self._names:
            return None
        name = self._names[number] or program_type(self._by_id[number].type)
        return f"{name}#{number}"

    def programs(self) -> list[Program]:
        """Returns every program, with everything that could be read of it."""
        mains: dict[int, int] = {}
        around = Surroundings(self.map_names, self.symbol, self._loaded.big_endian)
        for item in self._loaded.programs:
            missing = [number for number in item.maps if number not in self.map_names]
            if missing:
                # What it does with such a map depends on the map's type, and is not known.
                shown = ", ".join(map(str, missing[:10]))
                self.notes.append(
                    f"what program {item.id} does is not known, because these maps of it are not known: {shown}"
                )
            elif item.instructions is not None:
                try:
                    codes = split(item, self._names_in(item), around, len(self._codes))
                except ProgramsError as error:
                    self.notes.append(f"the instructions of program {item.id} cannot be read: {error}")
                    continue
                mains[item.id] = len(self._codes)
                self._codes += codes
        numbers = {self.map_names[item.id]: item.id for item in self._loaded.maps}
        workshop = Workshop(self._codes, numbers, translated=True)
        return [self._program(item, mains.get(item.id), workshop) for item in self._loaded.programs]

    def _program(self, item: LoadedProgram, main: int | None, workshop: Workshop) -> Program:
        kind = program_type(item.type) if item.type else None
        facts = Facts((), (), (), {}, frozenset())
        if main is not None:
            facts = workshop.facts(workshop.order(main), kind)
        storages = {self.map_names[number] for number in item.maps if self._kinds.get(number) in _STORAGES}
        return Program(
            self.key(item.id) or str(item.id),
            self._names[item.id],
            f"{self._label}, program {item.id}",
            None,
            kind,
            self._attachments.expected(item),
            self._attachments.of(item),
            _sleeps(kind, facts),
            item.jited,
            facts.instructions,
            facts.functions,
            tuple(self.map_names[number] for number in item.maps if number in self.map_names),
            any(self._kinds.get(number) == "arena" for number in item.maps),
            frozenset(storages),
            item.gpl,
            facts.lines,
            has_target=True if kind == "ext" else None,
        )

    def map(self, item: LoadedMap) -> Map:
        """Returns a map with its known contents."""
        kind = map_type(item.type)
        slots = () if item.slots is None else tuple(Slot(key, self.key(number)) for key, number in item.slots)
        is_programs = kind == "prog_array"
        if is_programs and item.slots is None:
            self.notes.append(f"what is in the prog array {self.map_names[item.id]} could not be read")
        return Map(
            self.map_names[item.id],
            kind,
            item.entries,
            slots,
            is_programs and item.slots is not None,
            False if is_programs else None,
        )


def _sleeps(kind: str | None, facts: Facts) -> bool | None:
    """Returns True if a program may sleep, None if that is not known: the kernel does not show it (struct
    bpf_prog_info), but some helpers can be called by no other program.
    """
    called = (call.helper for function in facts.functions for call in function.helpers)
    return True if kind == "syscall" or any(helper in _SLEEPING for helper in called) else None


def programs_of(
    loaded: Loaded,
    label: str,
    names: Mapping[int, Names] | None = None,
    functions: Mapping[tuple[int, int], Typed] | None = None,
) -> ProgramSet:
    """Returns the programs and maps of a host. `label` names the host.

    `names` (by program id) and `functions` (by the ids of BTF and type) supply names that do not come from BTF.
    """
    host = _Host(loaded, label, names or {}, functions or {})
    programs = tuple(host.programs())
    maps = tuple(host.map(item) for item in loaded.maps)
    several = [key for key, count in Counter(item.key for item in programs).items() if count > 1]
    if several:
        raise ProgramsError(f"several programs have the id of {several[0]}")
    return ProgramSet(label, programs, maps, loaded.big_endian, tuple(dict.fromkeys(host.notes)))
