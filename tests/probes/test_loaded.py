"""What the reader of loaded programs makes of a kernel that refuses parts of its answer. A stand-in answers bpf(2):
nothing of this machine's kernel is read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

import pytest

from tailcall_audit.analyzer.programs.host import programs_of
from tailcall_audit.probes.kernel import loaded, objects, records
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import BpfError
from tailcall_audit.probes.kernel.instructions import encode, insns_of

_NEXT_PROGRAM, _NEXT_MAP, _PROGRAM, _MAP, _INFO = 11, 12, 13, 14, 15
_LINK, _NEXT_LINK = 30, 31
_XDP, _TRACING, _HASH = 6, 26, 1
CODE = encode(insns_of(Program().set(0, 2).exit()))


class Kernel:
    """A kernel with XDP programs, each with the maps whose ids are given. It refuses `refused`: a command and an id."""

    def __init__(
        self, programs: dict[int, tuple[int, ...]], refused: tuple[int, int] = (0, 0), number: int = 0
    ) -> None:
        maps: dict[int, tuple[int, ...]] = {number: () for used in programs.values() for number in used}
        self.objects = {_PROGRAM: programs, _MAP: maps}
        self.refused, self.number = refused, number
        self.opened: dict[int, tuple[int, int]] = {}

    def call(self, command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        (first,) = struct.unpack_from("=I", attributes)
        if command in (_PROGRAM, _MAP):
            self._refuse(command, first, what)
            descriptor = os.open("/dev/null", os.O_RDONLY)
            self.opened[descriptor] = (command, first)
            return descriptor, attributes
        if command == _INFO:
            self._refuse(_INFO, self.opened[first][1], what)
            self._inform(*self.opened[first], struct.unpack_from("=Q", attributes, 8)[0])
            return 0, attributes
        later = [item for item in self.objects.get(command + 2, {}) if item > first]
        if not later:
            raise BpfError(errno.ENOENT, what)
        return 0, struct.pack("=III", first, min(later), 0)

    def _refuse(self, command: int, number: int, what: str) -> None:
        if (command, number) == self.refused:
            raise BpfError(self.number, what)

    def _inform(self, command: int, number: int, place: int) -> None:
        """Fills struct bpf_prog_info or bpf_map_info, and the buffers that it names."""
        if command == _MAP:
            ctypes.memmove(place, struct.pack("=IIIIII16s", _HASH, number, 4, 4, 1, 0, b"values"), 40)
            return
        given = ctypes.string_at(place, 88)
        maps = self.objects[_PROGRAM][number]
        code, ids = (struct.unpack_from("=Q", given, at)[0] for at in (32, 56))
        if code:
            ctypes.memmove(code, CODE, len(CODE))
        if ids:
            ctypes.memmove(ids, struct.pack(f"={len(maps)}I", *maps), 4 * len(maps))
        ctypes.memmove(place, struct.pack("=II8sII", _XDP, number, bytes(8), 1, len(CODE)), 24)
        ctypes.memmove(place + 52, struct.pack("=I", len(maps)), 4)
        ctypes.memmove(place + 64, struct.pack("=16sII", f"prog{number}".encode(), 0, 1), 24)


@pytest.fixture(autouse=True)
def no_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "read_hooks", lambda _: ())


def read(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> records.Loaded:
    monkeypatch.setattr(objects, "raw_call", kernel.call)
    return loaded.read_kernel()


def test_programs_and_maps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel({5: (8,), 6: ()})
    found = read(monkeypatch, kernel)
    assert [(item.id, item.name, item.instructions, item.maps) for item in found.programs] == [
        (5, "prog5", CODE, (8,)),
        (6, "prog6", CODE, ()),
    ]
    assert [item.id for item in found.maps] == [8]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("refused", "number", "unread", "note"),
    [
        ((_PROGRAM, 6), errno.EPERM, 6, "program 6 cannot be opened (program 6: EPERM)"),
        ((_INFO, 6), errno.ENOMEM, 6, "program 6 cannot be read (info of program: ENOMEM)"),
        ((_MAP, 8), errno.EPERM, 5, "map 8 cannot be opened (map 8: EPERM)"),
        ((_INFO, 8), errno.EPERM, 5, "map 8 cannot be read (info of map: EPERM)"),
    ],
)
def test_a_program_that_is_refused_or_whose_map_is_stays_as_one_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch, refused: tuple[int, int], number: int, unread: int, note: str
) -> None:
    found = read(monkeypatch, Kernel({5: (8,), 6: ()}, refused, number))
    assert found.notes == (note,)
    facts = programs_of(found, "the host")
    assert {int(item.key.rpartition("#")[2]): bool(item.functions) for item in facts.programs} == {
        5: unread != 5,
        6: unread != 6,
    }
    assert (note in facts.notes, len(facts.notes)) == (True, 1 + (unread == 5))


def test_a_program_that_is_gone_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, Kernel({5: (), 6: ()}, (_PROGRAM, 6), errno.ENOENT))
    assert [item.id for item in found.programs] == [5]
    assert found.notes == ()


def test_a_list_without_an_end_is_an_error_and_not_a_short_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_MAX_OBJECTS", 2)
    with pytest.raises(BpfError, match="E2BIG"):
        read(monkeypatch, Kernel({5: (), 6: (), 7: ()}))


class KernelWithLinks:
    """A kernel that lets no link be opened but has one, and nothing else."""

    @staticmethod
    def call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        if command == _NEXT_LINK and struct.unpack_from("=I", attributes) == (0,):
            return 0, struct.pack("=III", 0, 9, 0)
        raise BpfError(errno.EPERM if command == _LINK else errno.ENOENT, what)


def test_a_link_that_is_refused_stays_as_one_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "raw_call", KernelWithLinks.call)
    found = loaded.read_kernel()
    assert [(item.id, item.type, item.program) for item in found.links] == [(9, 0, 0)]
    assert found.notes == ("link 9 cannot be opened (link 9: EPERM)",)


def test_what_traces_is_not_known_if_one_link_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer with one link that is read may have others."""
    found = read(monkeypatch, Kernel({5: (), 6: ()}))
    tracer = found.programs[1]._replace(type=_TRACING)
    links = (records.LoadedLink(8, 2, 6, 24, 5, 1, None), records.LoadedLink(9, 0, 0, None, None, None, None))
    whole, part = (
        programs_of(found._replace(programs=(found.programs[0], tracer), links=seen), "the host").programs[1]
        for seen in (links[:1], links)
    )
    assert (len(whole.attachments), part.attachments) == (1, ())
