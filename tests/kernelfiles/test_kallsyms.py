"""Symbols of stripped kernels: functions, data, per-CPU variables, and the name at an address, on both architectures."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles import kallsyms_tables
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.kernelfiles.kallsyms import Kallsyms
from tailcall_audit.analyzer.kernelfiles.kallsyms_tables import KallsymsError
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.relocations import Relocations, find_relocations
from tests.kernelfiles.images import kernel
from tests.kernels import package_file
from tests.mutants import IN_6_1, IN_6_12, debian_image

NAMES = ("_stext", "_etext", "bpf_check", "bpf_int_jit_compile", "init_task", "pcpu_hot")


def test_data_has_symbols_and_per_cpu_variables_are_at_their_places_behind_gs() -> None:
    found = Binary(kernel(debian_image(IN_6_12))).addresses(NAMES)
    assert found is not None
    assert set(found) == set(NAMES)
    (start,), (end,), (check,) = found["_stext"], found["_etext"], found["bpf_check"]
    assert start == 0xFFFF_FFFF_8100_0000
    assert start < check < end < found["init_task"][0]
    # Linked at an offset from the per-CPU base, not in the kernel's half.
    assert 0 < found["pcpu_hot"][0] < 1 << 20


def test_an_address_has_the_name_of_the_function_around_it() -> None:
    binary = Binary(kernel(debian_image(IN_6_12)))
    (item,) = binary.functions(["bpf_check"]).values()
    assert binary.symbol_at(item.address) == binary.symbol_at(item.address + len(item.code) - 1) == "bpf_check"
    assert binary.symbol_at(item.address - 1) != "bpf_check"


def test_tokens_are_found_although_nothing_but_alignment_is_before_them() -> None:
    """In Debian's 6.1.170 of the real-time flavour the bytes before the table of tokens are no zeros."""
    found = kernel(debian_image(IN_6_1))
    _, table, _ = kallsyms_tables.find_tokens(found.data)
    data = bytearray(found.data)
    data[table - 5 : table] = b"{\x01PzB"  # the end of a table for look-ups by name, which nothing here reads
    changed = Binary(found._replace(data=bytes(data)))
    expected = Binary(found).addresses(NAMES)
    assert expected
    assert changed.addresses(NAMES) == expected


@pytest.mark.parametrize("package", ["linux-image-6.1.0-56-cloud-arm64", "linux-image-6.12.118+deb13-cloud-arm64"])
def test_arm64_images_have_functions_where_their_code_is(package: str) -> None:
    path = package_file(package, architecture="arm64")
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    binary = Binary(unpack(read_bootable(bootable), path.name))
    functions = binary.functions(["bpf_check", "bpf_int_jit_compile", "prog_fd_array_get_ptr"])
    assert len(functions) == 3
    for function in functions.values():
        # paciasp, or a no-operation for the tracer: what a function of these kernels begins with.
        (first,) = struct.unpack_from("<I", function.code)
        assert first in (0xD503233F, 0xD503245F, 0xD503201F, 0xAA1E03E9), f"{function.name}: {first:#x}"


RECORD = struct.Struct("<QQQ")
BASE = 0xFFFF_8000_0800_0000


@settings(deadline=None)
@given(st.integers(1000, 1500), st.integers(0, 64))
def test_a_table_of_relocations_is_found_wherever_it_is(count: int, before: int) -> None:
    size = 1 << 16
    pointers = {8 * index: BASE + 16 * index for index in range(count)}
    table = b"".join(RECORD.pack(BASE + place, 0x403, value) for place, value in pointers.items())
    data = bytes(size) + bytes(8 * before) + table + bytes(64)
    found = find_relocations(data)
    assert found is not None
    assert found.base == BASE
    assert dict(zip(found.places, found.values, strict=True)) == pointers
    assert found.value_at(8) == BASE + 16
    assert found.value_at(12) is None


def test_a_part_of_a_pointer_is_relocated_too() -> None:
    found = Relocations(BASE, (16,), (0x1122_3344_5566_7788,))
    assert list(found.between(0, 16)) == []
    assert list(found.between(20, 24)) == [(16, 0x1122_3344_5566_7788)]
    assert list(found.between(24, 32)) == []


def test_zeros_and_garbage_have_no_relocations() -> None:
    assert find_relocations(bytes(1 << 16)) is None
    assert find_relocations(RECORD.pack(BASE, 0x403, BASE) * 3) is None


def table_of_tokens() -> bytes:
    """A table in which each byte is itself, and its index, as scripts/kallsyms.c writes them."""
    tokens = [bytes([number or 1]) for number in range(256)]
    places = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]
    return bytes(4) + b"".join(token + b"\0" for token in tokens) + struct.pack("<256H", *places)


def test_arrays_that_could_all_be_markers_end_at_the_budget() -> None:
    """An array for each 36 bytes, and for each of them 32,768 places where the names could start."""
    markers = struct.pack("<9I", *(512 * number for number in range(9))) * 10_000
    data = bytes(1 << 17) + markers + table_of_tokens()
    with pytest.raises(KallsymsError, match=r"no tables that fit each other within 4,000,000 steps"):
        Kallsyms(data, lambda _: None)


def test_digits_that_are_everywhere_are_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    data = kernel(debian_image(IN_6_12)).data
    decoys = (b"/\0" * 50 + kallsyms_tables.DIGITS) * 200
    assert kallsyms_tables.find_tokens(decoys + data)[0] == kallsyms_tables.find_tokens(data)[0]
    monkeypatch.setattr(kallsyms_tables, "_MAX_TABLES", 100)
    with pytest.raises(KallsymsError, match="no table of tokens"):
        kallsyms_tables.find_tokens(decoys + data)


def test_tokens_of_any_length_make_no_name_of_any_length() -> None:
    table = Kallsyms.__new__(Kallsyms)
    table._tokens = [b"x" * 512] * 256
    table._data = b"\x7f" + bytes(127)
    assert len(table._text(0)) <= 1024
