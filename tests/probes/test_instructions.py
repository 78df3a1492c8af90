"""The assembler of BPF instructions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.probes.kernel.assembler import PSEUDO_FUNC, AssemblyError, Program
from tailcall_audit.probes.kernel.instructions import Insn, decode, encode, insns_of

NARROW = st.builds(
    Insn,
    st.integers(0, 255).filter(lambda code: code != 0x18),
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
WIDE = st.builds(
    Insn,
    st.just(0x18),
    st.integers(0, 15),
    st.integers(0, 15),
    st.just(0),
    st.integers(-(1 << 63), (1 << 63) - 1),
)


@pytest.mark.parametrize("order", ["little", "big"])
@given(insns=st.lists(NARROW | WIDE, max_size=20))
def test_what_is_encoded_is_decoded_again(order: str, insns: list[Insn]) -> None:
    data = encode(insns, order)
    assert decode(data, order) == insns
    assert len(data) == 8 * sum(2 if insn.code == 0x18 else 1 for insn in insns)


@given(st.binary(max_size=200))
def test_bytes_decode_or_are_refused_as_cut_off(data: bytes) -> None:
    try:
        decode(data)
    except AssemblyError as error:
        assert "missing" in str(error) or "no whole number" in str(error)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        # The bytes are those of clang 14 -target bpf for: r0 = 0; exit
        (Program().set(0, 0).exit(), "b7000000000000009500000000000000"),
        # r6 = r1; *(u64 *)(r10 - 8) = r6
        (Program().mov(6, 1).store(8, 10, -8, 6), "bf160000000000007b6af8ff00000000"),
        # r2 = *(u32 *)(r1 + 76)
        (Program().load(4, 2, 1, 76), "61124c0000000000"),
        # if r2 > 60 goto +1; goto -1
        (Program().label("a").jump_if(2, ">", 60, "b").label("b").jump("b"), "250200003c0000000500ffff00000000"),
        # call 12 (bpf_tail_call)
        (Program().helper(12), "850000000c000000"),
        # r1 = 7 ll with src_reg 1 (a map)
        (Program().map_fd(1, 7), "18110000070000000000000000000000"),
        # r1 = the value of map 7, plus 8
        (Program().map_value(1, 7, 8), "18210000070000000000000008000000"),
    ],
)
def test_known_encodings(program: Program, expected: str) -> None:
    assert program.encode().hex() == expected


@pytest.mark.parametrize(
    ("insn", "expected"),
    [
        # Those of an s390x kernel, whose bit fields begin at the other end: r6 = r1; if r2 > 60 goto +1
        (Insn(0xBF, 6, 1), "bf61000000000000"),
        (Insn(0x25, 2, 0, 1, 60), "252000010000003c"),
        # r1 = the value of map 7, plus 8
        (Insn(0x18, 1, 2, 0, 8 << 32 | 7), "18120000000000070000000000000008"),
    ],
)
def test_known_encodings_of_big_endian_machines(insn: Insn, expected: str) -> None:
    assert encode([insn], "big").hex() == expected


def test_calls_and_functions_count_wide_instructions_as_two() -> None:
    program = Program().function("entry").map_fd(1, 3).call("sub").exit().function("sub").set(0, 1).exit()
    assert program.functions == {"entry": 0, "sub": 4}
    assert insns_of(program)[1] == Insn(0x85, 0, 1, 0, 1)


def test_a_function_address_is_relative() -> None:
    program = Program().function("entry").function_address(2, "callback").exit().function("callback").exit()
    assert insns_of(program)[0] == Insn(0x18, 2, PSEUDO_FUNC, 0, 2)


@pytest.mark.parametrize(
    "program",
    [
        lambda: insns_of(Program().jump("nowhere")),
        lambda: Program().label("a").label("a"),
        lambda: Program().set(0, 1 << 31).encode(),
        lambda: Program().load(8, 0, 1, 1 << 15).encode(),
        lambda: encode([Insn(0x18, 0, 0, 0, 1 << 64)]),
        lambda: encode([Insn(256)]),
        lambda: encode([Insn(0xB7, 16)]),
    ],
)
def test_labels_and_ranges_that_cannot_be_are_refused(program: object) -> None:
    with pytest.raises(AssemblyError):
        program()  # type: ignore[operator]


def test_a_jump_too_far_is_refused() -> None:
    program = Program().jump("end")
    for _ in range(1 << 15):
        program.exit()
    with pytest.raises(AssemblyError, match="does not fit"):
        program.label("end").exit().encode()
