"""An object of which a part is missing: it is refused, or what it may meet stays what it may meet."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.elf_object import ElfObject
from tailcall_audit.analyzer.programs.objects import read_object_bytes
from tailcall_audit.analyzer.programs.types import ProgramSet
from tests.exposure.assembled import array
from tests.exposure.shapes import caller, filled
from tests.programs.test_objects import tail_calling

_CATALOG = shipped_catalog()
_ROW, _KIND, _SIZE = 64, 4, 32
"""A row of the table of sections, and the places of the section's kind and size in it."""


def cut(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Each section in turn without a kind, empty, half as long, and as zeros."""
    (table,) = struct.unpack_from("<Q", whole, 40)
    for section in ElfObject(whole).sections[1:]:
        row = table + _ROW * section.number
        for what, place, form, value in (
            ("no", row + _KIND, "<I", 0),
            ("empty", row + _SIZE, "<Q", 0),
            ("half of", row + _SIZE, "<Q", section.size // 48 * 24),
        ):
            data = bytearray(whole)
            struct.pack_into(form, data, place, value)
            yield f"{what} {section.name}", bytes(data)
        data = bytearray(whole)
        data[section.offset : section.offset + section.size] = bytes(section.size)
        yield f"zeros for {section.name}", bytes(data)


def states(found: ProgramSet, closed: bool) -> dict[str, State]:
    return {item.defect: item.state for item in expose(_CATALOG, [found], closed=closed)}


@pytest.mark.parametrize("closed", [False, True])
def test_what_is_missing_of_an_object_leaves_no_defect_behind(closed: bool) -> None:
    whole = tail_calling().encode()
    expected = states(read_object_bytes(whole, "a.o"), closed)
    read = 0
    for what, data in cut(whole):
        try:
            found = read_object_bytes(data, "a.o")
        except ProgramsError:
            continue
        read += 1
        now = states(found, closed)
        lost = [slug for slug, state in expected.items() if state is not State.NOT_MET is now[slug]]
        assert lost == [], what
    assert read > 5


def test_a_prog_array_that_user_space_sizes_has_any_slot() -> None:
    of = {
        entries: filled(caller(2))._replace(maps=(array(complete=False)._replace(max_entries=entries),))
        for entries in (0, 4, None)
    }
    for closed in (False, True):
        sized, unsized = (
            {k for k, v in states(of[size], closed).items() if v is not State.NOT_MET} for size in (4, None)
        )
        assert sized <= unsized
    assert states(of[None], True)["x86-hierarchy"] is State.POSSIBLE
    assert states(of[0], True)["x86-hierarchy"] is State.NOT_MET
