"""A machine with the things that cases share: BPF programs, prog_arrays, the functions that are called."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.calls import Budget, Patch, Run, Stub
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import Isa, isa_of
from tailcall_audit.analyzer.emulator.machine import Machine
from tailcall_audit.analyzer.emulator.objects import Filler, Layout, Objects
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.sites import TABLES, Sites
from tailcall_audit.analyzer.emulator.stubs import STANDARD, TRACER_ENTRIES, install, tracer_entries

__all__ = ["ENTRIES", "Bench", "ProgramKind", "Scene"]

ENTRIES = 4
"""The number of entries of a prog_array."""
_TASK = 1 << 12
"""Stands for a task's address; the lowest bits of a mutex's owner are flags."""


class ProgramKind(NamedTuple):
    """A BPF program: its type (enum bpf_prog_type without BPF_PROG_TYPE_), other members that are not zero by structure
    and member, the program that it replaces or traces, and the cookies of its cgroup storages by their type (0: it has
    none).
    """

    type: str
    program: Mapping[str, int] = {}
    aux: Mapping[str, int] = {}
    target: ProgramKind | None = None
    cookies: tuple[int, ...] = ()


class Bench:
    """An image on the bench, with everything that its machines share.

    `fill` gives the bytes of objects that no case sets. `symbols` are those that the cases will ask for: one pass over
    the symbol table finds all.
    """

    def __init__(
        self,
        kernel: KernelImage,
        budget: Budget | None = None,
        fill: Filler | None = None,
        symbols: frozenset[str] = frozenset(),
    ) -> None:
        self.kernel = kernel
        self.isa: Isa = isa_of(kernel.architecture)
        kernel.learn(symbols.union(STANDARD, TABLES, TRACER_ENTRIES, self.isa.thunks))
        self.quiet = tuple(Patch(place, self.isa.returns, "tracer") for place in tracer_entries(kernel))
        """Patches that let the tracer's entry return at once, as in a booted kernel that traces nothing."""
        self.layout = Layout(kernel.btf)
        self.sites = Sites(kernel, self.isa)
        self.budget = budget or Budget()
        self.fill = fill
        self.kept: dict[Hashable, list[tuple[frozenset[Patch], object, list[tuple[int, int]]]]] = {}
        """The results of steps that cases share, by their names, with the patches on their path and the blocks that
        they ran.
        """
        self._numbers: dict[str, dict[str, int]] = {}

    def number(self, enum: str, name: str) -> int:
        """Returns the value of an enumerator; raises EmulationError if this kernel has none of the name."""
        if enum not in self._numbers:
            self._numbers[enum] = self.layout.btf.enumerators(enum)
        found = self._numbers[enum]
        if name not in found:
            raise EmulationError(Why.NO_MEMBER, f"enum {enum}: {name}")
        return found[name]


