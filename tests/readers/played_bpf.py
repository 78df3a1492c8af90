"""Kernels whose JIT is played by an interpreter: programs run as their instructions say, and the count of tail calls
goes where a release hands it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tailcall_audit.analyzer.readers.emulation.compiler import CALL_BASE, JIT
from tailcall_audit.analyzer.readers.emulation.jumps import RUN
from tests.readers.played import Play, PlayedKernel

MOST = 33
"""MAX_TAIL_CALL_CNT (Linux include/linux/bpf.h) since v5.16."""
_FRAME = 512
"""MAX_BPF_STACK."""
_FRAME_POINTER = 10
_DESCRIPTOR = "bpf_jit_poke_descriptor"


class Caller(NamedTuple):
    """A program at a call of its function: the cell with its count, its bytes of stack, and the word at 16 bytes below
    the top of its stack.
    """

    cell: list[int]
    stack: int
    below: int


Hands = Callable[[Caller], list[int]]
"""Returns the cell of the called function."""


def behind_a_pointer(caller: Caller) -> list[int]:
    """One count for all, since 116e04ba1459."""
    return caller.cell


def by_value(caller: Caller) -> list[int]:
    """A copy, which the caller does not get back: before 116e04ba1459."""
    return list(caller.cell)


def from_a_wrong_place(caller: Caller) -> list[int]:
    """What lies on the stack, if its size is no multiple of eight: before ff672c67ee76."""
    return [caller.below & 0xFFFF_FFFF] if caller.stack % 8 else caller.cell


def anew(_: Caller) -> list[int]:
    """A count that begins in each function, as on arm64 before v6.0."""
    return [0]


class _Insn(NamedTuple):
    code: int
    to: int
    of: int
    off: int
    imm: int


def _decoded(data: bytes) -> tuple[_Insn, ...]:
    return tuple(
        _Insn(
            data[at],
            data[at + 1] & 15,
            data[at + 1] >> 4,
            int.from_bytes(data[at + 2 : at + 4], "little", signed=True),
            int.from_bytes(data[at + 4 : at + 8], "little", signed=True),
        )
        for at in range(0, len(data), 8)
    )


def _aux(scene: Any, program: int) -> int:
    return int(scene.objects.get(program, "bpf_prog", "aux"))


class _Run:
    """One run of compiled programs."""

    def __init__(self, scene: Any, hands: Hands) -> None:
        self._scene, self._hands = scene, hands

    def enter(self, program: int, context: int, top: int, count: list[int]) -> int:
        """Runs a program with this stack, and those that it tail-calls. Returns R0."""
        machine = self._scene.machine
        registers = [0] * 10 + [top]
        registers[1] = context
        code = self._scene.state[self._scene.objects.get(program, "bpf_prog", "bpf_func")]
        place = 0
        while True:
            insn = code[place]
            place += 1
            if insn.code == 0x18:
                registers[insn.to] = insn.imm & 0xFFFF_FFFF | (code[place].imm & 0xFFFF_FFFF) << 32
                place += 1
            elif insn.code in (0xBF, 0xB7):
                registers[insn.to] = registers[insn.of] if insn.code == 0xBF else insn.imm
            elif insn.code == 0x07:
                registers[insn.to] += insn.imm
            elif insn.code == 0x79:
                registers[insn.to] = machine.word(registers[insn.of] + insn.off)
            elif insn.code == 0x7B:
                machine.write(registers[insn.to] + insn.off, registers[insn.of].to_bytes(8, "little"))
            elif insn.code in (0x7A, 0x62):
                self._store(program, insn, registers[insn.to])
            elif insn.code == 0x25:
                place += insn.off if registers[insn.to] > insn.imm else 0
            elif insn.code == 0x85:
                registers[0] = self._call(program, insn, registers, count)
                registers[1:6] = [0xBAD] * 5
            elif insn.code == 0xF5:
                found = self._tail_call(program, insn, registers, count)
                if found:
                    program, place = found, 0
                    code = self._scene.state[self._scene.objects.get(program, "bpf_prog", "bpf_func")]
            else:
                assert insn == _Insn(0x95, 0, 0, 0, 0)
                return registers[0]

    def _store(self, program: int, insn: _Insn, base: int) -> None:
        size = 8 if insn.code == 0x7A else 4
        stack = self._scene.objects.get(_aux(self._scene, program), "bpf_prog_aux", "stack_depth")
        # The verifier refuses what is not aligned or not in the program's stack.
        assert insn.to == _FRAME_POINTER and insn.off % size == 0 and -stack <= insn.off <= -size
        self._scene.machine.write(base + insn.off, insn.imm.to_bytes(size, "little", signed=True))

    def _call(self, program: int, insn: _Insn, registers: list[int], count: list[int]) -> int:
        scene, aux = self._scene, _aux(self._scene, program)
        assert insn.of == 1 and registers[1] == registers[6]
        address = (scene.kernel.function(CALL_BASE) + insn.imm) & 0xFFFF_FFFF
        table = scene.objects.get(aux, "bpf_prog_aux", "func")
        number = scene.objects.get(aux, "bpf_prog_aux", "func_cnt")
        functions = [scene.machine.word(table + 8 * index) for index in range(number)]
        (called,) = [item for item in functions if scene.objects.get(item, "bpf_prog", "bpf_func") == address]
        assert called == functions[1] and functions[0] == program
        top = registers[_FRAME_POINTER]
        stack = scene.objects.get(aux, "bpf_prog_aux", "stack_depth")
        cell = self._hands(Caller(count, stack, scene.machine.word(top - 16)))
        return self.enter(called, registers[1], top - _FRAME, cell)

    def _tail_call(self, program: int, insn: _Insn, registers: list[int], count: list[int]) -> int:
        """Returns the program that is entered; 0 if there is none, or too many were."""
        scene, (array, key) = self._scene, registers[2:4]
        assert insn.imm in (0, 1)
        assert 0 <= key < scene.objects.get(array, "bpf_array", "map.max_entries")
        descriptor = scene.objects.get(_aux(scene, program), "bpf_prog_aux", "poke_tab") if insn.imm else 0
        if descriptor and scene.objects.get(descriptor, _DESCRIPTOR, "tailcall_target"):
            target = scene.state.get(("jump", descriptor), 0)
        else:
            target = scene.machine.word(array + scene.layout.place("bpf_array", "ptrs") + 8 * key)
        if count[0] >= MOST or not target:
            return 0
        count[0] += 1
        return int(target)


def _poked(scene: Any, array: int, key: int, old: int, new: int) -> int:
    """Plays prog_array_map_poke_run(): it writes the jumps of every program in the array's list."""
    assert old == 0
    aux = scene.objects.get(array, "bpf_array", "aux")
    assert scene.objects.get(aux, "bpf_array_aux", "poke_mutex.owner.counter")
    head = aux + scene.layout.place("bpf_array_aux", "poke_progs")
    link = scene.machine.word(head)
    while link != head:
        assert scene.machine.word(scene.machine.word(link) + 8) == link
        element = link - scene.layout.place("prog_poke_elem", "list")
        of = scene.objects.get(element, "prog_poke_elem", "aux")
        assert scene.objects.get(of, "bpf_prog_aux", "size_poke_tab") == 1
        descriptor = scene.objects.get(of, "bpf_prog_aux", "poke_tab")
        place = tuple(scene.objects.get(descriptor, _DESCRIPTOR, f"tail_call.{name}") for name in ("map", "key"))
        if place == (array, key):
            scene.state["jump", descriptor] = new
        link = scene.machine.word(link)
    return 0


