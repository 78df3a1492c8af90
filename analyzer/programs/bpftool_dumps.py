"""Reads the instructions of a program from the JSON of `bpftool prog dump xlated`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.types import SourceLine

__all__ = ["Dump", "Dumped", "bytes_of", "is_big", "looks_like_instructions", "read_dump"]

_FUNCTION = re.compile(r"\b(\w{1,512})\(")
_CALL = re.compile(r"call (\w+)#(-?\d{1,10})")
_LD_IMM64 = 0x18


class Dump(NamedTuple):
    """The instructions of a program. Function names and source lines are by slot."""

    data: bytes
    functions: dict[int, str]
    lines: dict[int, SourceLine]


class Dumped(NamedTuple):
    """A dump, None if it has no opcodes; the kernel functions that it calls by the `imm` of the call, and True if its
    numbers are big endian (None: not decided).
    """

    dump: Dump | None
    symbols: dict[int, str]
    big: bool | None


class _Reader:
    def __init__(self) -> None:
        self._data = bytearray()
        self._functions: dict[int, str] = {}
        self._lines: dict[int, SourceLine] = {}
        self._symbols: dict[int, str] = {}
        self._plain = 0

    def take(self, row: object) -> None:
        """Takes one instruction. Raises ProgramsError for anything else."""
        if not isinstance(row, dict):
            raise ProgramsError("a dump with something that is no instruction")
        slot = len(self._data) // 8
        if isinstance(proto := row.get("proto"), str) and (match := _FUNCTION.search(proto)):
            self._functions[slot] = match[1]
        if isinstance(text := row.get("src"), str):
            line = row.get("line_num")
            self._lines[slot] = SourceLine(str(row.get("file", "")), line if isinstance(line, int) else 0, text.strip())
        codes = row.get("opcodes")
        if isinstance(codes, dict):
            self._data += _encoded(codes)
        else:
            self._plain += 1
        if (match := _CALL.search(str(row.get("disasm", "")))) is not None:
            self._symbols[int(match[2])] = match[1]

    def dumped(self) -> Dumped:
        """Returns everything that was taken."""
        if self._plain:
            return Dumped(None, self._symbols, None)
        data, big = self._data, is_big(bytes(self._data))
        if big:
            data[1::8] = bytes(value >> 4 | (value & 15) << 4 for value in data[1::8])
        return Dumped(Dump(bytes(data), self._functions, self._lines), self._symbols, big)


def read_dump(rows: object) -> Dumped:
    """Returns the instructions of a dump. Raises ProgramsError if it is none."""
    if not isinstance(rows, list):
        raise ProgramsError("a dump that is no list")
    reader = _Reader()
    for row in rows:
        reader.take(row)
    return reader.dumped()


def bytes_of(values: object) -> bytes | None:
    """Returns the bytes of a list of strings such as "0x2a", None if it is not such a list."""
    if not isinstance(values, list):
        return None
    try:
        return bytes(int(value, 16) if isinstance(value, str) else value for value in values)
    except (ValueError, TypeError):
        return None


def _encoded(codes: Mapping[str, object]) -> bytes:
    """Returns the bytes of an instruction. For a wide one, bpftool prints the second half after the immediate."""
    off, imm = bytes_of(codes.get("off")), bytes_of(codes.get("imm"))
    try:
        code, dst, src = (int(str(codes.get(name)), 16) for name in ("code", "dst_reg", "src_reg"))
    except ValueError as error:
        raise ProgramsError("an instruction whose opcodes are no numbers") from error
    if off is None or imm is None or len(off) != 2 or len(imm) not in (4, 8, 12) or not 0 <= code < 256:
        raise ProgramsError("an instruction whose opcodes are cut off")
    if not (0 <= dst < 16 and 0 <= src < 16):
        raise ProgramsError("an instruction with a register that there is not")
    if (code == _LD_IMM64) != (len(imm) > 4):
        raise ProgramsError("an instruction whose immediate has another width than its code")
    # The register nibbles are in little-endian order here; `is_big` finds the byte order of the other fields.
    first = bytes((code, dst | src << 4)) + off + imm[:4]
    if len(imm) == 4:
        return first
    return first + (imm[4:] if len(imm) == 12 else bytes(4) + imm[4:])


def looks_like_instructions(data: bytes) -> bool:
    """Returns True if the data ends in an exit, a jump or a call."""
    return data[-8] in (0x95, 0x05, 0x06, 0x85)


def is_big(data: bytes) -> bool | None:
    """Returns True for big endian, judged by the small numbers in immediates; None if they do not decide it."""
    little = big = 0
    for place in range(0, len(data), 8):
        imm = data[place + 4 : place + 8]
        if imm[0] != imm[3]:
            little += imm[3] in (0, 0xFF) and imm[0] not in (0, 0xFF)
            big += imm[0] in (0, 0xFF) and imm[3] not in (0, 0xFF)
    return None if little == big else big > little
