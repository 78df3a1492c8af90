"""What bpftool prints as JSON, in the forms of bpftool 7.1 (Debian 12) to 7.5: the files of a host, distinguished by
content.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.programs.bpftool import read_bpftool
from tailcall_audit.analyzer.programs.types import Attachment, ProgramSet, Reach, Slot
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.instructions import Insn, insns_of
from tests.programs.elf_writer import encode

_CALL_SUB = Insn(0x85, 0, 1, 0, 1)
"""As the kernel shows it: the distance in the offset, the number of the subprogram in the immediate."""


def translated() -> list[Insn]:
    """A main program that calls a subprogram and a helper, and a subprogram that tail-calls slot 1 of map 5."""
    main = insns_of(Program().function("entry").mov(6, 1).helper(-12345).set(0, 0).exit())
    sub = insns_of(Program().function("sub").set(3, 1).map_fd(2, 5).helper(12).set(0, 0).exit())
    main.insert(1, _CALL_SUB._replace(off=3))
    return main + sub


def hexadecimal(data: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in data]


def dump(insns: list[Insn], order: str = "<") -> list[dict[str, object]]:
    """The instructions as `bpftool -j prog dump xlated id N opcodes linum` prints them."""
    rows: list[dict[str, object]] = []
    for index, insn in enumerate(insns):
        data = encode(insn, order)
        row: dict[str, object] = {}
        if index == 0:
            row["proto"] = "int entry(struct __sk_buff * skb)"
        if index == 5:
            row["proto"] = "int sub(struct __sk_buff * skb)"
            row |= {"src": "  bpf_tail_call(skb, &jumps, 1);", "file": "a.c", "line_num": 12, "line_col": 3}
        name = {1: "call pc+3#bpf_prog_0123456789abcdef_sub", 2: "call bpf_ktime_get_ns#-12345"}.get(index, "r0 = 0")
        row["disasm"] = f"({insn.code:02x}) {name}"
        row["opcodes"] = {
            "code": f"0x{insn.code:02x}",
            "src_reg": f"0x{insn.src:x}",
            "dst_reg": f"0x{insn.dst:x}",
            "off": hexadecimal(data[2:4]),
            "imm": hexadecimal(data[4:16]),
        }
        rows.append(row)
    return rows


PROGRAMS: list[dict[str, object]] = [
    {"id": 12, "type": "sched_cls", "name": "entry", "tag": "a04f5eef06a7f555", "gpl_compatible": True, "loaded_at": 1, "uid": 0,
     "bytes_xlated": 88, "jited": True, "bytes_jited": 70, "bytes_memlock": 4096, "map_ids": [5], "btf_id": 9},
    {"id": 14, "type": "ext", "name": "other", "tag": "a04f5eef06a7f556", "gpl_compatible": True, "jited": True, "bytes_xlated": 16},
]  # fmt: skip
MAPS: list[dict[str, object]] = [
    {"id": 5, "type": "prog_array", "name": "jumps", "flags": 0, "bytes_key": 4, "bytes_value": 4, "max_entries": 4}
]
SLOTS: list[dict[str, object]] = [
    {"key": hexadecimal(b"\x01\0\0\0"), "value": hexadecimal(b"\x0c\0\0\0")},
    {"key": hexadecimal(b"\x03\0\0\0"), "value": hexadecimal(b"\x63\0\0\0")},
]
LINKS: list[dict[str, object]] = [
    {"id": 3, "type": "tracing", "prog_id": 14, "prog_type": "ext", "attach_type": "cgroup_inet_ingress", "target_obj_id": 12,
     "target_btf_id": 6}
]  # fmt: skip
TYPES = {
    "types": [
        {"id": 5, "kind": "FUNC", "name": "entry", "type_id": 4, "linkage": "global"},
        {"id": 6, "kind": "FUNC", "name": "sub", "type_id": 4, "linkage": "static"},
    ]
}
FILES: dict[str, object] = {
    "progs.json": PROGRAMS,
    "maps.json": MAPS,
    "links.json": LINKS,
    "map-5.json": SLOTS,
    "xlated-12.json": dump(translated()),
    "btf-9.json": TYPES,
}


def write(folder: Path, files: dict[str, object]) -> str:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(folder)


def check(found: ProgramSet) -> None:
    entry, other = found.programs
    assert (entry.key, entry.type, entry.jited, entry.license_gpl) == ("entry#12", "sched_cls", True, True)
    assert [item.name for item in entry.functions] == ["entry", "sub"]
    main, sub = entry.functions
    assert [(item.callee, item.reach) for item in main.calls] == [("sub", Reach.LIVE)]
    assert [item.helper for item in main.helpers] == [5]
    assert [(item.map, item.key) for item in sub.tail_calls] == [("jumps#5", 1)]
    (jumps,) = found.maps
    assert (jumps.type, jumps.max_entries) == ("prog_array", 4)
    assert jumps.slots == (Slot(1, "entry#12"), Slot(3, None))
    assert jumps.slots_are_all is True
    assert other.functions == ()


def test_a_folder_of_answers(tmp_path: Path) -> None:
    found = read_bpftool(write(tmp_path, FILES))
    check(found)
    entry, other = found.programs
    assert [item.is_global for item in entry.functions] == [True, False]
    assert entry.lines == {5: ("a.c", 12, "bpf_tail_call(skb, &jumps, 1);")}
    assert other.attachments == (Attachment(None, "entry#12", "sub", "BTF 9, type 4"),)
    assert found.notes == ("the instructions of 1 programs are not there (xlated): 14",)


def test_a_batch_is_one_file(tmp_path: Path) -> None:
    batch = [
        {"command": ["prog", "show"], "output": PROGRAMS},
        {"command": ["map", "show"], "output": MAPS},
        {"command": ["map", "dump", "id", "5"], "output": SLOTS},
        {"command": ["prog", "dump", "xlated", "id", "12", "opcodes"], "output": dump(translated())},
    ]
    check(read_bpftool(str(write_one(tmp_path, batch))))


def write_one(folder: Path, content: object) -> Path:
    path = folder / "all.json"
    path.write_text(json.dumps(content))
    return path


def test_raw_instructions_are_those_of_the_program_in_the_name(tmp_path: Path) -> None:
    raw = b"".join(map(encode, translated()))
    found = read_bpftool(write(tmp_path, {**FILES, "xlated-12.json": b"", "xlated.12.raw".replace(".", "-"): raw}))
    entry = found.programs[0]
    assert [len(item.calls) for item in entry.functions] == [1, 0]
    assert [(item.map, item.key) for item in entry.functions[1].tail_calls] == [("jumps#5", 1)]


def test_answers_of_a_big_endian_host(tmp_path: Path) -> None:
    slots = [{"key": hexadecimal(b"\0\0\0\x01"), "value": hexadecimal(b"\0\0\0\x0c")},
             {"key": hexadecimal(b"\0\0\0\x03"), "value": hexadecimal(b"\0\0\0\x63")}]  # fmt: skip
    found = read_bpftool(write(tmp_path, {**FILES, "map-5.json": slots, "xlated-12.json": dump(translated(), ">")}))
    assert found.big_endian is True
    check(found)


def test_an_empty_prog_array_is_known_to_be_empty(tmp_path: Path) -> None:
    """As bpftool prints one whose last descriptor was closed."""
    found = read_bpftool(write(tmp_path, {**FILES, "map-5.json": []}))
    assert (found.maps[0].slots, found.maps[0].slots_are_all) == ((), True)


@pytest.mark.parametrize(
    "row",
    [
        {"key": hexadecimal(b"\x02\0\0\0"), "value": {"error": "Operation not permitted"}},
        {"key": hexadecimal(b"\x02\0\0\0")},
        {"key": hexadecimal(b"\x02\0\0"), "value": hexadecimal(b"\x0c\0\0\0")},
    ],
)
def test_a_dump_of_a_map_with_a_row_that_cannot_be_read_is_not_all_of_it(tmp_path: Path, row: object) -> None:
    found = read_bpftool(write(tmp_path, {**FILES, "map-5.json": [*SLOTS, row]}))
    assert (found.maps[0].slots, found.maps[0].slots_are_all) == ((), False)
    assert "what is in the prog array jumps#5 could not be read" in found.notes


def test_a_map_of_an_unknown_size_is_not_one_without_slots(tmp_path: Path) -> None:
    maps = [{name: value for name, value in MAPS[0].items() if name != "max_entries"}]
    with pytest.raises(AuditError, match="'max_entries' is no number"):
        read_bpftool(write(tmp_path, {**FILES, "maps.json": maps}))


def test_a_program_that_is_not_listed_is_of_an_unknown_type(tmp_path: Path) -> None:
    """Not of a type of its own, whose programs may not sleep."""
    found = read_bpftool(write(tmp_path, {name: answer for name, answer in FILES.items() if name != "progs.json"}))
    assert found.programs[0].type is None
    assert "program 12 is dumped and not listed: its type is not known" in found.notes


def test_a_host_without_links_empties_no_map(tmp_path: Path) -> None:
    """The number of a host in a file's name is not the id of a map."""
    files = {name: content for name, content in FILES.items() if name not in ("links.json", "map-5.json")}
    found = read_bpftool(write(tmp_path, {**files, "web-5-links.json": []}))
    assert found.maps[0].slots_are_all is False


