"""A running bpftool's JSON, taken in guests, is read as what the reader of a host sees in the same guest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.programs.bpftool import read_bpftool
from tailcall_audit.analyzer.programs.host import programs_of
from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet, Slot
from tests.mutants import IN_6_1, IN_6_12, IN_7_3
from tests.programs.arranged import HAS_MODULES, Answers, answers
from tests.programs.bpftool_package import BPFTOOLS

_KERNELS = (IN_6_1, IN_6_12, IN_7_3)
_NAMES = ("progs.json", "maps.json", "links.json", "btfs.json", "net.json")


@pytest.fixture(scope="module", params=_KERNELS)
def image(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def seen(image: str) -> Answers:
    found = answers(image)
    assert not any("Error" in words or "failed" in words for words in found.complaints.values()), found.complaints
    return found


def folder(path: Path, files: Mapping[str, bytes]) -> str:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return str(path)


_FILES = {
    ("prog", "show"): "progs",
    ("map", "show"): "maps",
    ("link", "show"): "links",
    ("btf", "show"): "btfs",
    ("net", "show"): "net",
    ("prog", "dump"): "xlated-{}",
    ("map", "dump"): "map-{}",
    ("btf", "dump"): "btf-{}",
}


def documented(seen: Answers) -> dict[str, bytes]:
    """The files that docs/programs.md makes, with the answers of the batch."""
    found = {}
    for row in json.loads(seen.files["batch"]):
        words = row.get("command")
        if words is None:
            assert list(row) == ["error"], "bpftool may complain of the end of its file"
            continue
        number = words[words.index("id") + 1] if "id" in words else ""
        found[_FILES[words[0], words[1]].format(number) + ".json"] = json.dumps(row["output"]).encode()
    return found


@pytest.fixture(scope="module")
def said(seen: Answers, tmp_path_factory: pytest.TempPathFactory) -> ProgramSet:
    return read_bpftool(folder(tmp_path_factory.mktemp("answers"), documented(seen)))


@pytest.fixture(scope="module")
def host(seen: Answers) -> ProgramSet:
    return programs_of(seen.loaded, "the guest")


def named(found: ProgramSet, name: str) -> Program:
    (program,) = [item for item in found.programs if item.name == name]
    return program


def _comparable(program: Program) -> Program:
    """A program without what bpftool does not show, or shows as numbers."""
    return program._replace(source="", attachments=(), lines={}, expected_attach_type=None)


def test_bpftool_shows_the_programs_that_the_reader_sees(said: ProgramSet, host: ProgramSet) -> None:
    assert [_comparable(item) for item in said.programs] == [_comparable(item) for item in host.programs]
    assert said.maps == host.maps
    assert said.notes == host.notes == ()


def test_what_was_loaded_is_what_both_show(said: ProgramSet, host: ProgramSet) -> None:
    for found in (said, host):
        entry, leaf = named(found, "entry"), named(found, "leaf")
        assert [item.name for item in entry.functions] == ["entry", "step"], (
            "the verifier removes what .rodata rules out"
        )
        assert [item.name for item in leaf.functions] == ["leaf", "other"]
        assert [item.is_global for item in (*entry.functions, *leaf.functions)] == [True, False, True, True]
        assert leaf.functions[1].stack == 4
        (steps,) = [item for item in found.maps if item.name.startswith("steps#")]
        assert steps.slots == (Slot(0, entry.key), Slot(2, leaf.key))
        (call,) = entry.functions[1].tail_calls
        assert (call.map, call.key) == (steps.name, 0)
        (other,) = leaf.functions[1].tail_calls
        assert (other.map, other.key) == (steps.name, None)
        assert named(found, "sleepy").sleepable is True
        assert entry.sleepable is None


def _targets(program: Program) -> set[tuple[str | None, str | None]]:
    return {(item.program, item.function) for item in program.attachments}


def test_an_extension_of_two_programs_names_both(host: ProgramSet, said: ProgramSet, image: str) -> None:
    for found in (host, said):
        both = {(named(found, name).key, "sub") for name in ("first_of_a_long_name", "second")}
        # bpftool 7.1 shows no target of a link: what is not shown is not known.
        shown = found is host or image != IN_6_1
        assert _targets(named(found, "other")) == (both if shown else set())


def test_a_tracer_names_its_program_or_says_that_it_may_be_the_kernels_function(
    host: ProgramSet, said: ProgramSet, image: str
) -> None:
    target = named(host, "first_of_a_long_name").key
    (watched,) = named(host, "traced").attachments
    assert (watched.hook, watched.program, watched.function) == (None, target, "first_of_a_long_name")
    if image == IN_6_1:
        assert named(said, "traced").attachments == ()
    else:
        assert named(said, "traced").attachments == (
            Attachment(None, target, "first_of_a_long_name", watched.prototype),
        )


def test_what_netlink_attached_is_seen(host: ProgramSet, said: ProgramSet, seen: Answers, image: str) -> None:
    assert seen.has_tc == (image in HAS_MODULES)
    assert named(host, "passes").attachments == (Attachment("xdp of interface 1", None, None),)
    assert named(said, "passes").attachments == named(host, "passes").attachments
    if seen.has_tc:
        assert named(host, "leaf").attachments == (Attachment("tc filter of interface 1", None, None),)
        assert named(host, "acts").attachments == (Attachment("tc action of interface 0", None, None),)
        assert named(said, "leaf").attachments == named(host, "leaf").attachments


def test_an_answer_of_its_own_is_that_of_the_batch(seen: Answers) -> None:
    assert json.loads(documented(seen)["progs.json"]) == json.loads(seen.files["progs.json"])


def test_source_lines_are_those_of_the_kernel(seen: Answers, host: ProgramSet, tmp_path: Path, image: str) -> None:
    with_lines = {name: data for name, data in seen.files.items() if name.startswith("xlated")}
    (lines,) = with_lines.values()
    found = read_bpftool(folder(tmp_path / "lines", documented(seen) | with_lines))
    if image == IN_6_1:
        # bpftool 7.1 takes one of `opcodes` and `linum`, and prints null for both.
        assert lines == b"null\n"
        assert any("opcodes" in note and "null" in note for note in found.notes)
        return
    theirs, ours = named(found, "entry").lines, named(host, "entry").lines
    assert {place: (line.line, line.text) for place, line in theirs.items()} == {
        place: (line.line, line.text) for place, line in ours.items()
    }
    assert theirs


def test_a_batch_says_the_same(seen: Answers, said: ProgramSet, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_bytes(seen.files["batch"])
    found = read_bpftool(str(tmp_path / "all.json"))
    assert [item.key for item in found.programs] == [item.key for item in said.programs]
    assert found.maps == said.maps
    assert [item.instructions for item in found.programs] == [item.instructions for item in said.programs]


def test_the_documented_commands_find_every_id(seen: Answers) -> None:
    """docs/programs.md lists the ids by sed from the plain answer."""
    text = (Path(__file__).parents[2] / "docs/programs.md").read_text("utf-8")
    script = r"s/^\([0-9]*\):.*/\1/p"
    assert f"bpftool prog show | sed -n '{script}'" in text
    done = subprocess.run(["sed", "-n", script], input=seen.files["plain"], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split() == [str(item.id) for item in seen.loaded.programs]


def test_the_command_reads_the_answers(
    seen: Answers, tmp_path: Path, capsys: pytest.CaptureFixture[str], image: str
) -> None:
    path = folder(tmp_path / "answers", documented(seen))
    code = main(["exposure", "--bpftool", path, "--closed", "--only", "x86-hierarchy", "--json"])
    report = json.loads(capsys.readouterr().out)
    (found,) = report["exposure"]
    assert (code, found["state"]) == (1, "met"), found["reason"]
    assert {"entry"} <= {place["program"].partition("#")[0] for place in found["where"]}
    assert set(BPFTOOLS) == set(_KERNELS)
    assert all((Path(path) / name).is_file() for name in _NAMES), image
