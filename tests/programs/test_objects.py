"""Objects made by hand: what is read is what was written."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.objects import read_object, read_object_bytes
from tailcall_audit.analyzer.programs.types import CallSite, Function, Reach, Slot
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, Program
from tailcall_audit.probes.kernel.instructions import insns_of
from tests.programs.elf_writer import LOCAL, R_CALL, Definition, Elf, Line, Sym, Types, program, with_btf, with_maps

PROG_ARRAY = 3


def tail_caller(name: str, key: int = 0) -> Program:
    """A program that tail-calls a slot of the map that a relocation at byte 8 names."""
    assembly = Program().function(name).set(3, key).map_fd(2, 0).helper(HELPER_TAIL_CALL)
    return assembly.set(0, 0).exit()


def with_program(elf: Elf, section: str, assembly: Program, local: bool = False) -> Elf:
    insns, functions = program(assembly)
    return elf.code(section, insns, *functions, local=local)


def tail_calling(big_endian: bool = False) -> Elf:
    """Two programs in one section, of which the second tail-calls the first by an initialiser."""
    elf, types = Elf(big_endian), Types()
    with_program(elf, "tc", tail_caller("first", 1))
    with_program(elf, "tc", tail_caller("second", 0))
    with_maps(elf, types, [Definition("jumps", PROG_ARRAY, 2, ((0, "first"),))])
    elf.relocate("tc", 8, "jumps").relocate("tc", 56, "jumps")
    elf.section("license", b"Dual BSD/GPL\0")
    lines = [Line("tc", 0, "a.c", "\tint x;", 7), Line("tc", 72, "a.c", "call();", 9)]
    with_btf(elf, types, [("tc", 0, "first", True), ("tc", 48, "second", True)], lines)
    return elf


@pytest.mark.parametrize("big_endian", [False, True])
def test_two_programs_in_one_section(big_endian: bool) -> None:
    found = read_object_bytes(tail_calling(big_endian).encode(), "a.o")
    assert (found.label, found.big_endian, found.notes) == ("a.o", big_endian, ())
    assert [item.key for item in found.programs] == ["first", "second"]
    first, second = found.programs
    assert [(item.map, item.key, item.locks) for item in first.functions[0].tail_calls] == [("jumps", 1, frozenset())]
    assert [(item.instruction, item.key) for item in second.functions[0].tail_calls] == [(2, 0)]
    (jumps,) = found.maps
    assert (jumps.name, jumps.type, jumps.max_entries, jumps.slots) == ("jumps", "prog_array", 2, (Slot(0, "first"),))
    assert (jumps.slots_are_all, jumps.updated_by_programs) == (False, False)
    assert (first.license_gpl, first.source, first.functions[0].is_global) == (True, "a.o, section tc", True)
    line = second.line_of(2)
    assert line == ("a.c", 9, "call();")
    assert first.lines == {0: ("a.c", 7, "int x;")}


def test_subprograms_are_put_behind_their_program_in_the_order_of_libbpf() -> None:
    elf = Elf()
    text = (
        Program().function("one").call("two").exit().function("two").set(0, 2).exit().function("three").set(0, 3).exit()
    )
    with_program(elf, ".text", text)
    main = Program().function("main").helper(7).call("placeholder").call("placeholder").exit().label("placeholder")
    insns = insns_of(main)
    insns[1], insns[2] = (item._replace(imm=-1) for item in insns[1:3])
    elf.code("socket", insns, ("main", 0, 4))
    elf.relocate("socket", 8, "three", R_CALL).relocate("socket", 16, "one", R_CALL)
    (found,) = read_object_bytes(elf.encode(), "a.o").programs
    assert (found.key, found.type) == ("main", "socket_filter")
    assert [(item.name, item.start, item.end) for item in found.functions] == [
        ("main", 0, 4),
        ("three", 4, 6),
        ("one", 6, 8),
        ("two", 8, 10),
    ]
    assert found.functions[0].calls == (CallSite(1, "three", Reach.LIVE), CallSite(2, "one", Reach.LIVE))
    assert found.functions[0].helpers[0].helper == 7
    assert found.functions[2].calls == (CallSite(6, "two", Reach.LIVE),)
    # As the kernel gets them: distances from the next instruction.
    assert [found.instructions[index].imm for index in (1, 2, 6)] == [2, 3, 1]


def test_a_call_of_a_static_function_names_its_section() -> None:
    elf = Elf()
    with_program(elf, ".text", Program().function("a").set(0, 1).exit().function("b").set(0, 2).exit(), local=True)
    elf.symbols.append(Sym("", ".text", 0, 0, 3, LOCAL))
    insns = insns_of(Program().function("main").call("there").label("there").exit())
    insns[0] = insns[0]._replace(imm=1)  # the third instruction of the section
    elf.code("xdp", insns, ("main", 0, 2)).relocate("xdp", 0, "", R_CALL)
    (found,) = read_object_bytes(elf.encode(), "a.o").programs
    assert found.functions[0].calls == (CallSite(0, "b", Reach.LIVE),)
    assert found.functions[0].is_global is None  # no BTF says it


def test_a_callback_is_no_call() -> None:
    elf = Elf()
    with_program(elf, ".text", Program().function("each").set(0, 0).exit(), local=True)
    main = Program().function("main").set(1, 4).map_fd(2, 0).set(3, 0).set(4, 0).helper(181).exit()
    with_program(elf, "tc", main)
    elf.relocate("tc", 8, "each")
    (found,) = read_object_bytes(elf.encode(), "a.o").programs
    main_function = found.functions[0]
    assert (main_function.calls, [item.callee for item in main_function.callbacks]) == ((), ["each"])
    assert [(item.instruction, item.helper) for item in main_function.callbacks] == [(4, 181)]
    assert found.instructions[1].src == 4  # BPF_PSEUDO_FUNC


def test_kernel_functions_are_named() -> None:
    elf = Elf()
    insns = insns_of(Program().function("main").call("main").exit())
    elf.code("tc", [insns[0]._replace(imm=-1), insns[1]], ("main", 0, 2))
    elf.symbols.append(Sym("bpf_rcu_read_lock", None))
    elf.relocate("tc", 0, "bpf_rcu_read_lock", R_CALL)
    (found,) = read_object_bytes(elf.encode(), "a.o").programs
    assert [(item.helper, item.kfunc) for item in found.functions[0].helpers] == [(None, "bpf_rcu_read_lock")]


def test_legacy_maps_and_the_slots_that_iproute2_fills() -> None:
    elf = Elf()
    with_program(elf, "classifier", tail_caller("entry", 3))
    with_program(elf, "7/3", tail_caller("callee", 0))
    row = b"".join(number.to_bytes(4, "little") for number in (PROG_ARRAY, 4, 4, 8, 0, 7, 0, 0, 0))
    elf.section("maps", row).symbols.append(Sym("jumps", "maps", 0, 36, 1))
    elf.relocate("classifier", 8, "jumps").relocate("7/3", 8, "jumps")
    found = read_object_bytes(elf.encode(), "a.o")
    (jumps,) = found.maps
    assert (jumps.type, jumps.max_entries, jumps.slots) == ("prog_array", 8, (Slot(3, "callee"),))
    assert [(item.key, item.type) for item in found.programs] == [("entry", "sched_cls"), ("callee", None)]


def test_functions_of_stripped_objects_are_those_of_btf() -> None:
    elf = tail_calling()
    elf.symbols, elf.relocations = [], {}
    found = read_object_bytes(elf.encode(), "a.o")
    assert [item.key for item in found.programs] == ["first", "second"]
    assert [item.map for program in found.programs for item in program.functions[0].tail_calls] == [None, None]
    assert "it has no symbols" in found.notes[0]


def test_functions_of_linked_objects_may_share_a_name() -> None:
    elf = Elf()
    text = Program().function("a").set(0, 1).exit().function("b").set(0, 2).exit()
    insns, _ = program(text)
    elf.code(".text", insns, ("same", 0, 2), ("same", 2, 4), local=True)
    elf.symbols.append(Sym("", ".text", 0, 0, 3, LOCAL))
    main = insns_of(Program().function("main").call("x").call("x").exit().label("x"))
    elf.code("tc", [main[0]._replace(imm=-1), main[1]._replace(imm=1), main[2]], ("main", 0, 3))
    elf.relocate("tc", 0, "", R_CALL).relocate("tc", 8, "", R_CALL)
    (found,) = read_object_bytes(elf.encode(), "a.o").programs
    assert [item.name for item in found.functions] == ["main", "same", "same@5"]
    assert [item.callee for item in found.functions[0].calls] == ["same", "same@5"]


def only(assembly: Program, section: str = "tc", elf: Elf | None = None) -> Function:
    found = read_object_bytes(with_program(elf or Elf(), section, assembly).encode(), "a.o")
    return found.programs[0].functions[0]


def test_the_stack_is_as_deep_as_the_deepest_use() -> None:
    assert only(Program().function("f").store_imm(1, 10, -5, 0).set(0, 0).exit()).stack == 5
    handed = Program().function("f").mov(2, 10).alu(2, "+", -24).helper(1).set(0, 0).exit()
    assert only(handed).stack == 24
    computed = Program().function("f").mov(2, 10).alu(2, "+", -24).set(2, 0).set(0, 0).exit()
    assert only(computed).stack == 0
    varying = Program().function("f").helper(7).mov(2, 10).alu_reg(2, "+", 0).store_imm(8, 2, -8, 0).set(0, 0).exit()
    assert only(varying).stack is None


def test_a_key_is_followed_through_spills_branches_and_comparisons() -> None:
    spilled = Program().function("f").set(6, 4).store(8, 10, -8, 6).helper(7).load(8, 3, 10, -8).helper(12).exit()
    assert [item.key for item in only(spilled).tail_calls] == [4]
    both = Program().function("f").helper(7).set(3, 1).jump_if(0, "==", 0, "to").set(3, 2).label("to").helper(12).exit()
    (call,) = only(both).tail_calls
    assert (call.key, call.key_may_be_constant) == (None, False)
    same = Program().function("f").helper(7).set(3, 2).jump_if(0, "==", 0, "to").set(3, 2).label("to").helper(12).exit()
    assert [item.key for item in only(same).tail_calls] == [2]
    compared = Program().function("f").helper(7).mov(3, 0).jump_if(0, "!=", 5, "out").helper(12).label("out").exit()
    assert [item.key for item in only(compared).tail_calls] == [5]
    ranged = Program().function("f").helper(7).mov(3, 0).jump_if(0, ">", 1, "out").jump_if(0, "<", 1, "out")
    assert [item.key for item in only(ranged.helper(12).label("out").exit()).tail_calls] == [1]


def test_a_loop_counter_is_no_constant() -> None:
    loop = Program().function("f").set(6, 0).label("again").mov(3, 6).helper(12).alu(6, "+", 1)
    (call,) = only(loop.jump_if(6, "<", 9, "again").set(0, 0).exit()).tail_calls
    assert (call.key, call.reach) == (None, Reach.LIVE)


def test_a_branch_on_constant_data_may_be_dead() -> None:
    elf = Elf().section(".rodata", bytes(8))
    elf.symbols.append(Sym("debug", ".rodata", 0, 4, 1))
    assembly = Program().function("f").map_fd(1, 0).load(4, 1, 1, 0).jump_if(1, "==", 0, "out").helper(12)
    with_program(elf, "tc", assembly.label("out").helper(5).exit())
    elf.relocate("tc", 0, "debug")
    main = read_object_bytes(elf.encode(), "a.o").programs[0].functions[0]
    assert [item.reach for item in main.tail_calls] == [Reach.MAYBE_DEAD]
    assert [(item.helper, item.reach) for item in main.helpers] == [(5, Reach.LIVE)]


def test_both_ways_of_a_constant_branch_lead_to_what_follows() -> None:
    elf = Elf().section(".rodata", bytes(8))
    elf.symbols.append(Sym("debug", ".rodata", 0, 4, 1))
    assembly = Program().function("f").map_fd(1, 0).load(4, 1, 1, 0).jump_if(1, "==", 0, "other").helper(5).jump("out")
    with_program(elf, "tc", assembly.label("other").helper(7).label("out").helper(12).exit())
    elf.relocate("tc", 0, "debug")
    main = read_object_bytes(elf.encode(), "a.o").programs[0].functions[0]
    assert [item.reach for item in main.tail_calls] == [Reach.LIVE]
    assert [item.reach for item in main.helpers] == [Reach.MAYBE_DEAD, Reach.MAYBE_DEAD]


# The width and the offsets of data and data_end, as a C compiler lays out the structs of include/uapi/linux/bpf.h.
_SK_BUFF, _XDP_MD, _SOCK_OPS = (4, 76, 80), (4, 0, 4), (8, 192, 200)


def packet_reader(*, after: bool, section: str, context: tuple[int, int, int]) -> Function:
    """Reads the packet, calls, and reads it again by the old pointer, or only before."""
    width, data, end = context
    elf = Elf()
    assembly = Program().function("main").mov(9, 1).load(width, 6, 1, data).load(width, 7, 1, end)
    assembly.mov(8, 6).alu(8, "+", 8)
    assembly.jump_if_reg(8, ">", 7, "out").load(1, 0, 6, 0).mov(1, 9).call("sub")
    if after:
        assembly.load(1, 0, 6, 1)
    assembly.label("out").set(0, 0).exit().function("sub").set(3, 0).map_fd(2, 0).helper(12).set(0, 0).exit()
    with_program(elf, section, assembly, local=False)
    elf.symbols[1] = elf.symbols[1]._replace(binding=LOCAL)
    return read_object_bytes(elf.encode(), "a.o").programs[0].functions[0]


@pytest.mark.parametrize(
    ("section", "context"),
    [
        ("tc", _SK_BUFF),
        ("xdp", _XDP_MD),
        ("sockops", _SOCK_OPS),
        ("freplace/of_any_type", _SK_BUFF),
        ("freplace/of_any_type", _XDP_MD),
        ("freplace/of_any_type", _SOCK_OPS),
    ],
)
def test_a_packet_pointer_that_is_used_behind_a_call_is_noted(section: str, context: tuple[int, int, int]) -> None:
    found = packet_reader(after=True, section=section, context=context)
    assert found.packet_across_calls == (found.calls[0].instruction,)
    assert packet_reader(after=False, section=section, context=context).packet_across_calls == ()


def kfuncs(assembly: Program, names: list[str], section: str = "tc") -> Function:
    """A program whose calls with `src` 1 are of these kfuncs in their order."""
    elf = Elf()
    insns, functions = program(assembly)
    calls = [index for index, insn in enumerate(insns) if insn.code == 0x85 and insn.src == 1]
    slots = [sum(2 if item.code == 0x18 else 1 for item in insns[:index]) for index in calls]
    elf.code(section, insns, *functions)
    for slot, name in zip(slots, names, strict=True):
        if all(item.name != name for item in elf.symbols):
            elf.symbols.append(Sym(name, None))
        elf.relocate(section, 8 * slot, name, R_CALL)
    return read_object_bytes(elf.encode(), "a.o").programs[0].functions[0]


def test_locks_that_are_held_at_a_tail_call_are_named() -> None:
    held = Program().function("f").call("f").helper(12).call("f").exit()
    names = ["bpf_rcu_read_lock", "bpf_rcu_read_unlock"]
    assert [item.locks for item in kfuncs(held, names).tail_calls] == [frozenset(("rcu",))]
    before = Program().function("f").call("f").call("f").helper(12).exit()
    assert [item.locks for item in kfuncs(before, names).tail_calls] == [frozenset()]
    assert [item.locks for item in kfuncs(before, ["bpf_preempt_disable", "bpf_local_irq_save___mine"]).tail_calls] == [
        frozenset(("preempt", "irq"))
    ]
    maybe = Program().function("f").helper(7).jump_if(0, "==", 0, "to").call("f").label("to").helper(12).exit()
    assert [item.locks for item in kfuncs(maybe, ["bpf_preempt_disable"]).tail_calls] == [None]
    spin = Program().function("f").helper(93).helper(12).helper(94).exit()
    assert [item.locks for item in kfuncs(spin, []).tail_calls] == [frozenset(("spin lock",))]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "a broken ELF file"),
        (Elf(machine=62).encode(), "an ELF file for X86_64, not BPF"),
        (Elf(kind=2).encode(), "no relocatable object"),
        (Elf().encode(), "no program and no map"),
        (tail_calling().encode()[:700], "a broken ELF file"),
    ],
)
def test_what_is_no_object_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ProgramsError, match=reason):
        read_object_bytes(data, "a.o")


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(AuditError, match=r"^/nowhere/a\.o: cannot read: No such file or directory"):
        read_object("/nowhere/a.o")