def test_a_dump_that_is_cut_off_is_not_the_program(tmp_path: Path) -> None:
    raw = b"".join(map(encode, translated()))[: 8 * 5]  # up to the exit of the main program
    found = read_bpftool(write(tmp_path, {**FILES, "xlated-12.json": b"", "xlated-12": raw}))
    assert found.programs[0].functions == ()
    assert "the dump of program 12 has 40 bytes of its 88, and is not used" in found.notes


def test_a_dump_with_an_instruction_without_opcodes_is_not_the_program(tmp_path: Path) -> None:
    rows = dump(translated())
    rows[1] = {"proto": "int entry(struct __sk_buff * skb)"}
    programs = [{name: value for name, value in PROGRAMS[0].items() if name != "bytes_xlated"}]
    found = read_bpftool(write(tmp_path, {**FILES, "progs.json": programs, "xlated-12.json": rows}))
    assert found.programs[0].functions == ()
    assert any("has no opcodes" in note for note in found.notes)


def test_a_program_whose_maps_are_not_listed_is_not_known(tmp_path: Path) -> None:
    """Without `map show`, nothing says that the map of the program is a prog array."""
    found = read_bpftool(write(tmp_path, {name: answer for name, answer in FILES.items() if name != "maps.json"}))
    assert found.programs[0].functions == ()
    assert "what program 12 does is not known, because these maps of it are not known: 5" in found.notes


