"""Turns bpftool's answers into records of a kernel (`probes/kernel/records.py`). The kind of an answer follows from its
members.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from tailcall_audit.analyzer.programs.attachments import Typed
from tailcall_audit.analyzer.programs.bpftool_dumps import Dump, bytes_of, is_big, looks_like_instructions, read_dump
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.names import attach_number, link_number, map_number, program_number
from tailcall_audit.analyzer.programs.translated import Names
from tailcall_audit.probes.kernel.netlink import LoadedHook
from tailcall_audit.probes.kernel.records import Loaded, LoadedBtf, LoadedLink, LoadedMap, LoadedProgram

__all__ = ["Collected"]

_MAX_ID = (1 << 32) - 1
_BTF_MAGIC = (b"\x9f\xeb", b"\xeb\x9f")
_MAX_DEPTH = 8
_NOTHING = (
    "bpftool refused the command; bpftool 7.1 and older take one of `opcodes` and `linum`: call it with `opcodes` alone"
)


class Collected:
    """Collects answers in any order. The methods raise ProgramsError for input that bpftool does not print."""

    def __init__(self) -> None:
        self._programs: dict[int, Mapping[str, object]] = {}
        self._maps: dict[int, Mapping[str, object]] = {}
        self._links: dict[int, Mapping[str, object]] = {}
        self._dumps: dict[int, Dump] = {}
        self._slots: dict[int, list[tuple[int, int]]] = {}
        self._types: dict[int, dict[str, bool]] = {}
        self._functions: dict[tuple[int, int], Typed] = {}
        self._btfs: dict[int, bytes] = {}
        self._symbols: dict[int, str] = {}
        self._notes: list[str] = []
        self._listed: dict[int, bool] = {}
        self._hooks: dict[LoadedHook, None] = {}
        self._empty: set[int] = set()
        self._big: bool | None = None

    @property
    def has_programs(self) -> bool:
        """True if a program was listed or its instructions were dumped."""
        return bool(self._programs or self._dumps)

    def take_raw(self, data: bytes, number: int | None) -> None:
        """Takes a file that is not JSON: a program's instructions or BTF. `number` is the id in the file's name."""
        is_btf = data[:2] in _BTF_MAGIC
        if not is_btf and (len(data) % 8 or not data or not looks_like_instructions(data)):
            raise ProgramsError("neither JSON of bpftool nor instructions of BPF")
        if number is None:
            raise ProgramsError("a raw dump whose file has no number in its name: call it after the id of its program")
        if is_btf:
            self._btfs[number] = data
            return
        self._byte_order(is_big(data))
        self._dumps[number] = Dump(data, {}, {})

    def take(self, answer: object, number: int | None, depth: int = 0, *, of_map: bool = False) -> None:
        """Takes an answer in JSON. `number` is the id from the file's name or from the command. `of_map` is True if one of
        these names a map: only then an empty list is a map with nothing in it, and not a host without links.
        """
        if depth > _MAX_DEPTH:
            raise ProgramsError("answers within answers, deeper than bpftool prints any")
        if isinstance(answer, dict) and isinstance(answer.get("types"), list):
            self._take_types(answer["types"], number)
            return
        if answer is None:
            self._notes.append(f"{_NOTHING}" if number is None else f"the answer about id {number} is null: {_NOTHING}")
            return
        if answer == [] and number is not None and of_map:
            self._empty.add(number)
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
        elif "xdp" in row and "tc" in row:
            self._take_interfaces(row)
        elif "command" in row and "output" in row:
            words = _words(row["command"])
            self.take(row["output"], _id_in(words), depth + 1, of_map="map" in words)
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
        elif "id" in row and "size" in row:
            self._listed[_integer(row, "id")] = bool(row.get("kernel"))
        elif "id" not in row or not {"prog_ids", "kernel", "pids", "kind"} & row.keys():
            raise ProgramsError(f"no answer of bpftool's: an object with {', '.join(sorted(map(str, row))[:8])}")

    def _take_interfaces(self, row: Mapping[str, object]) -> None:
        """Takes the answer of `net show`. Programs on tcx and netkit have links, too."""
        for kind in ("xdp", "tc"):
            rows = row[kind]
            for item in rows if isinstance(rows, list) else ():
                if not isinstance(item, dict) or isinstance(item.get("link_id"), int):
                    continue
                number, where = item.get("prog_id", item.get("id")), item.get("ifindex", 0)
                if isinstance(number, int) and isinstance(where, int):
                    what = "xdp" if kind == "xdp" else "tc action" if "act" in item else "tc filter"
                    self._hooks[LoadedHook(number, what, where)] = None

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
        found = read_dump(rows)
        self._symbols |= found.symbols
        if found.dump is None:
            self._notes.append(
                f"the dump of program {number} has no opcodes, so its instructions are not known: `bpftool -j prog dump xlated"
                f" id {number} opcodes` has them"
            )
            return
        self._byte_order(found.big)
        self._dumps[number] = found.dump

    def _take_slots(self, rows: object, number: int | None) -> None:
        """Takes the dump of a map. Only dumps of prog arrays are used later. One with a row that cannot be read (bpftool
        prints an error in place of a value) is as one that is not there.
        """
        if number is None:
            raise ProgramsError("a dump of a map whose file has no number in its name: call it after the map's id")
        found = []
        for row in rows if isinstance(rows, list) else [rows]:
            fields = row if isinstance(row, dict) else {}
            key, value = bytes_of(fields.get("key")), bytes_of(fields.get("value"))
            if key is None or value is None or not len(key) == len(value) == 4:
                self._slots.pop(number, None)
                return
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
                prototype = f"BTF {number}, type {row['type_id']}" if isinstance(row.get("type_id"), int) else None
                self._functions[number, row["id"]] = Typed(row["name"], prototype)
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

    def functions(self) -> dict[tuple[int, int], Typed]:
        """Returns the functions of BTF dumps, by the ids of their BTF and type."""
        return self._functions

    def loaded(self) -> Loaded:
        """Returns everything collected, in the form of a kernel's own answers."""
        for number in self._dumps:
            if number not in self._programs:
                self._notes.append(f"program {number} is dumped and not listed: its type is not known")
                self._programs[number] = {"id": number, "type": "unspec", "name": ""}
        self._check_lengths()
        missing = sorted(self._programs.keys() - self._dumps.keys())
        if missing:
            shown = ", ".join(map(str, missing[:10]))
            self._notes.append(f"the instructions of {len(missing)} programs are not there (xlated): {shown}")
        return Loaded(
            tuple(self._program(row) for _, row in sorted(self._programs.items())),
            tuple(self._map(row) for _, row in sorted(self._maps.items())),
            tuple(self._link(row) for _, row in sorted(self._links.items())),
            tuple(
                LoadedBtf(number, "", self._listed.get(number, False), self._btfs.get(number))
                for number in sorted(self._btfs.keys() | self._listed.keys())
            ),
            self._symbols,
            bool(self._big),
            tuple(self._notes),
            tuple(self._hooks),
        )

    def _check_lengths(self) -> None:
        """Drops the dumps that do not have the length that the list of programs says: they are cut off, or those of
        another program.
        """
        for number, row in self._programs.items():
            dump, wanted = self._dumps.get(number), row.get("bytes_xlated")
            if dump is not None and isinstance(wanted, int) and wanted and len(dump.data) != wanted:
                del self._dumps[number]
                self._notes.append(
                    f"the dump of program {number} has {len(dump.data)} bytes of its {wanted}, and is not used"
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
        number, kind = _integer(row, "id"), row.get("type")
        slots = self._slots.get(number, [] if number in self._empty else None)
        return LoadedMap(
            number,
            map_number(kind) if isinstance(kind, str) else kind if isinstance(kind, int) else 0,
            str(row.get("name", "")),
            _integer(row, "max_entries"),
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


def _words(command: object) -> list[str]:
    return list(map(str, command)) if isinstance(command, list) else str(command).split()


def _id_in(words: Sequence[str]) -> int | None:
    """Returns the id in the words of a command such as ``prog dump xlated id 12``."""
    for index, word in enumerate(words[:-1]):
        following = words[index + 1]
        if word == "id" and following.isascii() and following.isdigit() and len(following) < 11:
            return int(following)
    return None
