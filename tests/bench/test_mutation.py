"""The maker of mutant kernels: code that decodes to what was wanted, in the place that was wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mutation import assemble
from bench.mutation.jumps import always, flips, never
from bench.mutation.search import with_constant
from bench.mutation.subject import Edit, Instruction, Mutation, MutationError, decode
from bench.mutation.undo import UNDONE
from tests.mutants import CASES, IN_6_12, Case, mutation, subject, undone

_PAIRS = [
    *zip(
        ["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi"],
        ["eax", "ecx", "edx", "ebx", "ebp", "esi", "edi"],
        strict=True,
    ),
    *((f"r{number}", f"r{number}d") for number in range(8, 16)),
]


@given(st.sampled_from(_PAIRS), st.sampled_from(_PAIRS), st.integers(min_value=1, max_value=0x7FFF))
def test_loads_decode_to_what_was_asked_for(target: tuple[str, str], base: tuple[str, str], displacement: int) -> None:
    where = f"[{base[0]} + {displacement if displacement < 10 else hex(displacement)}]"
    (wide,) = decode(assemble.load64(target[0], base[0], displacement), 0)
    assert (wide.mnemonic, wide.operands) == ("mov", f"{target[0]}, qword ptr {where}")
    (narrow,) = decode(assemble.load32(target[1], base[0], displacement), 0)
    assert (narrow.mnemonic, narrow.operands) == ("mov", f"{target[1]}, dword ptr {where}")


@given(st.sampled_from(_PAIRS))
def test_tests_decode_to_what_was_asked_for(register: tuple[str, str]) -> None:
    (found,) = decode(assemble.test64(register[0]), 0)
    assert (found.mnemonic, found.operands) == ("test", f"{register[0]}, {register[0]}")


@given(st.integers(min_value=-128, max_value=127), st.sampled_from([b"\x75", b"\x0f\x85"]))
def test_a_jump_that_always_jumps_leads_to_the_same_place(displacement: int, opcode: bytes) -> None:
    code = opcode + displacement.to_bytes(1 if len(opcode) == 1 else 4, "little", signed=True)
    (jump,) = decode(code, 0x1000)
    *padding, made = decode(always(jump), 0x1000)
    assert {item.mnemonic for item in padding} <= {"nop"}
    assert (made.mnemonic, made.operands) == ("jmp", jump.operands)
    assert {item.mnemonic for item in decode(never(jump), 0x1000)} == {"nop"}
    assert len(always(jump)) == len(never(jump)) == len(code)


def test_a_constant_of_another_value_is_not_replaced() -> None:
    (code,) = decode(bytes.fromhex("83c807"), 0)  # or eax, 7
    assert with_constant(code, 7, 0) == bytes.fromhex("83c800")
    with pytest.raises(MutationError, match="does not end in the constant 0x8"):
        with_constant(code, 8, 0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_fix_is_undone_by_a_few_bytes_in_the_function_it_is_in(case: Case) -> None:
    kernel, made = subject(case.image), mutation(case.image, case.lacks)
    code = kernel.functions([made.function])[made.function]
    for edit in made.edits:
        assert code.address <= edit.address < code.address + len(code.code)
    changed = kernel.mutant(made)
    different = sum(a != b for a, b in zip(kernel.elf, changed, strict=True)) if len(changed) == len(kernel.elf) else 0
    assert 1 <= different <= 13
    assert undone(case.lacks).slug


def test_every_fix_is_undone_somewhere() -> None:
    assert {item.lacks for item in UNDONE} == {case.lacks for case in CASES}


def test_the_flips_of_a_function_leave_all_of_its_other_code_alone() -> None:
    kernel = subject(IN_6_12)
    before = kernel.instructions("prog_fd_array_get_ptr")
    jumps = [item for item in before if item.is_conditional_jump]
    made = list(flips(kernel, kernel.functions(["prog_fd_array_get_ptr"])["prog_fd_array_get_ptr"]))
    assert len(made) == 2 * len(jumps) == 8
    for flip in made:
        ((address, old, new),) = flip.edits
        assert Instruction(address, old, *next(item[2:] for item in jumps if item.address == address)) in jumps
        assert len(old) == len(new)


def test_bytes_that_are_not_there_are_not_replaced() -> None:
    kernel = subject(IN_6_12)
    address = kernel.functions(["do_jit"])["do_jit"].address
    wrong = Mutation("x", "do_jit", (Edit(address, b"\xcc\xcc", b"\x90\x90"),), "nothing")
    with pytest.raises(MutationError, match="does not hold cccc"):
        kernel.mutant(wrong)
    outside = Mutation("x", "nowhere", (Edit(0x7000_0000_0000, b"\x90", b"\xcc"),), "nothing")
    with pytest.raises(MutationError, match="no segment"):
        kernel.mutant(outside)
