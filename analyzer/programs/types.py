"""What is known of a set of BPF programs. Each reader (ELF object, host, bpftool's JSON) makes the same types.

A value that cannot be known from a source is None, never a default: a condition that needs it is "possible".
"""

from __future__ import annotations

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
    """What the verifier does with an instruction: it removes what no path reaches once constants are known."""

    LIVE = "live"
    MAYBE_DEAD = "maybe-dead"
    """Behind a branch on a value that is constant at load time (.rodata, a CO-RE relocation, a kconfig extern)."""


class SourceLine(NamedTuple):
    """A line of a program's source, from .BTF.ext's line info; `line` counts from 1."""

    file: str
    line: int
    text: str


class CallSite(NamedTuple):
    """A call of a subprogram at an instruction (an index into `Program.instructions`)."""

    instruction: int
    callee: str
    reach: Reach


class CallbackSite(NamedTuple):
    """A function that is handed to a helper or kfunc, which calls it; `helper` is the helper's number, None a
    kfunc."""

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
    """A bpf_tail_call(). `map` is the prog array's name, None where it is not one constant map.

    `key` is the constant index, None where it is not constant. `locks` are the names of what is held there ("rcu",
    "preempt", "irq", "spin lock"), None where that was not decidable. `key_may_be_constant` is True where the key is
    not a constant of the code, and may be one to the verifier (.rodata, CO-RE, a range that leaves one number).
    """

    instruction: int
    map: str | None
    key: int | None
    reach: Reach
    locks: frozenset[str] | None
    key_may_be_constant: bool = False


class Function(NamedTuple):
    """A main program or subprogram: the instructions from `start` up to, without, `end`.

    `stack` is the deepest stack slot that it names, in bytes, None where a stack pointer is used with an unknown
    offset. `is_global` is None where no BTF says it. `packet_across_calls` are the instructions of calls (of
    subprograms, of helpers that call back, and tail calls) over which a pointer into the packet that was checked
    before is used after; None where that was not decidable.
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


class Slot(NamedTuple):
    """What is in one slot of a prog array: the key of a program of this set, or None for a program that is not in
    it."""

    key: int
    program: str | None


class Map(NamedTuple):
    """A map. For a prog array `slots` are what is known to be put into it, and `slots_are_all` says that nothing
    else is.

    An object file's initialiser says what is put in at load time; what user space adds later is not known
    (`slots_are_all` is False). On a host the slots are those of the moment.
    """

    name: str
    type: str
    max_entries: int
    slots: tuple[Slot, ...]
    slots_are_all: bool
    updated_by_programs: bool | None


class Attachment(NamedTuple):
    """Where a program is attached: a kernel function or hook (`hook`), or a function of another program.

    `program` is the key of the target program in this set, None where it is not in it or not known; `function` the
    name of the target's function. Both `hook` and `function` are set where the source does not say which it is: what
    an object names by its section "fentry/NAME" is a function of the kernel, or of a program that user space chooses.
    """

    hook: str | None
    program: str | None
    function: str | None


class Program(NamedTuple):
    """A main program with all its subprograms; `functions[0]` is the main program.

    `key` is its name in the set, unique. `type` and `expected_attach_type` are the kernel's names without their
    prefix, in lower case ("sched_cls", "tracing", "ext"; "trace_fentry"; "none" without one), None where the source
    does not say. `attachment` is what it is attached to or says that it will be (its section's name, or the link on a
    host). `sleepable` is None where not known. `jited` is None but on a host. `source` says where it was found, as a
    user reads it ("prog.bpf.o, section tc"). `lines` are the source lines by instruction (that of the nearest
    instruction before holds).
    """

    key: str
    name: str
    source: str
    section: str | None
    type: str | None
    expected_attach_type: str | None
    attachment: Attachment | None
    sleepable: bool | None
    jited: bool | None
    instructions: tuple[Insn, ...]
    functions: tuple[Function, ...]
    maps: tuple[str, ...]
    uses_arena: bool | None
    cgroup_storage: frozenset[str]
    license_gpl: bool | None
    lines: dict[int, SourceLine]

    def line_of(self, instruction: int) -> SourceLine | None:
        """Returns the source line of an instruction: that of the nearest one at or before it."""
        before = [index for index in self.lines if index <= instruction]
        return self.lines[max(before)] if before else None


class ProgramSet(NamedTuple):
    """Programs and maps that belong together: an object file's, or all that is loaded on a host.

    `notes` say what could not be read. `big_endian` is the byte order that they were made for.
    """

    label: str
    programs: tuple[Program, ...]
    maps: tuple[Map, ...]
    big_endian: bool
    notes: tuple[str, ...]

    def map(self, name: str) -> Map | None:
        """Returns the map of a name."""
        return next((item for item in self.maps if item.name == name), None)

    def program(self, key: str) -> Program | None:
        """Returns the program of a key."""
        return next((item for item in self.programs if item.key == key), None)
