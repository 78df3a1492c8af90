"""Every call ends within its budget, with a result or a reason."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.emulator.calls import Budget, End, Patch
from tailcall_audit.analyzer.emulator.isa import isa_of
from tailcall_audit.analyzer.emulator.machine import Machine
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.stubs import allocator, returns
from tests.emulator.kernels import DATA, TEXT, tiny_kernel

LOOP = bytes.fromhex("ebfe")
RETURN_ARGUMENT = bytes.fromhex("4889f8c3")  # mov rax, rdi; ret
READ_POINTER = bytes.fromhex("8b4704c3")  # mov eax, [rdi + 4]; ret


def machine(code: bytes, budget: Budget | None = None, patches: tuple[Patch, ...] = ()) -> Machine:
    return Machine(tiny_kernel(code), isa_of("x86_64"), budget, patches)


def test_a_function_returns_its_argument() -> None:
    run = machine(RETURN_ARGUMENT).call(TEXT, 0x1234_5678_9ABC_DEF0)
    assert (run.end, run.value) == (End.RETURNED, 0x1234_5678_9ABC_DEF0)


def test_the_seventh_argument_is_on_the_stack() -> None:
    code = bytes.fromhex("488b442408c3")  # mov rax, [rsp + 8]; ret
    assert machine(code).call(TEXT, 1, 2, 3, 4, 5, 6, 7).value == 7


def test_a_null_pointer_faults_although_per_cpu_data_is_linked_at_0() -> None:
    run = machine(READ_POINTER).call(TEXT, 0)
    assert (run.end, run.touched, run.access) == (End.FAULT, 4, "reads")


def test_a_wild_jump_faults_where_it_leads() -> None:
    run = machine(bytes.fromhex("48b8ef0dadde00000000ffe0")).call(TEXT)  # mov rax, 0xdead0def; jmp rax
    assert (run.end, run.touched, run.access) == (End.FAULT, 0xDEAD0DEF, "jumps to")


def test_a_loop_ends_with_its_instructions() -> None:
    with pytest.raises(EmulationError) as caught:
        machine(LOOP, Budget(instructions=10_000)).call(TEXT)
    assert caught.value.why is Why.INSTRUCTIONS


def test_a_loop_ends_with_its_time() -> None:
    with pytest.raises(EmulationError) as caught:
        machine(LOOP, Budget(instructions=1 << 40, seconds=0.2)).call(TEXT)
    assert caught.value.why is Why.TIME


def test_endless_recursion_runs_off_the_stack() -> None:
    run = machine(bytes.fromhex("e8fbffffff")).call(TEXT)  # call itself
    assert (run.end, run.access) == (End.FAULT, "writes")


def test_code_that_writes_to_itself_faults() -> None:
    code = bytes.fromhex("c6051b0000009090c3")  # mov byte [rip + 0x1b], 0x90; nop; ret
    run = machine(code).call(TEXT)
    assert (run.end, run.access) == (End.FAULT, "writes")
    assert TEXT <= run.touched < TEXT + 0x100


@pytest.mark.parametrize("code", ["0f0b", "cc", "f4", "0f05", "cd80", "0f01f8", "06"])
def test_traps_and_instructions_that_do_nothing_for_a_function_end_it(code: str) -> None:
    try:
        run = machine(bytes.fromhex(code)).call(TEXT)
    except EmulationError as error:
        assert error.why in (Why.UNEXPECTED_FAULT, Why.INSTRUCTIONS)
    else:
        assert run.end in (End.TRAP, End.FAULT)


def test_memory_has_a_budget() -> None:
    found = machine(RETURN_ARGUMENT, Budget(memory=8 << 20))
    with pytest.raises(EmulationError) as caught:
        for _ in range(100):
            found.allocate(1 << 20)
    assert caught.value.why is Why.MEMORY


def test_what_runs_over_the_end_of_an_object_faults() -> None:
    found = machine(bytes.fromhex("8b87001000 00c3".replace(" ", "")))  # mov eax, [rdi + 0x1000]; ret
    run = found.call(TEXT, found.allocate(64))
    assert run.end is End.FAULT


def test_a_stub_answers_a_call_and_the_caller_goes_on() -> None:
    code = bytes.fromhex("e81b00000048ffc0c3").ljust(0x20, b"\xcc") + LOOP  # call TEXT + 0x20; inc rax; ret
    found = machine(code)
    found.answer({TEXT + 0x20: ("stub", returns(41))})
    assert found.call(TEXT).value == 42


def test_an_allocator_gives_zeroed_memory_of_the_size_asked_for_and_none_beyond_all_bounds() -> None:
    code = bytes.fromhex("e81b000000c3").ljust(0x20, b"\xcc") + LOOP
    found = machine(code)
    found.answer({TEXT + 0x20: ("kmalloc", allocator(0))})
    address = found.call(TEXT, 5000).value
    assert found.read(address, 8192) == bytes(8192)
    assert found.call(TEXT, 1 << 30).value == 0


def test_a_stub_that_fails_ends_the_run_with_its_own_error() -> None:
    def broken(_: object) -> int:
        raise EmulationError(Why.CONTROL, "as meant")

    found = machine(bytes.fromhex("e81b000000c3").ljust(0x20, b"\xcc") + LOOP)
    found.answer({TEXT + 0x20: ("broken", broken)})
    with pytest.raises(EmulationError, match="as meant"):
        found.call(TEXT)


def test_a_patch_changes_the_code_of_one_machine_only() -> None:
    code = bytes.fromhex("31c0c3")  # xor eax, eax; ret
    patch = Patch(TEXT, bytes.fromhex("b001"), "a test")  # mov al, 1
    changed = machine(code, patches=(patch,))
    assert changed.call(TEXT).value & 0xFF == 1
    assert machine(code).call(TEXT).value == 0


def test_data_is_written_in_one_machine_only() -> None:
    code = bytes.fromhex("48c7c00000008248ff00488b00c3")  # mov rax, DATA; inc qword [rax]; mov rax, [rax]; ret
    assert DATA == 0xFFFF_FFFF_8200_0000
    found = machine(code)
    assert [found.call(TEXT).value, found.call(TEXT).value] == [1, 2]
    assert machine(code).call(TEXT).value == 1


def test_all_code_that_was_run_is_remembered() -> None:
    found = machine(bytes.fromhex("eb0ecccccccccccccccccccccccccccc31c0c3"))  # jmp +14; …; xor eax, eax; ret
    found.call(TEXT)
    assert {start for start, _ in found.executed} == {TEXT, TEXT + 0x10}
