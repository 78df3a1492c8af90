"""Runs the kernel's own JIT on BPF programs as the verifier leaves them, and gives it the memory that it asks for.

The steps are those of the verifier's jit_subprogs(): every function is compiled once, then the calls between them get
their addresses, then every function is compiled again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.calls import Call, End, Stub
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.stubs import copier
from tailcall_audit.analyzer.readers.emulation.jumps import Jump, descriptor, give, is_compiled, track, writing
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind, Scene
from tailcall_audit.probes.kernel.instructions import Insn, encode

__all__ = ["CALL_BASE", "JIT", "TAIL_CALL", "Compiled", "Function", "compile_program", "jit_stubs"]

JIT = "bpf_int_jit_compile"
CALL_BASE = "__bpf_call_base"
_HEADER = 64
"""Bytes before the code of a program: struct bpf_binary_header, and room for its alignment."""
_ENVIRONMENT_ROOM = 1 << 16
_CALL, _PSEUDO_CALL = 0x85, 1
TAIL_CALL = 0xF5
"""The verifier turns a call of bpf_tail_call() into BPF_JMP | BPF_TAIL_CALL."""
_LARGEST_CODE = 1 << 16


class Function(NamedTuple):
    """A function of a BPF program as the verifier leaves it: its instructions, the bytes of stack that it uses, and its
    constant tail call. A call's `off` is the index of the called function, and a constant tail call's `imm` is 1, the
    number of its descriptor. At most one function of a program has one.
    """

    insns: Sequence[Insn]
    stack: int = 0
    jump: Jump | None = None


class Compiled(NamedTuple):
    """A compiled program: its functions' struct bpf_prog and their code, in order, and if the JIT made a jump of its
    constant tail call.
    """

    programs: tuple[int, ...]
    entries: tuple[int, ...]
    jumps: bool = False


def _allocate(call: Call) -> int:
    """Answers bpf_jit_binary_alloc(length, &image, …): the code goes behind a header."""
    length = call.argument(0) & 0xFFFF_FFFF
    if length > _LARGEST_CODE:
        return 0
    header = call.machine.allocate_code(length + _HEADER)
    call.machine.write(call.argument(1), (header + _HEADER).to_bytes(8, "little"))
    return header


def _allocate_pack(call: Call) -> int:
    """Answers bpf_jit_binary_pack_alloc(length, &image, alignment, &rw_header, &rw_image, …): the copy to write is the
    code itself here.
    """
    header = _allocate(call)
    if header:
        call.machine.write(call.argument(3), header.to_bytes(8, "little"))
        call.machine.write(call.argument(4), (header + _HEADER).to_bytes(8, "little"))
    return header


def jit_stubs() -> Mapping[str, Stub]:
    """Returns the stubs for functions that a JIT calls."""
    copies = copier(_LARGEST_CODE, Why.UNEXPECTED_FAULT)
    nothing = (
        "bpf_jit_binary_pack_finalize",
        "bpf_jit_binary_lock_ro",
        "bpf_jit_dump",
        "bpf_prog_fill_jited_linfo",
        "bpf_prog_jit_attempt_done",
    )
    return {
        "bpf_jit_binary_alloc": _allocate,
        "bpf_jit_binary_pack_alloc": _allocate_pack,
        **dict.fromkeys(("bpf_arch_text_copy", "text_poke_copy", "aarch64_insn_copy"), copies),
        **{name: (lambda _: 0) for name in nothing},
        **writing(),
    }


def compile_program(scene: Scene, kind: str, functions: Sequence[Function]) -> Compiled:
    """Returns a compiled program. If one of its functions tail-calls, all of them lead there. Raises EmulationError if
    the JIT fails.
    """
    environment = _environment(scene)
    several = len(functions) > 1
    calls = any(insn.code == TAIL_CALL for item in functions for insn in item.insns)
    members = {"tail_call_reachable": int(calls)}, {"is_func": int(several), "jited": 0}
    programs = [_program(scene, kind, index, item, *members) for index, item in enumerate(functions)]
    table = _describe(scene, programs, functions)
    for index, program in enumerate(programs):
        scene.objects.set(_aux(scene, program), "bpf_prog_aux", "main_prog_aux", _aux(scene, programs[0]))
        _run_jit(scene, environment, program, f"function {index}")
    entries = tuple(scene.objects.get(program, "bpf_prog", "bpf_func") for program in programs)
    if several:
        _link(scene, environment, programs, functions, entries)
    return Compiled(tuple(programs), entries, table is not None and is_compiled(scene, table))


def _describe(scene: Scene, programs: Sequence[int], functions: Sequence[Function]) -> int | None:
    """Returns the descriptor of the constant tail call of a program's functions, which all of them share as the
    verifier leaves them; None if they have none.
    """
    for program, function in zip(programs, functions, strict=True):
        if function.jump is not None:
            found = descriptor(scene, function.jump, {"aux": _aux(scene, program)})
            for other in programs:
                give(scene, _aux(scene, other), found)
            track(scene, function.jump.array, _aux(scene, program))
            return found
    return None


def _link(
    scene: Scene,
    environment: int | None,
    programs: Sequence[int],
    functions: Sequence[Function],
    entries: Sequence[int],
) -> None:
    """Compiles the functions again, with the addresses of those that they call. Raises EmulationError."""
    table = scene.machine.allocate(8 * len(programs))
    scene.machine.write(table, b"".join(program.to_bytes(8, "little") for program in programs))
    for index, (program, item) in enumerate(zip(programs, functions, strict=True)):
        _write(scene, program, _linked(scene, item, entries))
        aux = _aux(scene, program)
        for name, value in (("func", table), ("func_cnt", len(programs)), ("real_func_cnt", len(programs))):
            scene.objects.set(aux, "bpf_prog_aux", name, value)
        _run_jit(scene, environment, program, f"function {index}, the second time")
        again = scene.objects.get(program, "bpf_prog", "bpf_func")
        if again != entries[index]:
            raise EmulationError(Why.CONTROL, f"{JIT}() moves function {index} when it compiles it again")


def _aux(scene: Scene, program: int) -> int:
    return scene.objects.get(program, "bpf_prog", "aux")


def _program(
    scene: Scene, kind: str, index: int, function: Function, of_aux: Mapping[str, int], of_program: Mapping[str, int]
) -> int:
    code = encode(function.insns)
    aux = {"func_idx": index, "stack_depth": function.stack, **of_aux}
    program = scene.program(ProgramKind(kind, program={"len": len(code) // 8, **of_program}, aux=aux), room=len(code))
    _write(scene, program, function.insns)
    return program


def _write(scene: Scene, program: int, insns: Sequence[Insn]) -> None:
    scene.machine.write(program + scene.layout.place("bpf_prog", "insnsi"), encode(insns))


def _linked(scene: Scene, function: Function, entries: Sequence[int]) -> list[Insn]:
    """Returns the instructions with the distances of the functions that they call from the kernel's own base of calls."""
    base = scene.kernel.function(CALL_BASE)
    return [
        insn._replace(imm=(entries[insn.off] - base + (1 << 31)) % (1 << 32) - (1 << 31))
        if insn.code == _CALL and insn.src == _PSEUDO_CALL
        else insn
        for insn in function.insns
    ]


def _environment(scene: Scene) -> int | None:
    """Returns a verifier's state for a JIT that takes one (since v7.2); None for an older one."""
    parameters = scene.layout.parameters(JIT)
    if parameters is None:
        raise EmulationError(Why.NO_BTF, f"no prototype of {JIT}()")
    if len(parameters) == 1:
        return None
    room = {name: scene.machine.allocate(_ENVIRONMENT_ROOM) for name in ("insn_aux_data", "prog", "ops")}
    return scene.objects.new("bpf_verifier_env", room)


def _run_jit(scene: Scene, environment: int | None, program: int, what: str) -> None:
    arguments = (program,) if environment is None else (environment, program)
    run = scene.call(JIT, *arguments)
    if run.end is not End.RETURNED:
        raise EmulationError(Why.UNEXPECTED_FAULT, f"{JIT}() {run.describe()}, {what}")
    if run.value != program or not scene.objects.get(program, "bpf_prog", "jited"):
        raise EmulationError(Why.CONTROL, f"{JIT}() does not compile {what}")
