"""Derives facts about the programs that a kernel has loaded, from the kernel's answers (`loaded.py`) or bpftool's
(`bpftool.py`).

The instructions are those after the verifier (xlated). They differ from those in an object: a map is given by its id, a
helper or kfunc by the distance of its address from __bpf_call_base, and a call of a subprogram has the distance in its
offset field. Loads from the context are loads from kernel structs, so that packet pointers cannot be recognised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from tailcall_audit.analyzer.programs.btf_ext import Lines
from tailcall_audit.analyzer.programs.code import Code, ProgramsError
from tailcall_audit.analyzer.programs.facts import Facts, Workshop
from tailcall_audit.analyzer.programs.names import attach_type, map_type, program_type
from tailcall_audit.analyzer.programs.relocations import order_of
from tailcall_audit.analyzer.programs.translated import Names, Surroundings, split
from tailcall_audit.analyzer.programs.types import Attachment, Map, Program, ProgramSet, Slot
from tailcall_audit.probes.kernel import btf as kinds
from tailcall_audit.probes.kernel.btf import GLOBAL, Btf, BtfError
from tailcall_audit.probes.kernel.instructions import Insn
from tailcall_audit.probes.kernel.loaded import Loaded, LoadedLink, LoadedMap, LoadedProgram

__all__ = ["programs_of"]

_PSEUDO_KFUNC = 2
_STORAGES = frozenset(("cgroup_storage", "percpu_cgroup_storage"))
_VMLINUX = 1
"""The id of the kernel's own BTF, which is always loaded first."""
_TRACEPOINT = "btf_trace_"
"""The prefix of the BTF type names of the tracepoints that tp_btf programs attach to."""


class _Types:
    """The BTF objects of a host. A broken or missing one yields no names."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = {item.id: item for item in loaded.btfs}
        self._known: dict[int, Btf | None] = {}

    def btf(self, number: int) -> Btf | None:
        """Returns the BTF object with an id."""
        if number not in self._known:
            item = self._loaded.get(number)
            found = None
            if item is not None and item.data is not None:
                try:
                    found = Btf(item.data)
                except BtfError:
                    found = None
            self._known[number] = found
        return self._known[number]

    def is_kernel(self, number: int) -> bool | None:
        """Returns True if the BTF belongs to the kernel or a module, None if the host has no BTF with this id."""
        item = self._loaded.get(number)
        return None if item is None else item.is_kernel

    def function(self, number: int, kind: int) -> tuple[str, bool] | None:
        """Returns the name of a BTF type, and True if it is a global function."""
        btf = self.btf(number)
        try:
            found = None if btf is None else btf.type(kind)
        except BtfError:
            return None
        return None if found is None else (found.name, found.kind == kinds.FUNC and found.members == GLOBAL)

    @cached_property
    def kernel(self) -> Btf | None:
        """The kernel's own BTF, None if it was not read."""
        return next((self.btf(number) for number, item in self._loaded.items() if item.name == "vmlinux"), None)


class _Host:
    def __init__(
        self, loaded: Loaded, label: str, names: Mapping[int, Names], functions: Mapping[tuple[int, int], str]
    ) -> None:
        self._functions = functions
        self._loaded = loaded
        self._given = names
        self._label = label
        self._types = _Types(loaded)
        self.notes = list(loaded.notes)
        self.map_names = {item.id: f"{item.name}#{item.id}" if item.name else f"map#{item.id}" for item in loaded.maps}
        self._kinds = {item.id: map_type(item.type) for item in loaded.maps}
        self._names = {item.id: self._name(item) for item in loaded.programs}
        self._by_id = {item.id: item for item in loaded.programs}
        self._links: dict[int, LoadedLink] = {}
        for link in loaded.links:
            self._links.setdefault(link.program, link)
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
            if item.instructions is not None:
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
        kind = program_type(item.type)
        facts = Facts((), (), (), {}, frozenset())
        if main is not None:
            facts = workshop.facts(order_of(tuple(self._codes), main), kind)
        link = self._links.get(item.id)
        storages = {self.map_names[number] for number in item.maps if self._kinds.get(number) in _STORAGES}
        return Program(
            self.key(item.id) or str(item.id),
            self._names[item.id],
            f"{self._label}, program {item.id}",
            None,
            kind,
            None if link is None or link.attach_type is None else attach_type(link.attach_type),
            self._attachment(item, link),
            None,
            item.jited,
            facts.instructions,
            facts.functions,
            tuple(self.map_names[number] for number in item.maps if number in self.map_names),
            any(self._kinds.get(number) == "arena" for number in item.maps),
            frozenset(storages),
            item.gpl,
            facts.lines,
        )

    def _attachment(self, item: LoadedProgram, link: LoadedLink | None) -> Attachment | None:
        """Returns the attachment of a program, or the target for which it was loaded."""
        if item.target_type:
            # After attaching, only the link has the target program (bpf_tracing_prog_attach() clears it in the
            # program).
            target = None if link is None else self._by_id.get(link.target or 0)
            is_kernel = self._types.is_kernel(item.target_btf)
            number, kind = item.target_btf, item.target_type
            if not is_kernel and target is not None and link is not None:
                number, kind = target.btf, link.target_type or kind
            named = self._types.function(number, kind)
            name = None if named is None else named[0].removeprefix(_TRACEPOINT)
            return Attachment(name, None, None) if is_kernel else Attachment(None, self._target(item, link), name)
        if link is None:
            return None
        if link.target is not None:
            return self._linked(item, link)
        if link.where is not None:
            return Attachment(f"interface {link.where}", None, None)
        return Attachment(None if link.attach_type is None else attach_type(link.attach_type), None, None)

    def _linked(self, item: LoadedProgram, link: LoadedLink) -> Attachment | None:
        """Returns the attachment that a tracing link shows. The target id belongs to a program or to the kernel's BTF;
        only for an extension is it certainly a program.
        """
        assert link.target is not None
        key = self.key(link.target)
        name = self._functions.get((self._by_id[link.target].btf, link.target_type or 0)) if key is not None else None
        if program_type(item.type) == "ext":
            return Attachment(None, key, name)
        if key is None or link.target == _VMLINUX:
            return Attachment(f"type {link.target_type} of BTF {link.target}", None, None)
        return Attachment(f"type {link.target_type} of BTF or program {link.target}", key, name)

    def _target(self, item: LoadedProgram, link: LoadedLink | None) -> str | None:
        """Returns the key of the program to whose function another is attached: the link's target, otherwise the only
        program with that BTF that has the function.
        """
        if link is not None and link.target and (found := self.key(link.target)) is not None:
            return found
        having = [
            program.id
            for program in self._loaded.programs
            if program.btf == item.target_btf and any(kind == item.target_type for _, kind in program.functions)
        ]
        return self.key(having[0]) if len(having) == 1 else None

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


def programs_of(
    loaded: Loaded,
    label: str,
    names: Mapping[int, Names] | None = None,
    functions: Mapping[tuple[int, int], str] | None = None,
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