@pytest.mark.parametrize(
    ("answer", "note"), [(None, "about id 12 is null"), ({"error": "no"}, "bpftool could not read")]
)
def test_an_answer_that_bpftool_refused_is_said(tmp_path: Path, answer: object, note: str) -> None:
    found = read_bpftool(write(tmp_path, {**FILES, "xlated-12.json": answer}))
    assert found.programs[0].functions == ()
    assert any(note in item for item in found.notes)


def test_the_target_of_a_link_is_the_kernels_or_a_programs_as_the_list_of_btf_decides(tmp_path: Path) -> None:
    """bpf_trampoline_unpack_key() gives the id of a program or of the kernel's BTF, and not which."""
    link = [{**LINKS[0], "prog_id": 14}]
    programs = [PROGRAMS[0], {**PROGRAMS[1], "type": "tracing"}]
    hook = "type 6 of BTF 12"
    known = Attachment(None, "entry#12", "sub", "BTF 9, type 4")
    listed = [{"id": 1, "size": 9, "kernel": True}, {"id": 9, "size": 9, "kernel": False}]
    files = {**FILES, "progs.json": programs, "links.json": link}
    assert read_bpftool(write(tmp_path, files)).programs[1].attachments == (Attachment(hook, "entry#12", "sub"),)
    (tmp_path / "btfs.json").write_text(json.dumps(listed))
    assert read_bpftool(str(tmp_path)).programs[1].attachments == (known,)
    (tmp_path / "btfs.json").write_text(json.dumps([*listed, {"id": 12, "size": 9, "kernel": True}]))
    assert read_bpftool(str(tmp_path)).programs[1].attachments == (Attachment(hook, "entry#12", "sub"),)
    (tmp_path / "links.json").write_text(json.dumps([{**link[0], "target_btf_id": 77}]))
    assert read_bpftool(str(tmp_path)).programs[1].attachments == (Attachment("type 77 of BTF 12", None, None),)


def test_a_link_without_a_target_leaves_it_unknown(tmp_path: Path) -> None:
    """bpftool 7.1 shows none."""
    link = [{name: value for name, value in LINKS[0].items() if not name.startswith("target")}]
    assert read_bpftool(write(tmp_path, {**FILES, "links.json": link})).programs[1].attachments == ()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no program in it; `bpftool -j prog show` lists them"),
        ({"maps.json": MAPS}, "no program in it"),
        ({"progs.json": b"[{"}, "progs.json: no JSON:1:3"),
        ({"progs.json": [1]}, "progs.json: no answer of bpftool's"),
        ({"progs.json": {"hello": 1}}, "an object with hello"),
        ({"progs.json": [{"id": -1, "type": "xdp", "tag": ""}]}, "whose 'id' is no number"),
        ({"xlated.json": dump(translated())}, "call it after the program's id"),
        ({"note-1.txt": b"see you"}, "note-1.txt: neither JSON of bpftool nor instructions"),
        ({"xlated-1.json": [{"disasm": "", "opcodes": {"code": "0x85"}}]}, "opcodes are no numbers"),
    ],
)
def test_what_is_no_answer_is_named(tmp_path: Path, files: dict[str, object], reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        read_bpftool(write(tmp_path, files))


def test_a_dump_without_opcodes_is_said(tmp_path: Path) -> None:
    rows: list[object] = [{"disasm": "(95) exit"}]
    found = read_bpftool(write(tmp_path, {**FILES, "xlated-12.json": rows}))
    assert found.programs[0].functions == ()
    assert "the dump of program 12 has no opcodes" in found.notes[0]
