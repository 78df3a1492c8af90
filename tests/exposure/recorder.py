"""Takes what a scenario loads, puts and attaches as facts about programs, and loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from tailcall_audit.analyzer.programs.types import Attachment, Map, Program, ProgramSet, Slot
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program as Assembler
from tailcall_audit.probes.kernel.bpf import Bpf, Function, function_number
from tailcall_audit.probes.kernel.instructions import insns_of
from tests.exposure.assembled import KFUNCS, assembled

__all__ = ["recorded"]

_TYPES = {
    bpf.SOCKET_FILTER: "socket_filter",
    bpf.SCHED_CLS: "sched_cls",
    bpf.XDP: "xdp",
    bpf.CGROUP_SOCK_ADDR: "cgroup_sock_addr",
    bpf.CGROUP_SKB: "cgroup_skb",
    bpf.KPROBE: "kprobe",
    bpf.TRACING: "tracing",
    bpf.EXT: "ext",
}
_ATTACH = {
    0: "none",
    bpf.INET4_CONNECT: "cgroup_inet4_connect",
    bpf.INET6_CONNECT: "cgroup_inet6_connect",
    bpf.FENTRY: "trace_fentry",
}


class _Recorder:
    """Has the calls of `Bpf` that scenarios use. Descriptors count up from 100."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.programs: dict[int, Program] = {}
        self.slots: dict[int, dict[int, str]] = {}
        self.storages: set[int] = set()
        self._compiles = True
        self._next = 100

    def _descriptor(self, name: str) -> int:
        self._next += 1
        self.names[self._next] = f"{name}{self._next}"
        return self._next

    def array(self, size: int = 64) -> int:
        return self._descriptor("values")

    def prog_array(self, entries: int = 1) -> int:
        found = self._descriptor("jmp")
        self.slots[found] = {}
        return found

    def map(self, kind: int, key: int, value: int, entries: int) -> int:
        found = self._descriptor("storage")
        assert kind == bpf.CGROUP_STORAGE
        self.storages.add(found)
        return found

    def switch_jit(self, on: bool) -> None:
        self._compiles = on

    def kfunc(self, name: str) -> int:
        return KFUNCS.index(name)

    def load(
        self,
        kind: int,
        program: Assembler,
        *,
        functions: tuple[Function, ...] = (),
        context: str | None = None,
        target: tuple[int, int] | None = None,
        attach_type: int = 0,
        flags: int = 0,
        name: str = "",
    ) -> int:
        self._next += 1
        attachment = None
        if target is not None:
            of = self.programs[target[0]]
            # Each program is loaded with BTF of its own, which has one prototype.
            attachment = Attachment(None, of.key, of.functions[target[1] - function_number(0)].name, of.key)
        self.programs[self._next] = assembled(
            program,
            kind=_TYPES[kind],
            attach=_ATTACH[attach_type],
            attachment=attachment,
            has_target=target is not None if kind == bpf.EXT else None,
            sleepable=bool(flags & bpf.SLEEPABLE),
            storages=tuple(self.names[item] for item in self.storages if _uses(program, item)),
            jited=self._compiles,
            global_functions=[item.name for item in functions if item.is_global],
            key=f"{name}{self._next}",
            maps=self.names,
        )
        return self._next

    def put(self, array: int, index: int, program: int) -> None:
        self.slots[array][index] = self.programs[program].key

    def attach(self, program: int, attach_type: int = 0) -> int:
        return 0

    def run(self, program: int) -> int:
        return 0

    def count(self, array: int, offset: int = 0) -> int:
        return 0


def _uses(program: Assembler, descriptor: int) -> bool:
    return any(insn.code == 0x18 and insn.src == 1 and insn.imm == descriptor for insn in insns_of(program))


def recorded(scenario: Callable[[Bpf], Any]) -> ProgramSet:
    """Returns the programs of a scenario, all that it puts into prog arrays, and what it attaches."""
    kernel = _Recorder()
    scenario(cast(Bpf, kernel))
    maps = [
        Map(kernel.names[number], "prog_array", 2, tuple(Slot(*item) for item in slots.items()), True, False)
        for number, slots in kernel.slots.items()
    ]
    maps += [Map(kernel.names[number], "cgroup_storage", 0, (), False, None) for number in kernel.storages]
    return ProgramSet("scenario", tuple(kernel.programs.values()), tuple(maps), False, ())
