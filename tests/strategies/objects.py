"""BPF objects: whole ones of several shapes, and what happens to them on their way; bpftool's answers; executables with
objects within.
"""

from __future__ import annotations

import json

from hypothesis import strategies as st

from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, Program
from tailcall_audit.probes.kernel.instructions import Insn, insns_of
from tests.programs.elf_writer import (
    LOCAL,
    R_CALL,
    Definition,
    Elf,
    Line,
    Sym,
    Types,
    encode,
    program,
    with_btf,
    with_maps,
)
from tests.strategies.case import Case
from tests.strategies.mutate import draw_mutated

_WORDS = (
    b"\x7fELF\x02\x01\x01",
    b"\x9f\xeb\x01\0\x18\0\0\0",
    b".text\0",
    b".maps\0",
    b"\x85\0\0\0\x0c\0\0\0",
    b"\x85\x10\0\0\xff\xff\xff\xff",
    b"\x18\x12\0\0",
    b"\x95" + bytes(7),
    b"\x05\0\xff\xff" + bytes(4),
    b"\xf7\0\x01\0\0\0",
)
_CODES = bytes.fromhex(
    "1885950515 1d1625b5c5 61697179627a637bdbc3 070f171f576777b7bfb4bc 308d0de506dc873f".replace(" ", "")
)
"""Wide loads, calls, exits, jumps, loads and stores, arithmetic, and what is rare or unknown."""
_SECTIONS = (
    "tc",
    "xdp",
    "?fentry/f",
    "freplace",
    "kprobe.multi/a*",
    "struct_ops/x",
    "7/3",
    "cgroup/connect4",
    "",
    "mine/x",
)


@st.composite
def _instructions(draw: st.DrawFn) -> list[Insn]:
    """Instructions that mean something, in an order that may not."""
    register = st.integers(0, 10)
    short, long = st.integers(-12, 12), st.sampled_from((0, 1, 2, 12, 93, 181, -1, -(1 << 31), (1 << 31) - 1))
    codes = st.sampled_from(_CODES)
    made = st.builds(Insn, codes, register, register, short, long)
    return draw(st.lists(made, min_size=1, max_size=40))


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An object with a program, a subprogram, maps, BTF and source lines, as far as they are drawn."""
    elf, types = Elf(draw(st.booleans())), Types()
    section = draw(st.sampled_from(_SECTIONS))
    if draw(st.booleans()):
        insns = draw(_instructions())
        size = sum(2 if insn.code == 0x18 else 1 for insn in insns)
        elf.code(section, insns, ("main", 0, size))
    else:
        assembly = Program().function("main").mov(6, 1).set(3, draw(st.integers(-2, 40))).map_fd(2, 0)
        insns, functions = program(assembly.helper(HELPER_TAIL_CALL).mov(1, 6).call("main").set(0, 0).exit())
        elf.code(section, insns, *functions)
    elf.code(".text", insns_of(Program().function("sub").set(0, 1).exit()), ("sub", 0, 2), local=draw(st.booleans()))
    elf.symbols += [Sym("bpf_rcu_read_lock", None), Sym("", ".text", 0, 0, 3, LOCAL)]
    if draw(st.booleans()):
        with_maps(elf, types, [Definition("jumps", draw(st.integers(0, 40)), 4, ((draw(st.integers(0, 9)), "main"),))])
        elf.relocate(section, 8 * draw(st.integers(0, 6)), "jumps")
    if draw(st.booleans()):
        elf.section(draw(st.sampled_from((".rodata", ".data.x", "maps"))), bytes(draw(st.integers(0, 80))))
    elf.relocate(section, 8 * draw(st.integers(0, 8)), draw(st.sampled_from(("sub", "", "bpf_rcu_read_lock"))), R_CALL)
    if draw(st.booleans()):
        with_btf(
            elf, types, [(section, 0, "main", True), (".text", 0, "sub", False)], [Line(section, 0, "a.c", "x;", 1)]
        )
    return elf.encode()


@st.composite
def object_cases(draw: st.DrawFn) -> Case:
    """An object, broken, and alone or within something else."""
    data = draw_mutated(draw, draw(objects()), _WORDS, objects())
    before = draw(st.sampled_from((b"", b"", b"\x7fELF\x02\x01\x01" + bytes(80), bytes(3))))
    return {"prog.bpf.o": before + data}


@st.composite
def bpftool_cases(draw: st.DrawFn) -> Case:
    """The answers of bpftool in files, of which one is broken."""
    insns = draw(_instructions())
    raw = b"".join(map(encode, insns))
    rows = [
        {
            "disasm": f"({insn.code:02x}) call bpf_loop#{insn.imm}",
            "opcodes": {
                "code": hex(insn.code), "src_reg": hex(insn.src), "dst_reg": hex(insn.dst),
                "off": [hex(byte) for byte in encode(insn)[2:4]], "imm": [hex(byte) for byte in encode(insn)[4:16]],
            },
        }
        for insn in insns
    ]  # fmt: skip
    slots = [{"key": ["0x00"] * 4, "value": ["0x01", "0x00", "0x00", "0x00"]}]
    progs = [
        {"id": 1, "type": draw(st.sampled_from(("xdp", "tracing", "type 99"))), "tag": "", "map_ids": [2], "btf_id": 3}
    ]
    answers: dict[str, object] = {
        "progs.json": progs,
        "maps.json": [{"id": 2, "type": "prog_array", "max_entries": 4, "bytes_key": 4}],
        "map-2.json": slots,
        "links.json": [{"id": 1, "type": "tracing", "prog_id": 1, "target_obj_id": 1, "target_btf_id": 7}],
        "xlated-1.json": rows,
        "btf-3.json": {"types": [{"id": 7, "kind": "FUNC", "name": "main", "linkage": "global"}]},
        "all.json": [{"command": ["prog", "dump", "xlated", "id", "1"], "output": rows}],
    }
    name = draw(st.sampled_from((*answers, "raw-1")))
    data = raw if name == "raw-1" else json.dumps(answers[name]).encode()
    words = (b'"id"', b"[", b"{", b"null", b"-1", b"1e999", b'"0x', b'"opcodes"', b"true")
    rest = {other: json.dumps(answers[other]).encode() for other in answers if other != name and draw(st.booleans())}
    return {
        f"answers/{name}": draw_mutated(draw, data, words),
        **{f"answers/{other}": text for other, text in rest.items()},
    }
