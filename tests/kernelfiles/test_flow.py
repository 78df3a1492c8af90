"""Jumps and paths in functions that are small enough to read: what can follow what, and what a path has found out."""

from __future__ import annotations

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.flow import Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import decode, flow_of
from tailcall_audit.analyzer.kernelfiles.isa.x86_64_paths import Fact, Path, Value, paths

BASE = 0xFFFFFFFF81000000


def flow(*code: str) -> Flow:
    insns = decode(Function("f", BASE, bytes.fromhex("".join(code))))
    assert insns is not None
    return flow_of(insns)


# call f; cmp byte ptr [rax + 0x92], 0; lea rdi, [rax + 8]; jne +3; xor eax, eax; ret; ret
LOOKS = ("e800000000", "80b89200000000", "488d7808", "7503", "31c0", "c3", "c3")
MEMBERS = {("call", "byte", 0x92): "is_extended"}


def test_a_compare_decides_the_jump_that_only_keeps_its_flags_apart() -> None:
    """In 6.18.5 a `lea` stands between the compare of prog_array_member_cnt and its jump."""
    found = flow(*LOOKS)
    assert found.when_equal(1) == (3, 4)
    assert found.when_different(1) == (3, 6)
    assert found.steps(3) == (4, 6)
    assert found.steps(5) == ()
    assert found.is_whole


def test_a_compare_whose_jump_was_taken_out_decides_nothing() -> None:
    found = flow(*LOOKS[:3], "9090", *LOOKS[4:])
    assert found.when_equal(1) is None
    assert found.decided_by(1) is None
    assert 7 not in found.reached()


def test_a_conditional_move_takes_notice_of_a_compare_too() -> None:
    found = flow("80b89200000000", "0f45c3", "c3")  # cmp; cmovne eax, ebx; ret
    assert found.decided_by(0) == 1
    assert found.when_equal(0) is None


def test_a_step_that_is_left_out_is_not_taken() -> None:
    found = flow(*LOOKS)
    assert found.reached() == {0, 1, 2, 3, 4, 5, 6}
    assert found.reached(without_steps={(3, 4)}) == {0, 1, 2, 3, 6}
    assert found.reached(without={4}) == {0, 1, 2, 3, 6}


def test_a_computed_jump_leaves_a_function_open() -> None:
    assert not flow("ffe0").is_whole  # jmp rax
    assert flow("e9fb0f0000").is_whole  # jmp out of the function: a tail call


def test_each_path_knows_what_it_found_and_returns() -> None:
    extended, program = Value("is_extended", 0), Value("call", 0)
    assert {_brief(path) for path in paths(flow(*LOOKS), MEMBERS) or ()} == {
        (Value("constant", 0), frozenset({Fact(extended, 0, "equal", True)}), frozenset()),
        (program, frozenset({Fact(extended, 0, "equal", False)}), frozenset()),
    }
    assert {path.passed for path in paths(flow(*LOOKS), MEMBERS) or ()} == {
        frozenset({0, 1, 2, 3, 4, 5}), frozenset({0, 1, 2, 3, 6}),
    }  # fmt: skip


def _brief(path: Path) -> tuple[Value | None, frozenset[Fact], frozenset[Value]]:
    return path.returned, path.facts, path.increased


def test_a_jump_that_is_always_taken_finds_nothing_out() -> None:
    found = paths(flow(*LOOKS[:3], "eb03", *LOOKS[4:]), MEMBERS)
    assert [_brief(path) for path in found or ()] == [(Value("call", 0), frozenset(), frozenset())]


def test_a_member_that_is_increased_is_remembered_and_a_call_changes_what_it_may() -> None:
    # call f; add qword ptr [rax + 0x98], 1; mov rbx, rax; call f; ret
    code = ("e800000000", "4883809800000001", "4889c3", "e800000000", "c3")
    found = paths(flow(*code), {("call", "qword", 0x98): "count"})
    counted = frozenset({Value("count", 0)})
    assert found == [Path(Value("call", 3), frozenset(), counted, frozenset(), frozenset(range(5)))]


def test_a_member_that_a_value_is_stored_in_is_not_increased() -> None:
    # call f; mov rcx, qword ptr [rax + 0x98]; inc rcx; mov qword ptr [rax + 0x98], rcx; ret
    code = ("e800000000", "488b8898000000", "48ffc1", "48898898000000", "c3")
    found = paths(flow(*code), {("call", "qword", 0x98): "count"})
    assert found == [
        Path(Value("call", 0), frozenset(), frozenset(), frozenset({Value("count", 0)}), frozenset(range(5)))
    ]
    # A comparison with it stores nothing.
    found = paths(flow(code[0], "4839 88 98000000".replace(" ", ""), code[4]), {("call", "qword", 0x98): "count"})
    assert [path.stored for path in found or ()] == [frozenset()]


def test_a_loop_ends_and_too_many_paths_are_none() -> None:
    assert [path.passed for path in paths(flow("75fe", "c3"), {}) or ()] == [{0, 1}]  # jne to itself, then the end
    many = [Insn("cmp", "eax, 1", 0)] + [Insn("jne", hex(number + 2), number + 1) for number in range(0, 40)]
    crossing = [item._replace(operands=hex(item.address + 2)) if item.mnemonic == "jne" else item for item in many]
    assert paths(flow_of([*crossing, Insn("nop", "", 41), Insn("ret", "", 42)]), {}) is None