def interpreting(hands: Hands, *, jumps: bool = True, compiles: bool = True) -> PlayedKernel:
    """Returns a kernel that hands its count to functions in one way. `jumps`: its JIT makes jumps of direct tail calls.
    `compiles` is False if the JIT leaves programs as they are.
    """

    def jit(scene: Any, program: int) -> int:
        objects, aux = scene.objects, _aux(scene, program)
        if not compiles:
            return program
        if not objects.get(program, "bpf_prog", "bpf_func"):
            objects.set(program, "bpf_prog", "bpf_func", scene.machine.allocate_code(16))
        size = objects.get(program, "bpf_prog", "len")
        data = scene.machine.read(program + scene.layout.place("bpf_prog", "insnsi"), 8 * size)
        scene.state[objects.get(program, "bpf_prog", "bpf_func")] = _decoded(data)
        descriptor = objects.get(aux, "bpf_prog_aux", "poke_tab")
        if descriptor and jumps:
            objects.set(descriptor, _DESCRIPTOR, "tailcall_target", 0x1000)
        assert objects.get(aux, "bpf_prog_aux", "tail_call_reachable") == 1
        objects.set(program, "bpf_prog", "jited", 1)
        return program

    def emitted(scene: Any, context: int, instructions: int) -> int:
        program = instructions - scene.layout.place("bpf_prog", "insnsi")
        top = scene.machine.allocate(128 * _FRAME) + 128 * _FRAME
        return _Run(scene, hands).enter(program, context, top, [0])

    plays: dict[str, Play] = {JIT: jit, CALL_BASE: lambda *_: 0, RUN: _poked, "emitted": emitted}
    return PlayedKernel(plays, {JIT: ["prog"]})
