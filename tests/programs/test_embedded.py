"""Objects within other files: skeletons of bpftool in C programs, light ones, and what bpf2go embeds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.programs import embedded, light_skeleton
from tailcall_audit.analyzer.programs.embedded import Embedded, find_objects
from tailcall_audit.analyzer.programs.light_skeleton import read_light_skeletons
from tailcall_audit.analyzer.programs.objects import read_all, read_object
from tailcall_audit.analyzer.programs.types import ProgramSet, Slot
from tests.programs.compiled import build
from tests.programs.test_compiled import SOURCE
from tests.programs.test_objects import tail_calling

LIGHT = SOURCE.replace("= { .values = { [1] = (void *)&entry } }", "")
"""gen_loader.c takes no initialiser of a prog array."""
_USES = '#include <errno.h>\n#include "demo.h"\nint main(void) { struct demo *demo = demo__open(); return demo ? demo__load(demo) : 1; }\n'


def bpftool(*arguments: str) -> bytes:
    program = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip("no bpftool on this machine: install bpftool to make skeletons")
    return subprocess.run([program, *arguments], capture_output=True, check=True, timeout=60).stdout


def executable(folder: Path, *options: str) -> Path:
    """Builds a program with the skeleton in demo.h, without symbols."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine: install gcc to build a program with a skeleton")
    (folder / "main.c").write_text(_USES)
    command = ["gcc", "-O2", "-s", "-I", str(folder), "-o", str(folder / "main"), str(folder / "main.c"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "cannot find -lbpf" in done.stderr:
        pytest.skip("no libbpf on this machine: install libbpf-dev to build a program with a skeleton")
    assert done.returncode == 0, done.stderr
    return folder / "main"


def facts(found: ProgramSet) -> list[object]:
    """What has to be the same however an object is wrapped."""
    return [
        (item.name, item.type, [(function.name, function.stack, function.is_global, len(function.calls)) for function in item.functions],
         [(call.map, call.key) for function in item.functions for call in function.tail_calls])
        for item in found.programs
    ]  # fmt: skip


def test_the_object_of_a_skeleton_is_found_in_the_program(tmp_path: Path) -> None:
    made = build(SOURCE, tmp_path)
    (tmp_path / "demo.h").write_bytes(bpftool("gen", "skeleton", str(made), "name", "demo"))
    (plain,) = read_object(str(made))
    (found,) = read_object(str(executable(tmp_path, "-lbpf")))
    assert facts(found) == facts(plain)
    assert found.label.startswith("main, object at byte ")


def test_a_light_skeleton_is_read_as_what_its_loader_loads(tmp_path: Path) -> None:
    made = build(LIGHT, tmp_path)
    (tmp_path / "demo.h").write_bytes(bpftool("gen", "skeleton", "-L", str(made), "name", "demo"))
    (plain,) = read_object(str(made))
    (header,) = read_object(str(tmp_path / "demo.h"))
    (found,) = read_object(str(executable(tmp_path)))
    assert facts(header) == facts(found) == facts(plain)
    assert [(item.name, item.type, item.max_entries) for item in header.maps if item.type == "prog_array"] == [
        ("jumps", "prog_array", 2),
        ("filled", "prog_array", 2),
    ]
    assert header.programs[0].line_of(0) == plain.programs[0].line_of(0)


def test_a_linked_object_keeps_static_functions_of_one_name_apart(tmp_path: Path) -> None:
    other = SOURCE.replace("loop(3, each", "loop(4, each")
    names = (("entry", "third"), ("second", "fourth"), ("filled", "more"), ("sub(", "less("), ("jumps", "steps"))
    for old, new in (*names, ("calls", "hits"), ("debug", "loud"), ("_license", "_licence")):
        other = other.replace(old, new)
    linked = tmp_path / "linked.o"
    objects = [str(build(SOURCE, tmp_path)), str(build(other, tmp_path, name="other"))]
    bpftool("gen", "object", str(linked), *objects)
    (found,) = read_object(str(linked))
    assert sorted(item.key for item in found.programs) == ["entry", "fourth", "second", "third"]
    third = found.program("third")
    assert third is not None
    assert [item.name for item in third.functions] == ["third", "less", "each"]
    (alone,) = read_object(objects[1])
    again = alone.program("third")
    assert again is not None
    assert [item.imm for item in third.instructions if item.code == 0x85] == [
        item.imm for item in again.instructions if item.code == 0x85
    ]
    more = found.map("more")
    assert more is not None
    assert more.slots == (Slot(1, "third"),)


def test_objects_within_a_file_are_found_where_they_are() -> None:
    one = tail_calling().encode()
    data = b"\x7fELF\x02\x01\x01" + bytes(100) + one + b"\x7fELF" + one + bytes(7)
    assert list(find_objects(data)) == [Embedded(107, one), Embedded(111 + len(one), one)]
    assert list(find_objects(one)) == []


def test_an_object_that_is_cut_off_is_one_that_is_not_read() -> None:
    one = tail_calling().encode()
    for end in (-1, -64, 64):
        data = bytes(1) + one[:end]
        assert list(find_objects(data)) == [Embedded(1, b"")]
        (found,) = read_all(data, "lib.a")
        assert found.is_unread
        assert "cut off" in found.notes[0]
    (whole, cut) = read_all(bytes(1) + one + one[:-1], "lib.a")
    assert (whole.is_unread, cut.is_unread) == (False, True)


def test_where_the_search_for_objects_ends_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tail_calling().encode()
    data = b"\x7fELF\x02\x01\x01" + bytes(100) + one + one
    monkeypatch.setattr(embedded, "_MAX_OBJECTS", 1)
    first, rest = read_all(data, "lib.a")
    assert len(first.programs) == 2
    assert rest.is_unread
    assert rest.notes == (f"it may have more BPF objects than are looked for, from byte {107 + len(one)} on",)


_LOADER = bytes.fromhex(
    "bf16000000000000bfa1000000000000070100006affffffb702000098000000b7030000000000008500000071000000"
)


def test_a_light_skeleton_that_is_not_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that is cut off, and more loaders than are read."""
    (found,) = read_light_skeletons(bytes(8) + _LOADER, "demo")
    assert found.is_unread
    assert found.label == "demo, light skeleton at byte 8"
    monkeypatch.setattr(light_skeleton, "_MAX_LOADERS", 1)
    _, rest = read_light_skeletons(_LOADER * 2, "demo")
    assert rest.is_unread
    assert f"those from byte {len(_LOADER)} on are not read" in rest.notes[0]


def test_a_program_without_bpf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "true"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0" + bytes(2000))
    with pytest.raises(AuditError, match="and no BPF object is in it"):
        read_object(str(path))