class Scene:
    """One machine, made for one case. Raises EmulationError if the kernel lacks something that the case needs."""

    def __init__(self, bench: Bench, patches: Iterable[Patch] = (), stubs: Mapping[str, Stub] | None = None) -> None:
        self.bench = bench
        self.kernel = bench.kernel
        self.layout = bench.layout
        self.machine = Machine(bench.kernel, bench.isa, bench.budget, (*bench.quiet, *patches))
        self.objects = Objects(self.machine, bench.layout, bench.fill)
        self.called: list[str] = []
        self.enough: Callable[[], bool] | None = None
        """Ends a run at the first call that is answered once it returns True."""
        self.machine.answer(install(bench.kernel, {**STANDARD, **(stubs or {})}, self._see))

    def _see(self, name: str) -> None:
        self.called.append(name)
        if self.enough is not None and self.enough():
            self.machine.stop("enough was seen")

    def program(self, kind: ProgramKind, room: int = 4096) -> int:
        """Returns the address of a BPF program that was loaded and compiled. `room` bytes behind it are for its
        instructions.
        """
        number = self.bench.number("bpf_prog_type", f"BPF_PROG_TYPE_{kind.type}")
        aux = self.objects.new("bpf_prog_aux", {**_PLAIN_AUX, **kind.aux})
        if kind.target is not None:
            self.objects.set(aux, "bpf_prog_aux", "dst_prog", self.program(kind.target))
        for index, cookie in enumerate(kind.cookies):
            self._give_storage(aux, index, cookie)
        members = {**_PLAIN_PROGRAM, "type": number, "aux": aux, **kind.program}
        program = self.objects.new("bpf_prog", members, room)
        self.objects.set(aux, "bpf_prog_aux", "prog", program)
        return program

    def _give_storage(self, aux: int, index: int, cookie: int) -> None:
        if cookie:
            storage = self.objects.new("bpf_map", {"cookie": cookie})
            place = aux + self.layout.place("bpf_prog_aux", "cgroup_storage") + 8 * index
            self.machine.write(place, storage.to_bytes(8, "little"))

    def prog_array(self) -> int:
        """Returns the address of an empty prog_array without an owner."""
        kind = self.bench.number("bpf_map_type", "BPF_MAP_TYPE_PROG_ARRAY")
        members = {**_PLAIN_MAP, "map.map_type": kind, "map.max_entries": ENTRIES}
        members |= {"map.key_size": 4, "map.value_size": 4}
        array = self.objects.new("bpf_array", members, room=8 * ENTRIES)
        if self.layout.field("bpf_array", "aux") is not None:
            aux = self.objects.new("bpf_array_aux", _PLAIN_ARRAY_AUX)
            self.objects.set(array, "bpf_array", "aux", aux)
            # The list of programs that jump into this array directly is empty.
            head = self.layout.field("bpf_array_aux", "poke_progs")
            if head is not None:
                place = aux + head.offset // 8
                self.machine.write(place, place.to_bytes(8, "little") * 2)
        return array

    def hold(self, address: int, struct: str, mutex: str) -> None:
        """Marks a structure's mutex as held by a task, whose address is only compared; the kernel's functions check
        that.
        """
        for owner in ("owner.counter", "rtmutex.owner"):
            self.objects.set(address, struct, f"{mutex}.{owner}", _TASK)

    def call(self, function: str, *arguments: int) -> Run:
        """Calls a function of the kernel and returns its run."""
        return self.machine.call(self.kernel.function(function), *arguments)

    def first_of(self, names: Iterable[str]) -> str:
        """Returns the first of these functions that the kernel has exactly once; raises EmulationError if it has none."""
        wanted = tuple(names)
        self.kernel.learn(frozenset(wanted))
        for name in wanted:
            if self.kernel.find(name) is not None:
                return name
        raise EmulationError(Why.NO_FUNCTION, " or ".join(f"{name}()" for name in wanted))


_PLAIN_PROGRAM = {
    "pages": 1, "jited": 1, "jit_requested": 1, "gpl_compatible": 1, "cb_access": 0, "dst_needed": 0, "blinding_requested": 0,
    "blinded": 0, "is_func": 0, "kprobe_override": 0, "has_callchain_buf": 0, "enforce_expected_attach_type": 0, "call_get_stack": 0,
    "call_get_func_ip": 0, "tstamp_type_access": 0, "sleepable": 0, "expected_attach_type": 0, "len": 2, "jited_len": 0,
    "type": 0, "aux": 0, "bpf_func": 0, "orig_prog": 0,
}  # fmt: skip
_PLAIN_AUX = {
    "dst_prog": 0, "saved_dst_prog_type": 0, "saved_dst_attach_type": 0, "attach_func_proto": 0, "dev_bound": 0,
    "offload_requested": 0, "offload": 0, "xdp_has_frags": 0, "tail_call_reachable": 0, "is_extended": 0, "prog_array_member_cnt": 0,
    "sleepable": 0, "kprobe_write_ctx": 0, "cgroup_storage": 0, "func_cnt": 0, "used_map_cnt": 0, "prog": 0,
    "poke_tab": 0, "size_poke_tab": 0,
}  # fmt: skip
_PLAIN_MAP = {
    "map.map_type": 0, "map.owner": 0, "map.owner_lock": 0, "map.owner.type": 0, "map.owner.lock": 0, "map.cookie": 0, "aux": 0,
    "map.map_flags": 0, "map.frozen": 0, "ptrs": 0, "index_mask": ENTRIES - 1,
}  # fmt: skip
_PLAIN_ARRAY_AUX = {"type": 0, "jited": 0, "owner.type": 0, "owner.lock": 0, "owner": 0, "poke_mutex": 0}
"""Every member that a function under test may look at, with a value that decides nothing. Other members must not
matter.
"""
