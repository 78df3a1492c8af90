"""Turns bpftool's answers into records of a kernel (`probes/kernel/loaded.py`). The kind of an answer follows from its
members.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.names import attach_number, link_number, map_number, program_number
from tailcall_audit.analyzer.programs.translated import Names
from tailcall_audit.analyzer.programs.types import SourceLine
from tailcall_audit.probes.kernel.loaded import Loaded, LoadedBtf, LoadedLink, LoadedMap, LoadedProgram

__all__ = ["Collected"]

_FUNCTION = re.compile(r"\b(\w{1,512})\(")
_CALL = re.compile(r"call (\w+)#(-?\d{1,10})")
_CALL_CODE, _LD_IMM64 = 0x85, 0x18
_MAX_ID = (1 << 32) - 1
_BTF_MAGIC = (b"\x9f\xeb", b"\xeb\x9f")
_MAX_DEPTH = 8


class _Dump(NamedTuple):
    """The instructions of a program. Function names and source lines are by slot."""

    data: bytes
    functions: dict[int, str]
    lines: dict[int, SourceLine]


class Collected:
    """Collects answers in any order. The methods raise ProgramsError for input that bpftool does not print."""

    def __init__(self) -> None:
        self._programs: dict[int, Mapping[str, object]] = {}
        self._maps: dict[int, Mapping[str, object]] = {}
        self._links: dict[int, Mapping[str, object]] = {}
        self._dumps: dict[int, _Dump] = {}
        self._slots: dict[int, list[tuple[int, int]]] = {}
        self._types: dict[int, dict[str, bool]] = {}
        self._functions: dict[tuple[int, int], str] = {}
        self._btfs: dict[int, bytes] = {}
        self._symbols: dict[int, str] = {}
        self._notes: list[str] = []
        self._big: bool | None = None

    @property
    def has_programs(self) -> bool:
        """True if a program was listed or its instructions were dumped."""
        return bool(self._programs or self._dumps)

    def take_raw(self, data: bytes, number: int | None) -> None:
        """Takes a file that is not JSON: a program's instructions or BTF. `number` is the id in the file's name."""
        if number is None:
            raise ProgramsError("a raw dump whose file has no number in its name: call it after the id of its program")
        if data[:2] in _BTF_MAGIC:
            self._btfs[number] = data
            return
        if len(data) % 8 or not data or not _looks_like_instructions(data):
            raise ProgramsError("neither JSON of bpftool nor instructions of BPF")
        self._byte_order(_is_big(data))
        self._dumps[number] = _Dump(data, {}, {})

    def take(self, answer: object, number: int | None, depth: int = 0) -> None:
        """Takes an answer in JSON. `number` is the id from the file's name or from the command."""
        if depth > _MAX_DEPTH:
            raise ProgramsError("answers within answers, deeper than bpftool prints any")
        if isinstance(answer, dict) and isinstance(answer.get("types"), list):
            self._take_types(answer["types"], number)
            return
        rows = answer if isinstance(answer, list) else [answer]
        if rows and all(isinstance(row, dict) and ("disasm" in row or "proto" in row) for row in rows):
            self._take_dump(rows, number)
        elif rows and all(isinstance(row, dict) and "key" in row and "id" not in row for row in rows):
            self._take_slots(rows, number)
        else:
            for row in rows:
                self._take_row(row, number, depth)

    def _take_row(self, row: object, number: int | None, depth: int) -> None:
        if not isinstance(row, dict):
            raise ProgramsError("no answer of bpftool's")
        if "error" in row:
            self._notes.append(f"bpftool could not read everything: {str(row['error'])[:200]}")
        elif "command" in row and "output" in row:
            self.take(row["output"], _id_in(row["command"]), depth + 1)
        elif "prog_id" in row and "id" in row and "type" in row:
            self._links[_integer(row, "id")] = row
        elif "insns" in row and "id" in row:
            self._programs[_integer(row, "id")] = row
            self._take_dump(row["insns"], _integer(row, "id"))
        elif "elements" in row and "id" in row:
            self._maps[_integer(row, "id")] = row
            self._take_slots(row["elements"], _integer(row, "id"))
        elif "max_entries" in row or "bytes_key" in row:
            self._maps[_integer(row, "id")] = row
        elif "id" in row and "type" in row and ("tag" in row or "bytes_xlated" in row or "gpl_compatible" in row):
            self._programs[_integer(row, "id")] = row
        elif "id" not in row or not {"size", "prog_ids", "kernel", "pids", "kind"} & row.keys():
            raise ProgramsError(f"no answer of bpftool's: an object with {', '.join(sorted(map(str, row))[:8])}")

    def _byte_order(self, big: bool | None) -> None:
        if big is None:
            return
        if self._big is not None and self._big != big:
            raise ProgramsError("its instructions are of both byte orders: they are of several hosts")
        self._big = big

    def _take_dump(self, rows: object, number: int | None) -> None:
        if number is None:
            raise ProgramsError(
                "a dump of a program whose file has no number in its name: call it after the program's id"
            )
        if not isinstance(rows, list):
            raise ProgramsError("a dump that is no list")
        data = bytearray()
        functions: dict[int, str] = {}
        lines: dict[int, SourceLine] = {}
        plain = 0
        for row in rows:
            if not isinstance(row, dict):
                raise ProgramsError("a dump with something that is no instruction")
            slot = len(data) // 8
            if isinstance(proto := row.get("proto"), str) and (match := _FUNCTION.search(proto)):
                functions[slot] = match[1]
            if isinstance(text := row.get("src"), str):
                line = row.get("line_num")
                lines[slot] = SourceLine(str(row.get("file", "")), line if isinstance(line, int) else 0, text.strip())
            codes = row.get("opcodes")
            if isinstance(codes, dict):
                data += _encoded(codes)
            elif "disasm" in row:
                plain += 1
            if (match := _CALL.search(str(row.get("disasm", "")))) is not None:
                self._symbols[int(match[2])] = match[1]
        if plain:
            self._notes.append(
                f"the dump of program {number} has no opcodes, so its instructions are not known: `bpftool -j prog dump xlated"
                f" id {number} opcodes` has them"
            )
            return
        big = _is_big(bytes(data))
        self._byte_order(big)
        if big:
            data[1::8] = bytes(value >> 4 | (value & 15) << 4 for value in data[1::8])
        self._dumps[number] = _Dump(bytes(data), functions, lines)

    def _take_slots(self, rows: object, number: int | None) -> None:
        """Takes the dump of a map. Only dumps of prog arrays are used later."""
        if number is None:
            raise ProgramsError("a dump of a map whose file has no number in its name: call it after the map's id")
        found = []
        for row in rows if isinstance(rows, list) else ():
            key, value = (_bytes(row.get(name)) for name in ("key", "value")) if isinstance(row, dict) else (None, None)
            if key is not None and value is not None and len(key) == len(value) == 4:
                found.append((key, value))
        big = any(key[0] == 0 and key[3] for key, _ in found) and not any(key[0] and not key[3] for key, _ in found)
        layout = ">I" if self._big or (self._big is None and big) else "<I"
        self._slots[number] = [(struct.unpack(layout, key)[0], struct.unpack(layout, value)[0]) for key, value in found]

    def _take_types(self, rows: Iterable[object], number: int | None) -> None:
        """Takes a BTF dump, which contains the linkage (global or static) of functions."""
        if number is None:
            raise ProgramsError("a dump of BTF whose file has no number in its name: call it after the BTF's id")
        functions: dict[str, bool] = {}
        for row in rows:
            if not isinstance(row, dict) or row.get("kind") != "FUNC":
                continue
            if isinstance(row.get("id"), int) and isinstance(row.get("name"), str):
                functions[row["name"]] = row.get("linkage") == "global"
                self._functions[number, row["id"]] = row["name"]
        self._types[number] = functions

    def names(self) -> dict[int, Names]:
        """Returns the function names and source lines of each program, by the program's id."""
        found = {}
        for number, dump in self._dumps.items():
            row = self._programs.get(number, {})
            btf = row.get("btf_id")
            linkage = self._types.get(btf, {}) if isinstance(btf, int) else {}
            if not dump.functions and isinstance(btf, int) and btf in self._btfs:
                continue
            functions = {slot: (name, linkage.get(name)) for slot, name in dump.functions.items()}
            found[number] = Names(functions, dump.lines)
        return found

    def functions(self) -> dict[tuple[int, int], str]:
        """Returns the names of functions, by the ids of their BTF and type."""
        return self._functions

    def loaded(self) -> Loaded:
        """Returns everything collected, in the form of a kernel's own answers."""
        for number in self._dumps:
            if number not in self._programs:
                self._notes.append(f"program {number} is dumped and not listed: its type is not known")
                self._programs[number] = {"id": number, "type": "unspec", "name": ""}
        missing = sorted(self._programs.keys() - self._dumps.keys())
        if missing:
            shown = ", ".join(map(str, missing[:10]))
            self._notes.append(f"the instructions of {len(missing)} programs are not there (xlated): {shown}")
        return Loaded(
            tuple(self._program(row) for _, row in sorted(self._programs.items())),
            tuple(self._map(row) for _, row in sorted(self._maps.items())),
            tuple(self._link(row) for _, row in sorted(self._links.items())),
            tuple(LoadedBtf(number, "", False, data) for number, data in sorted(self._btfs.items())),
            self._symbols,
            bool(self._big),
            tuple(self._notes),
        )

    def _program(self, row: Mapping[str, object]) -> LoadedProgram:
        number = _integer(row, "id")
        dump = self._dumps.get(number)
        maps = row.get("map_ids")
        btf = row.get("btf_id")
        kind = row.get("type")
        return LoadedProgram(
            number,
            program_number(kind) if isinstance(kind, str) else kind if isinstance(kind, int) else 0,
            str(row.get("name", "")),
            bool(row.get("jited")),
            bool(row.get("gpl_compatible")),
            None if dump is None else dump.data,
            tuple(item for item in maps if isinstance(item, int)) if isinstance(maps, list) else (),
            btf if isinstance(btf, int) else 0,
            (),
            (),
            0,
            0,
        )

    def _map(self, row: Mapping[str, object]) -> LoadedMap:
        number, kind, entries = _integer(row, "id"), row.get("type"), row.get("max_entries")
        slots = self._slots.get(number)
        return LoadedMap(
            number,
            map_number(kind) if isinstance(kind, str) else kind if isinstance(kind, int) else 0,
            str(row.get("name", "")),
            entries if isinstance(entries, int) else 0,
            None if slots is None else tuple(slots),
        )

    def _link(self, row: Mapping[str, object]) -> LoadedLink:
        kind, attach = row.get("type"), row.get("attach_type")
        target, target_type, where = row.get("target_obj_id"), row.get("target_btf_id"), row.get("ifindex")
        return LoadedLink(
            _integer(row, "id"),
            link_number(kind) if isinstance(kind, str) else kind if isinstance(kind, int) else 0,
            _integer(row, "prog_id"),
            attach_number(attach) if isinstance(attach, str) else attach if isinstance(attach, int) else None,
            target if isinstance(target, int) else None,
            target_type if isinstance(target_type, int) else None,
            where if isinstance(where, int) else None,
        )


