"""BTF, written and read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.probes.kernel import btf_format as btf
from tailcall_audit.probes.kernel.btf import Btf, BtfError, Member
from tailcall_audit.probes.kernel.btf_format import FUNC, STRUCT
from tailcall_audit.probes.kernel.btf_writer import Writer

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


@pytest.mark.parametrize("order", ["<", ">"])
@given(
    members=st.lists(st.tuples(NAMES, st.integers(0, 1 << 20)), max_size=20),
    values=st.dictionaries(NAMES, st.integers(-(1 << 31), (1 << 31) - 1), max_size=20),
    parameters=st.lists(NAMES, max_size=8),
)
def test_what_is_written_is_read_again(
    order: str, members: list[tuple[str, int]], values: dict[str, int], parameters: list[str]
) -> None:
    writer = Writer(order)
    number = writer.integer("int", 4)
    record = writer.struct("record", 64, [(name, number, offset) for name, offset in members])
    enum = writer.enum("choice", values)
    prototype = writer.prototype(number, [(name, record) for name in parameters])
    writer.function("f", prototype, btf.GLOBAL)
    found = Btf(writer.encode())
    assert len(found) == 6
    assert found.type(number)[:3] == ("int", btf.INT, 4)
    assert found.members(record) == [Member(name, number, offset, 0) for name, offset in members]
    assert found.type(enum).kind == btf.ENUM
    assert found.enumerators("choice") == values
    assert found.parameters("f") == parameters
    assert found.has_function("f")
    assert not found.has_function("g")


def test_members_of_anonymous_structs_are_found_with_their_offset() -> None:
    writer = Writer()
    number = writer.integer("u32", 4, signed=False)
    inner = writer.struct("", 8, [("a", number, 0), ("b", number, 32)])
    constant = writer.const(inner)
    writer.struct("outer", 16, [("x", number, 0), ("", constant, 64)])
    found = Btf(writer.encode())
    assert found.member("outer", "b") == Member("b", number, 96, 0)
    assert found.member("outer", "nothing") is None
    assert found.member("nothing", "b") is None


@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BtfError):
        Btf(b"\x9f\xeb\x01" + data)


@given(st.data())
def test_broken_btf_is_refused_or_read(data: st.DataObject) -> None:
    writer = Writer()
    number = writer.integer("int", 4)
    writer.struct("record", 8, [("a", number, 0), ("b", writer.pointer(number), 32)])
    writer.function("f", writer.prototype(number, [("x", number)]), btf.STATIC)
    whole = bytearray(writer.encode())
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = Btf(broken)
        found.member("record", "b")
        found.parameters("f")
        for number, kind in found.types():
            found.resolve(number)
            assert kind.kind
    except BtfError:
        pass


def test_a_struct_that_holds_itself_ends() -> None:
    writer = Writer()
    number = writer.struct("", 4, [("", 1, 0)])
    writer.struct("outer", 4, [("", number, 0)])
    assert Btf(writer.encode()).member("outer", "x") is None


def test_typedefs_without_an_end_are_refused() -> None:
    header = struct.pack("<HBBIIIII", btf.MAGIC, 1, 0, 24, 0, 12, 12, 1)
    data = header + struct.pack("<III", 0, btf.CONST << 24, 1) + b"\0"
    with pytest.raises(BtfError, match="without an end"):
        Btf(data).resolve(1)


@pytest.mark.parametrize("size", [0, 3, 32])
def test_integers_have_a_size_of_machines(size: int) -> None:
    with pytest.raises(BtfError):
        Writer().integer("x", size)


def test_what_btf_cannot_hold_is_refused() -> None:
    with pytest.raises(BtfError, match="NUL"):
        Writer().integer("a\0b", 4)
    with pytest.raises(BtfError, match="more members"):
        Writer().struct("x", 1 << 32)


def test_a_struct_that_holds_itself_twice_has_no_other_members() -> None:
    writer = Writer()
    writer.struct("bpf_prog_aux", 8, [("", 1, 0), ("", 1, 0)])
    assert Btf(writer.encode()).member("bpf_prog_aux", "ops") is None


def test_a_number_that_is_everywhere_is_looked_for_once() -> None:
    """The place of a name stands in every second word of the types: each look-up went through all of them."""
    writer = Writer()
    for _ in range(20_000):
        writer.pointer(3)
    # "b" stands at place 1, "a" at 3.
    wanted = writer.struct("a", 4, [("b", 1, 0)])
    btf = Btf(writer.encode())
    assert btf.find("a", STRUCT) == wanted
    assert btf.find("a", FUNC) is None
    assert btf._first is not None
    assert btf.find("b", STRUCT) is None


def test_a_name_without_an_end_is_broken() -> None:
    writer = Writer()
    writer.struct("x" * 2000, 4)
    with pytest.raises(BtfError, match="no name of at most 1024 bytes"):
        Btf(writer.encode()).type(1)
