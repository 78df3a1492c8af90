"""The data types for sets of BPF programs. All readers (ELF object, host, bpftool's JSON) produce them.

A value that a source does not provide is None, never a default. A condition that needs it is "possible".
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import NamedTuple

from tailcall_audit.probes.kernel.instructions import Insn

__all__ = [
    "Attachment",
    "CallSite",
    "CallbackSite",
    "Function",
    "HelperCall",
    "Map",
    "Program",
    "ProgramSet",
    "Reach",
    "Slot",
    "SourceLine",
    "TailCall",
]


class Reach(Enum):
    """What the verifier does with an instruction. It removes instructions that no path reaches once constants are
    known.
    """

    LIVE = "live"
    MAYBE_DEAD = "maybe-dead"
    """Behind a branch on a value that is constant at load time (.rodata, a CO-RE relocation, a kconfig extern)."""


class SourceLine(NamedTuple):
    """A line of a program's source, from the line info in .BTF.ext. `line` counts from 1."""

    file: str
    line: int
    text: str


class CallSite(NamedTuple):
    """A call of a subprogram at an instruction (an index into `Program.instructions`)."""

    instruction: int
    callee: str
    reach: Reach


class CallbackSite(NamedTuple):
    """A function that is passed to a helper or kfunc, which calls it. `helper` is the helper's number, None for a
    kfunc.
    """

    instruction: int
    callee: str
    helper: int | None
    reach: Reach


class HelperCall(NamedTuple):
    """A call of a helper by its number, or of a kfunc by its name."""

    instruction: int
    helper: int | None
    kfunc: str | None
    reach: Reach


class TailCall(NamedTuple):
    """A bpf_tail_call(). `map` is the name of the prog array, None if it is not one constant map.

    `key` is the constant index, None if it is not constant. `locks` are the names of the locks held there ("rcu",
    "preempt", "irq", "spin lock"), None if that could not be decided. `key_may_be_constant` is True if the key is not a
    constant in the code but may be one for the verifier (.rodata, CO-RE, a range that leaves one number).
    """

    instruction: int
    map: str | None
    key: int | None
    reach: Reach
    locks: frozenset[str] | None
    key_may_be_constant: bool = False


class Function(NamedTuple):
    """A main program or subprogram: the instructions from `start` up to, but not including, `end`.

    `stack` is the depth in bytes of the deepest stack slot that it uses, None if a stack pointer is used with an
    unknown offset. `is_global` is None if no BTF decides it. `packet_across_calls` are the calls (of subprograms, of
    helpers that call back, and tail calls) across which a packet pointer that was checked before is used again; None if
    that could not be decided. `returned` is the number (64 bits, unsigned) that it returns on all of its own paths,
    None if they do not return one constant. `division` is the first instruction that divides by a register, which the
    verifier replaces by several, and `rewritable` the first that it may replace: this, a load or a call of a helper.
    """

    name: str
    start: int
    end: int
    stack: int | None
    is_global: bool | None
    calls: tuple[CallSite, ...]
    callbacks: tuple[CallbackSite, ...]
    helpers: tuple[HelperCall, ...]
    tail_calls: tuple[TailCall, ...]
    packet_across_calls: tuple[int, ...] | None
    returned: int | None = None
    division: int | None = None
    rewritable: int | None = None


class Slot(NamedTuple):
    """The contents of one slot of a prog array: the key of a program of this set, or None for a program outside
    of it.
    """

    key: int
    program: str | None


class Map(NamedTuple):
    """A map. For a prog array, `slots` are the slots known to be filled; `slots_are_all` is True if no others are.

    An object file's initialiser shows what is filled at load time. What user space adds later is unknown
    (`slots_are_all` is False). On a host, the slots are those at the time of reading. `max_entries` is None if user
    space sets it when it loads the object.
    """

    name: str
    type: str
    max_entries: int | None
    slots: tuple[Slot, ...]
    slots_are_all: bool
    updated_by_programs: bool | None

    def is_without(self, key: int | None) -> bool:
        """Returns True if it surely has no such slot."""
        return key is not None and self.max_entries is not None and key >= self.max_entries


class Attachment(NamedTuple):
    """The attachment of a program: a kernel function or hook (`hook`), or a function of another program.

    `program` is the key of the target program, None if it is unknown or not in this set. `function` is the name of the
    target's function. Both `hook` and `function` are set if the source does not decide between them: the section
    "fentry/NAME" of an object names a function of the kernel, or of a program that user space chooses, and the link of
    a host the number of a type of one or the other. `prototype` identifies the prototype of the function or hook: the
    kernel takes two of equal value for the same and of different values for different; None if it is not known.
    """

    hook: str | None
    program: str | None
    function: str | None
    prototype: str | None = None


class Program(NamedTuple):
    """A main program with all its subprograms. `functions[0]` is the main program.

    `key` is its unique name in the set. `type` and `expected_attach_type` are the kernel's names without their prefix,
    in lower case ("sched_cls", "tracing", "ext"; "trace_fentry"; "none" without one), None if the source does not
    provide them. `attachments` are what it is attached to, by the links of a host, or will be attached to, by its
    section's name; empty if that is not known. `has_target` is False for an extension program that is loaded without
    the program that it extends, None if the source does not show it. `sleepable` is None if unknown. `jited` is None
    unless the program was read on a host. `source` is where it was found, as shown to users ("prog.bpf.o, section tc").
    `lines` are the source lines by instruction; a line is valid until the next one.
    """

    key: str
    name: str
    source: str
    section: str | None
    type: str | None
    expected_attach_type: str | None
    attachments: tuple[Attachment, ...]
    sleepable: bool | None
    jited: bool | None
    instructions: tuple[Insn, ...]
    functions: tuple[Function, ...]
    maps: tuple[str, ...]
    uses_arena: bool | None
    cgroup_storage: frozenset[str]
    license_gpl: bool | None
    lines: dict[int, SourceLine]
    has_target: bool | None = None

    def line_of(self, instruction: int) -> SourceLine | None:
        """Returns the source line of an instruction: the one of the nearest instruction at or before it."""
        places = sorted(self.lines)
        before = bisect_right(places, instruction)
        return self.lines[places[before - 1]] if before else None


class ProgramSet(NamedTuple):
    """Programs and maps that belong together: those of one object file, or all that are loaded on a host.

    `notes` say what could not be read. `big_endian` is True if the programs are for big-endian machines.
    """

    label: str
    programs: tuple[Program, ...]
    maps: tuple[Map, ...]
    big_endian: bool
    notes: tuple[str, ...]

    @classmethod
    def unread(cls, label: str, why: str) -> ProgramSet:
        """Makes the set for what is in a file and cannot be read."""
        return cls(label, (), (), False, (why,))

    @property
    def is_unread(self) -> bool:
        """True for what is in a file and cannot be read."""
        return not self.programs and bool(self.notes)

    def map(self, name: str) -> Map | None:
        """Returns the map with a name."""
        return next((item for item in self.maps if item.name == name), None)

    def program(self, key: str) -> Program | None:
        """Returns the program with a key."""
        return next((item for item in self.programs if item.key == key), None)
