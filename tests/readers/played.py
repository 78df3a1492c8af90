"""A kernel whose functions are played by functions of Python, for the cases that would run those of an image.

Its structures have every member that a case asks for, but for those that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from tailcall_audit.analyzer.emulator.calls import Call, End, Run, Stub
from tailcall_audit.analyzer.emulator.isa import isa_of
from tailcall_audit.analyzer.emulator.objects import Field, Layout, Objects
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.read import CaseResult
from tailcall_audit.analyzer.readers.emulation.scene import Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Stage

Play = Callable[..., "int | Run"]
"""A function of the kernel: its scene and arguments, and its result or the end of its run."""
NULL = Run(End.FAULT, touched=4, access="reads", pc=0xFFFFFFFF81000004, function="resolve_prog_type")
WILD = Run(End.FAULT, touched=0x1000, access="reads", pc=0xFFFFFFFF81000004, function="resolve_prog_type")
TRAP = Run(End.TRAP, pc=0xFFFFFFFF81000004)
_BASE, _SLOT, _SIZE = 0x10000, 16, 4096
_END = 8 << 20


class _Machine:
    """Memory, and the calls of the kernel's functions.

    The memory grows as it is written. A machine and its scene refer to each other, so both stay until Python looks for
    cycles, which it does rarely in a process that runs many tests: hundreds of them are there at once.
    """

    def __init__(self, scene: PlayedScene, kernel: PlayedKernel) -> None:
        self._scene, self._kernel = scene, kernel
        self._memory = bytearray()
        self._next = _BASE
        self._watched: list[tuple[int, int, Callable[..., object]]] = []
        self._arguments: Sequence[int] = ()
        self.isa = SimpleNamespace(arguments=range(8))
        self.stopped = False

    def allocate(self, size: int) -> int:
        address, self._next = self._next, self._next + (size + _SLOT) // _SLOT * _SLOT
        return address

    allocate_code = allocate

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._memory[address : address + size]).ljust(size, b"\0")

    def write(self, address: int, data: bytes) -> None:
        end = address + len(data)
        assert end <= _END, f"{address:#x} is written, and is not allocated"
        self._memory.extend(bytes(max(0, end - len(self._memory))))
        self._memory[address:end] = data

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def watch_writes(self, address: int, size: int, see: Callable[..., object]) -> None:
        self._watched.append((address, size, see))

    def store(self, address: int, value: int) -> None:
        """Writes a word as a function of the kernel does: who watches the place sees it."""
        self.write(address, value.to_bytes(8, "little"))
        for place, size, see in self._watched:
            if place <= address < place + size:
                see(address, 8, value)

    def register(self, number: int) -> int:
        return self._arguments[number]

    def stop(self, reason: str) -> None:
        self.stopped = bool(reason)

    def ask(self, stub: Stub, name: str, arguments: Sequence[int]) -> int:
        self._arguments = arguments
        return stub(Call(cast("Any", self), name)) or 0

    def call(self, address: int, *arguments: int) -> Run:
        done = self._kernel.play(address)(self._scene, *arguments)
        return done if isinstance(done, Run) else Run(End.RETURNED, done)


class PlayedKernel:
    """The functions of a kernel by their names, the prototypes that it has, and the members that it lacks."""

    def __init__(
        self, plays: Mapping[str, Play], parameters: Mapping[str, list[str]] | None = None, lacks: Sequence[str] = ()
    ) -> None:
        self._plays = dict(plays)
        self._addresses = {name: 0xFFFFFFFF81000000 + 64 * number for number, name in enumerate(self._plays)}
        self.layout = cast("Layout", _Layout(parameters or {}, frozenset(lacks)))
        self.isa = isa_of("x86_64")
        self.kernel: Any = self
        self.fill = None
        self._numbers: dict[str, int] = {}

    def learn(self, names: object) -> None:
        del names

    def find(self, name: str) -> int | None:
        return self._addresses.get(name)

    def function(self, name: str) -> int:
        if name not in self._addresses:
            raise EmulationError(Why.NO_FUNCTION, f"{name}()")
        return self._addresses[name]

    def play(self, address: int) -> Play:
        name = next((name for name, place in self._addresses.items() if place == address), "emitted")
        return self._plays[name]

    def number(self, enum: str, name: str) -> int:
        return self._numbers.setdefault(f"{enum}.{name}", len(self._numbers) + 1)


class _Layout:
    """Every member has a place of its own; what lies behind the object is at its end."""

    def __init__(self, parameters: Mapping[str, list[str]], lacks: frozenset[str]) -> None:
        self._places: dict[str, int] = {"bpf_prog.insnsi": _SIZE, "bpf_array.ptrs": _SIZE}
        self._lacks = lacks
        self.parameters = parameters.get

    def has(self, struct: str) -> bool:
        return struct not in self._lacks

    def size(self, struct: str) -> int:
        return _SIZE

    def field(self, struct: str, path: str) -> Field | None:
        name = f"{struct}.{path}"
        if name in self._lacks:
            return None
        return Field(8 * self._places.setdefault(name, _SLOT * len(self._places)), 64, 0)

    def need(self, struct: str, path: str) -> Field:
        found = self.field(struct, path)
        if found is None:
            raise EmulationError(Why.NO_MEMBER, f"{struct}.{path}")
        return found

    def place(self, struct: str, path: str) -> int:
        return self.need(struct, path).offset // 8


class PlayedScene(Scene):
    """A scene of the cases, with played functions. `state` is what the kernel remembers."""

    def __init__(self, bench: Any, stubs: Mapping[str, Stub]) -> None:
        self.bench = bench
        self.kernel = bench
        self.layout = bench.layout
        self.machine: Any = _Machine(self, bench)
        self.objects = Objects(cast("Any", self.machine), self.layout, None)
        self.called = []
        self.enough = None
        self.stubs = stubs
        self.state: dict[Hashable, Any] = {}

    def ask(self, name: str, *arguments: int) -> int:
        """Calls a function that the case answers, or one that does nothing."""
        self._see(name)
        return self.machine.ask(self.stubs.get(name, lambda _: 0), name, arguments)  # type: ignore[no-any-return]


class PlayedStage(Stage):
    """A stage whose scenes are played."""

    def __init__(self, bench: PlayedKernel) -> None:
        super().__init__(cast("Any", bench))
        self._kept: dict[Hashable, Any] = {}

    def scene(self, stubs: Mapping[str, Stub] | None = None) -> Scene:
        return PlayedScene(self.bench, stubs or {})

    def once(self, name: Hashable, step: Callable[[Stage], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = step(self)
        return self._kept[name]


def outcome(kernel: PlayedKernel, case: Case) -> Finding | EmulationError:
    """Returns what a case finds out, or why it has no answer."""
    try:
        return case(PlayedStage(kernel))
    except EmulationError as error:
        return error


def results(kernel: PlayedKernel, cases: Mapping[str, Case]) -> dict[str, CaseResult]:
    """Returns the results of cases as an image's would be."""
    found = {}
    for name, case in cases.items():
        answer = outcome(kernel, case)
        if isinstance(answer, EmulationError):
            found[name] = CaseResult(name, None, str(answer), 0, answer.why is Why.CONTROL)
        else:
            found[name] = CaseResult(name, answer.outcome.value, answer.story)
    return found
