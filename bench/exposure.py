"""Measures how long large objects of a datapath take to read: ``python -m bench.exposure``.

This script makes the objects: 100 programs and 60 subprograms of about 1,000 instructions each, with tail calls, packet
accesses, spills and calls, relocations, BTF and a source line for every second instruction; 4 MB. Goal: under 2 s of
processor time. A second one is dense: 4 MB of instructions without a source line, three times as many. What the first
one exposes is measured, too: all programs tail-call into one prog array, which holds 32 of them.
"""

from __future__ import annotations

import random
import resource
import tempfile
from pathlib import Path

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.programs.objects import read_object
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, Program
from tailcall_audit.probes.kernel.instructions import Insn
from tests.programs.elf_writer import LOCAL, R_CALL, Definition, Elf, Line, Sym, Types, program, with_btf, with_maps

_PROGRAMS, _SUBPROGRAMS, _PARTS, _DENSE = 100, 60, 48, 200
_LIMIT = 2.0


def _part(
    assembly: Program, label: str, choice: random.Random, calls: list[tuple[int, str]], calls_subprograms: bool
) -> None:
    """Adds about a dozen instructions that are typical of a datapath. Records the slots that call a subprogram or load
    a map.
    """
    start = assembly.slots
    offset = 8 * choice.randrange(1, 60)
    assembly.load(4, 7, 6, 76).load(4, 8, 6, 80).mov(1, 7).alu(1, "+", 34).jump_if_reg(1, ">", 8, f"{label}-out")
    assembly.load(2, 2, 7, 12).alu(2, "&", 0xFF).store(8, 10, -offset, 2).jump_if(2, "==", 8, f"{label}-out")
    kind = choice.randrange(4)
    if kind == 0 and calls_subprograms:
        calls.append((start + 10, "call"))
        assembly.mov(1, 6).call("placeholder")
    elif kind == 1:
        calls.append((start + 10, "map"))
        assembly.mov(1, 6).map_fd(2, 0).set(3, choice.randrange(32)).helper(HELPER_TAIL_CALL)
    else:
        assembly.mov(2, 10).alu(2, "+", -offset).helper(choice.choice((5, 7, 8)))
    assembly.label(f"{label}-out").load(8, 3, 10, -offset).alu(3, ">>", 3)


def _length(insns: list[Insn]) -> int:
    return sum(2 if insn.code == 0x18 else 1 for insn in insns)


def datapath(
    programs: int = _PROGRAMS, subprograms: int = _SUBPROGRAMS, parts: int = _PARTS, *, has_lines: bool = True
) -> bytes:
    """Returns an object with these numbers of programs and subprograms, each with `parts` parts."""
    choice = random.Random(17)
    elf, types = Elf(), Types()
    functions: list[tuple[str, int, str, bool]] = []
    lines: list[Line] = []
    at = {".text": 0}
    for number in range(subprograms + programs):
        is_main = number >= subprograms
        section = f"tc/{number}" if is_main else ".text"
        name = f"program_{number}" if is_main else f"subprogram_{number}"
        assembly = Program().function(name).mov(6, 1).store_imm(8, 10, -480, 0)
        calls: list[tuple[int, str]] = []
        for part in range(parts):
            _part(assembly, str(part), choice, calls, is_main)
        assembly.set(0, 0).exit().label("placeholder")
        insns, found = program(assembly)
        start = at.get(section, 0)
        size = _length(insns)
        elf.code(
            section, [insn._replace(imm=-1) if insn.src == 1 and insn.code == 0x85 else insn for insn in insns], *found
        )
        for slot, kind in calls:
            below = (
                choice.randrange(max(0, number - 8) if not is_main else 0, number if not is_main else subprograms)
                if number
                else 0
            )
            symbol = "jumps" if kind == "map" else f"subprogram_{below}"
            elf.relocate(section, 8 * (start + slot), symbol, R_CALL if kind == "call" else 1)
        functions.append((section, 8 * start, name, True))
        lines += [
            Line(section, 8 * (start + slot), "datapath.c", f"\tstatement({slot}, {number}) of {name};", slot)
            for slot in (range(0, size, 2) if has_lines else ())
        ]
        at[section] = start + size
    with_maps(
        elf,
        types,
        [Definition("jumps", 3, 32, tuple((key, f"program_{subprograms + key}") for key in range(min(32, programs))))],
    )
    with_btf(elf, types, functions, lines)
    elf.section("license", b"GPL\0")
    elf.symbols.append(Sym("", ".text", 0, 0, 3, LOCAL))
    return elf.encode()


def _seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def measure(data: bytes, what: str) -> ProgramSet:
    """Prints the processor time for reading an object, and returns its programs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "datapath.o"
        path.write_bytes(data)
        before = _seconds()
        (found,) = read_object(str(path))
        seconds = _seconds() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    instructions = sum(len(item.instructions) for item in found.programs)
    print(
        f"{what}: {len(data) / 1e6:.1f} MB, {len(found.programs)} programs of {instructions:,} instructions with their"
        f" subprograms: {seconds:.2f} s of processor time (to reach: {_LIMIT:g} s), {memory:.0f} MB"
    )
    return found


def main() -> None:
    """Prints the processor time for reading each object, and for what the first one exposes."""
    found = measure(datapath(), "with source lines")
    catalog = shipped_catalog()
    for closed in (False, True):
        before = _seconds()
        expose(catalog, [found], closed=closed)
        world = "closed" if closed else "open"
        print(f"{world} world: what it exposes in {_seconds() - before:.2f} s of processor time")
    del found
    measure(datapath(parts=_DENSE, has_lines=False), "dense")


if __name__ == "__main__":
    main()
