"""Reads light skeletons, made by `bpftool gen skeleton -L`: as a C header, or inside an executable built with it.

A light skeleton contains no ELF object. It consists of a loader program and the data that it loads (`loader.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from tailcall_audit.analyzer.programs.byteorder import decode_instructions
from tailcall_audit.analyzer.programs.code import Code, ProgramsError, Reference, Refers
from tailcall_audit.analyzer.programs.facts import Workshop
from tailcall_audit.analyzer.programs.loader import Call, Loading, run_loader, words
from tailcall_audit.analyzer.programs.names import attach_type, map_type, program_type
from tailcall_audit.analyzer.programs.types import Map, Program, ProgramSet, Slot, SourceLine
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tailcall_audit.probes.kernel.btf_format import GLOBAL
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["read_light_skeletons"]

_TEXT = re.compile(rb"\\(?:x([0-9a-f]{2})|0|\n)")
_BLOCK = re.compile(rb'opts(?:\.|_)(data|insns?)(?: = \(void \*\)|\[\][^=]{0,80}= )"((?:\\x[0-9a-f]{2}|\\0|\\\n)*)"')
_LOADER = re.compile(
    rb"\xbf\x16\0{6}\xbf\xa1\0{6}\x07\x01\0\0[^\0]\xff\xff\xff\xb7\x02\0\0[^\0]..\0\xb7\x03\0{6}\x85\0\0\0\x71\0\0\0",
    re.DOTALL,
)
"""The first instructions that bpf_gen__init() emits in a loader: save the context, fill the stack with zeros."""
_END = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
_BTF = b"\x9f\xeb\x01\0\x18\0\0\0"
_MAX_LOADER = 1 << 20
_MAX_DATA = 16 << 20
_MAX_LOADERS, _MAX_LOOKS = 16, 16
_MAX_STEPS = 50_000
"""The limit on interpreted instructions for one guess where a loader's data is. A loader uses about a hundred for a
program or map.
"""
_LD_IMM64, _CALL = 0x18, 0x85
_IDX, _IDX_VALUE, _PSEUDO_CALL, _PSEUDO_KFUNC, _PSEUDO_FUNC = 5, 6, 1, 2, 4
_MAP_CREATE, _PROG_LOAD, _BTF_LOAD = 0, 5, 18
_SLEEPABLE = 16
_RECORDS = 100_000


class _Pair(NamedTuple):
    loader: bytes
    data: bytes
    where: str


def read_light_skeletons(data: bytes, label: str) -> Iterator[ProgramSet]:
    """Yields the programs of each light skeleton in a file. For one that cannot be read, yields an empty set with a
    note.
    """
    try:
        for pair in chain(_in_header(data), _in_executable(data)):
            yield _programs_of(pair, f"{label}, {pair.where}")
    except ProgramsError as error:
        yield ProgramSet.unread(label, str(error))


def _programs_of(pair: _Pair, label: str) -> ProgramSet:
    try:
        loading = run_loader(decode_instructions(pair.loader, False), pair.data)
        return _Skeleton(loading, label).programs()
    except (ProgramsError, BtfError) as error:
        return ProgramSet.unread(label, f"{pair.where} cannot be read: {error}")


def _in_header(data: bytes) -> Iterator[_Pair]:
    """Yields the loaders and data in the header of a light skeleton. Both are C strings, the data first."""
    if b"bpf_load_and_run" not in data:
        return
    kept: bytes | None = None
    for match in _BLOCK.finditer(data):
        block = _TEXT.sub(_byte, match[2])
        if match[1] == b"data":
            kept = block
        elif kept is not None:
            yield _Pair(block, kept, "light skeleton")


def _byte(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes((int(match[1], 16),))
    return b"\0" if match[0] == b"\\0" else b""


def _in_executable(data: bytes) -> Iterator[_Pair]:
    """Yields the loaders in a file, each with its data, which is located by the BTF that it contains. A loader without
    an end is empty. Raises ProgramsError where there are more than are read.
    """
    for count, match in enumerate(_LOADER.finditer(data)):
        start = match.start()
        if count == _MAX_LOADERS:
            raise ProgramsError(f"more than {_MAX_LOADERS} light skeletons: those from byte {start} on are not read")
        end = data.find(_END, start, start + _MAX_LOADER)
        loader = data[start : end + len(_END)] if end >= 0 else b""
        instructions = decode_instructions(loader, False) if len(loader) % 8 == 0 else []
        places = [insn.imm >> 32 for insn in instructions if insn.code == _LD_IMM64 and insn.src == _IDX_VALUE]
        yield _Pair(loader, _data_of(data, instructions, places), f"light skeleton at byte {start}")


def _data_of(data: bytes, instructions: list[Insn], places: list[int]) -> bytes:
    """Returns the data of a loader. Tries the offsets that the loader uses as the place of the BTF, until the loader
    runs.
    """
    place = data.find(_BTF)
    size = max(places, default=0) + 4096
    for _ in range(_MAX_LOOKS):
        if place < 0 or size > _MAX_DATA:
            break
        for offset in dict.fromkeys(places[:12]):
            if not place - offset >= 0:
                continue
            found = data[place - offset : place - offset + size]
            try:
                if _has_types(run_loader(instructions, found, _MAX_STEPS)):
                    return found
            except ProgramsError:
                continue
        place = data.find(_BTF, place + 1)
    return b""


def _has_types(loading: Loading) -> bool:
    """Returns True if the loader loads real BTF, which shows that the data was located correctly."""
    places = [words(call.attributes, 0, "<Q")[0] for call in loading.calls if call.command == _BTF_LOAD]
    return bool(places) and all(loading.read(place, len(_BTF)) == _BTF for place in places)


class _Skeleton:
    """Derives programs and maps from the bpf(2) calls of a loader."""

    def __init__(self, loading: Loading, label: str) -> None:
        self._loading = loading
        self._label = label
        self._maps = {
            call.descriptor: self._name(call.attributes, 28) or f"map {call.descriptor}"
            for call in loading.calls
            if call.command == _MAP_CREATE
        }
        self._btfs = {call.descriptor: self._btf(call) for call in loading.calls if call.command == _BTF_LOAD}
        self._codes: list[Code] = []

    def _name(self, attributes: bytes, offset: int) -> str:
        return attributes[offset : offset + 16].split(b"\0")[0].decode("utf-8", "replace")

    def _btf(self, call: Call) -> Btf | None:
        (place,), (size,) = words(call.attributes, 0, "<Q"), words(call.attributes, 16, "<I")
        try:
            return Btf(self._loading.read(place, min(size, _MAX_DATA)))
        except BtfError:
            return None

    def programs(self) -> ProgramSet:
        """Returns the set of programs. Raises ProgramsError if an attribute refers to something that is missing."""
        loads = [call for call in self._loading.calls if call.command == _PROG_LOAD]
        mains = []
        for call in loads:
            mains.append(len(self._codes))
            self._codes += self._split(call, len(self._codes))
        numbers = {name: index for index, name in enumerate(self._maps.values())}
        workshop = Workshop(self._codes, numbers)
        programs = tuple(self._program(call, main, workshop) for call, main in zip(loads, mains, strict=True))
        if not programs:
            raise ProgramsError("its loader loads no program")
        maps = tuple(self._map(call) for call in self._loading.calls if call.command == _MAP_CREATE)
        return ProgramSet(self._label, programs, maps, False, ())

    def _map(self, call: Call) -> Map:
        kind, _, _, entries = words(call.attributes, 0, "<IIII")
        name = map_type(kind)
        slots: tuple[Slot, ...] = ()
        return Map(
            self._maps[call.descriptor], name, entries or None, slots, False, False if name == "prog_array" else None
        )

    def _program(self, call: Call, main: int, workshop: Workshop) -> Program:
        attributes = call.attributes
        kind = program_type(words(attributes, 0, "<I")[0])
        (expected,), (flags,) = words(attributes, 68, "<I"), words(attributes, 44, "<I")
        facts = workshop.facts(workshop.order(main), kind)
        name = self._codes[main].name
        kinds_of = {self._maps[item.descriptor]: map_type(words(item.attributes, 0, "<I")[0])
                    for item in self._loading.calls if item.command == _MAP_CREATE}  # fmt: skip
        used = {item: kinds_of.get(item, "") for item in facts.maps}
        return Program(
            name,
            name,
            self._label,
            None,
            kind,
            # 0 is both BPF_CGROUP_INET_INGRESS and the value of a program without an attach type.
            attach_type(expected) if expected else "none",
            (),
            bool(flags & _SLEEPABLE),
            None,
            facts.instructions,
            facts.functions,
            facts.maps,
            "arena" in used.values(),
            frozenset(item for item, sort in used.items() if sort in ("cgroup_storage", "percpu_cgroup_storage")),
            self._loading.read(words(attributes, 16, "<Q")[0], 3) == b"GPL",
            facts.lines,
            bool(words(attributes, 112, "<I")[0]) if kind == "ext" else None,
        )

    def _split(self, call: Call, first: int) -> list[Code]:
        """Returns the functions of a program, split where the function info says that they begin."""
        attributes = call.attributes
        count, place = words(attributes, 4, "<IQ")
        instructions = decode_instructions(self._loading.read(place, 8 * count), False)
        btf = self._btfs.get(words(attributes, 72, "<I")[0])
        functions = {row[0]: row[1] for row in self._records(attributes, 76, 80, 88, "<II")} or {0: 0}
        lines = {row[0]: row for row in self._records(attributes, 92, 96, 104, "<IIII")}
        slots: list[int] = []
        position = 0
        for insn in instructions:
            slots.append(position)
            position += 2 if insn.code == _LD_IMM64 else 1
        starts = sorted({0, *functions} & {0, *slots})
        number = {start: first + index for index, start in enumerate(starts)}
        by_slot = {slot: index for index, slot in enumerate(slots)}
        constant = {row[0] // 8 for row in self._records(attributes, 136, 128, 116, "<I")}
        found = []
        for start, end in zip(starts, (*starts[1:], position), strict=True):
            low, high = by_slot.get(start, 0), by_slot.get(end, len(instructions))
            name, is_global = self._function(btf, functions.get(start, 0))
            references = {}
            for index in range(low, high):
                reference = self._refers(instructions[index], slots[index], number, attributes, btf)
                if reference is not None:
                    references[index - low] = reference
            own = {index - low: self._line(btf, lines[slots[index]])
                   for index in range(low, high) if slots[index] in lines}  # fmt: skip
            relocated = frozenset(index - low for index in range(low, high) if slots[index] in constant)
            fallback = self._name(attributes, 48) if start == 0 else f"function@{start}"
            found.append(Code(name or fallback, tuple(instructions[low:high]), references, is_global, own, relocated))
        return found

    def _records(
        self, attributes: bytes, width_at: int, place_at: int, count_at: int, layout: str
    ) -> list[tuple[int, ...]]:
        (width,), (place,), (count,) = (
            words(attributes, width_at, "<I"), words(attributes, place_at, "<Q"), words(attributes, count_at, "<I")
        )  # fmt: skip
        if not place or not count:
            return []
        if not 4 <= width <= 256 or count > _RECORDS:
            raise ProgramsError(f"a list of {count:,} records of {width:,} bytes")
        return [words(self._loading.read(place + index * width, width), 0, layout) for index in range(count)]

    def _function(self, btf: Btf | None, number: int) -> tuple[str, bool | None]:
        if btf is None or not number:
            return "", None
        found = btf.type(number)
        return found.name, found.members == GLOBAL if found.kind == kinds.FUNC else None

    def _line(self, btf: Btf | None, row: tuple[int, ...]) -> SourceLine:
        if btf is None:
            return SourceLine("", row[3] >> 10, "")
        return SourceLine(btf.name(row[1]), row[3] >> 10, btf.name(row[2]).strip())

    def _refers(
        self, insn: Insn, slot: int, number: dict[int, int], attributes: bytes, btf: Btf | None
    ) -> Reference | None:
        low = insn.imm & 0xFFFFFFFF
        distance = low - (1 << 32) if low >> 31 else low
        target = number.get(slot + 1 + distance)
        if insn.code == _CALL and insn.src == _PSEUDO_CALL:
            return Reference(Refers.FUNCTION, "", _found(target))
        if insn.code == _CALL and insn.src == _PSEUDO_KFUNC:
            return Reference(Refers.KFUNC, "")
        if insn.code != _LD_IMM64 or not insn.src:
            return None
        if insn.src == _PSEUDO_FUNC:
            return Reference(Refers.ADDRESS, "", _found(target))
        (table,) = words(attributes, 120, "<Q")
        descriptor = low
        if insn.src in (_IDX, _IDX_VALUE) and table and low < 1024:
            (descriptor,) = words(self._loading.read(table + 4 * low, 4), 0, "<I")
        name = self._maps.get(descriptor)
        if name is None:
            return Reference(Refers.UNKNOWN, "")
        if insn.src in (_IDX_VALUE, 2):
            return Reference(Refers.VALUE, name, 0, insn.imm >> 32, name.endswith(".rodata"))
        return Reference(Refers.MAP, name)


def _found(target: int | None) -> int:
    if target is None:
        raise ProgramsError("a call goes to where no function begins")
    return target