def _integer(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_ID:
        raise ProgramsError(f"an answer of bpftool's whose {name!r} is no number")
    return value


def _id_in(command: object) -> int | None:
    """Returns the id in the words of a command such as ``prog dump xlated id 12``."""
    words = command if isinstance(command, list) else str(command).split()
    for index, word in enumerate(words[:-1]):
        following = str(words[index + 1])
        if word == "id" and following.isascii() and following.isdigit() and len(following) < 11:
            return int(following)
    return None


def _bytes(values: object) -> bytes | None:
    """Returns the bytes of a list of strings such as "0x2a", None if it is not such a list."""
    if not isinstance(values, list):
        return None
    try:
        return bytes(int(value, 16) if isinstance(value, str) else value for value in values)
    except (ValueError, TypeError):
        return None


def _encoded(codes: Mapping[str, object]) -> bytes:
    """Returns the bytes of an instruction. For a wide one, bpftool prints the second half after the immediate."""
    off, imm = _bytes(codes.get("off")), _bytes(codes.get("imm"))
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
    # The register nibbles are in little-endian order here; `_is_big` finds the byte order of the other fields.
    first = bytes((code, dst | src << 4)) + off + imm[:4]
    if len(imm) == 4:
        return first
    return first + (imm[4:] if len(imm) == 12 else bytes(4) + imm[4:])


def _looks_like_instructions(data: bytes) -> bool:
    """Returns True if the data ends in an exit, a jump or a call."""
    return data[-8] in (0x95, 0x05, 0x06, 0x85)


def _is_big(data: bytes) -> bool | None:
    """Returns True for big endian, judged by the small numbers in immediates; None if they do not decide it."""
    little = big = 0
    for place in range(0, len(data), 8):
        imm = data[place + 4 : place + 8]
        if imm[0] != imm[3]:
            little += imm[3] in (0, 0xFF) and imm[0] not in (0, 0xFF)
            big += imm[0] in (0, 0xFF) and imm[3] not in (0, 0xFF)
    return None if little == big else big > little
