"""``tailcall-audit exposure`` and ``--programs``: what is printed, the contract of its JSON, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.formats.exposure_json import exposure_schema_path
from tailcall_audit.analyzer.formats.json import report_schema_path
from tailcall_audit.analyzer.programs import objects
from tailcall_audit.analyzer.programs.types import ProgramSet, SourceLine
from tests.exposure.assembled import array, made
from tests.exposure.shapes import caller, filled, packet, plain


def _lines(programs: ProgramSet) -> ProgramSet:
    lines = {0: SourceLine("prog.c", 10, "int entry"), 2: SourceLine("prog.c", 12, "step(skb);")}
    return programs._replace(programs=tuple(item._replace(lines=lines) for item in programs.programs))


OBJECTS: dict[str, ProgramSet] = {
    "two.o": _lines(filled(caller(2))),
    "one.o": filled(caller(1)),
    "leaf.o": made(plain("leaf", kind="xdp"), maps=(array({}),)),
    "packet.o": filled(packet("call")),
    "empty.o": made(maps=(array({}),)),
    "unread.o": made()._replace(notes=("the object at byte 64 cannot be read",)),
}


@pytest.fixture(autouse=True)
def _hand_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Objects of our assembler in place of files: the worker that reads them is forked."""

    def read(path: str) -> Iterator[ProgramSet]:
        name = Path(path).name
        if name == "hostile.o":
            while True:
                pass
        if name not in OBJECTS:
            raise AuditError(f"{path}: not a BPF object")
        yield OBJECTS[name]._replace(label=name)

    monkeypatch.setattr(objects, "read_object", read)
    yield


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, "exposure", "--json", *arguments)
    data = json.loads(out)
    schema = json.loads(exposure_schema_path().read_text())
    jsonschema.Draft202012Validator(schema).validate(data)
    return code, data


def test_exit_codes_without_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "exposure", "two.o")[0] == 1
    assert run(capsys, "exposure", "one.o", "--only", "x86-hierarchy")[0] == 3
    assert run(capsys, "exposure", "one.o", "--only", "x86-hierarchy", "--closed")[0] == 0
    assert run(capsys, "exposure", "leaf.o", "--closed", "--jit")[0] == 0


def test_exit_codes_with_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    only = ("--only", "x86-hierarchy", "--arch", "x86_64")
    assert run(capsys, "exposure", "two.o", "--kernel", "6.1.170", *only)[0] == 1
    assert run(capsys, "exposure", "two.o", "--kernel", "6.12.94", *only)[0] == 0
    assert run(capsys, "exposure", "one.o", "--kernel", "6.1.170", *only)[0] == 3
    assert run(capsys, "exposure", "one.o", "--kernel", "6.1.170", "--closed", *only)[0] == 0
    refused = ("--only", "tailcall-pkt-pointers", "--arch", "x86_64")
    assert run(capsys, "exposure", "packet.o", "--kernel", "6.12.94", *refused)[0] == 1


def test_kernels_of_one_architecture_ask_for_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Loops of tail calls were never bounded on LoongArch's 6.12, which is no matter for a kernel of Debian's amd64."""
    arguments = ("exposure", "one.o", "--closed", "--jit", "--pitfalls", "--kernel")
    _, out, _ = run(capsys, *arguments, "6.12.117+deb13-amd64")
    assert "loongarch" not in out
    assert "6.12.y  6.12" in out
    _, out, _ = run(capsys, *arguments, "6.12.117+deb13-amd64", "--kernel", "6.12.117+deb13-arm64")
    assert "loongarch-tailcall-hierarchy" in out


def test_the_json_is_what_the_issue_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, data = as_json(capsys, "two.o", "--closed", "--jit", "--kernel", "6.1.170", "--arch", "x86_64")
    assert code == 1
    assert {"schema_version", "tool_version", "catalog", "programs", "exposure", "targets"} <= set(data)
    (program,) = data["programs"]
    assert (program["object"], program["name"], program["type"]) == ("two.o", "entry", "sched_cls")
    assert [function["name"] for function in program["functions"]] == ["entry", "sub"]
    assert program["functions"][1]["tail_calls"] == [{"instruction": 11, "map": "jmp", "index": 0}]
    (found,) = [item for item in data["exposure"] if item["defect"] == "x86-hierarchy"]
    assert (found["state"], found["refused_by_fix"]) == ("met", "no")
    assert found["where"][0] == {
        "object": "two.o",
        "program": "entry",
        "function": "entry",
        "instruction": 2,
        "line": "prog.c:12",
    }
    assert found["chain"][1] == "entry: sub() tail-calls jmp[0], which is entry"
    (verdict,) = [item for item in data["targets"][0]["verdicts"] if item["defect"] == "x86-hierarchy"]
    assert (verdict["verdict"], verdict["exposure"], verdict["hit"]) == ("affected", "met", True)
    assert {"object": "two.o", "program": "entry", "kernels": {"6.1.170": "hit"}} in data["matrix"]


def test_every_defect_of_the_catalogue_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, data = as_json(capsys, "leaf.o")
    assert [item["defect"] for item in data["exposure"]] == [item.slug for item in shipped_catalog().defects]
    assert data["targets"] == []


def test_an_audit_with_programs_is_valid_and_counts_hits(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = ("--kernel", "6.1.170", "--arch", "x86_64", "--only", "x86-hierarchy")
    code, out, _ = run(capsys, *kernel, "--programs", "two.o", "--json")
    assert code == 1
    data = json.loads(out)
    jsonschema.Draft202012Validator(json.loads(report_schema_path().read_text())).validate(data)
    assert data["targets"][0]["verdicts"][0]["hit"] is True
    code, out, _ = run(capsys, *kernel, "--programs", "one.o", "--closed")
    assert (code, "not reached" in out, "affected" in out) == (0, True, True)
    assert run(capsys, *kernel)[0] == 1


@pytest.mark.parametrize("form", ["csv", "sarif", "markdown", "html", "junit"])
def test_other_formats_show_what_it_means_for_programs(capsys: pytest.CaptureFixture[str], form: str) -> None:
    kernel = ("--kernel", "6.1.170", "--arch", "x86_64", "--only", "x86-hierarchy")
    code, out, _ = run(capsys, "exposure", "two.o", *kernel, "--format", form)
    assert code == 1
    assert "HIT" in out or '"hit":true' in out.replace(" ", "") or ",met,yes,no" in out


def test_junit_passes_what_the_programs_do_not_reach(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = ("--kernel", "6.1.170", "--arch", "x86_64", "--only", "x86-hierarchy")
    _, out, _ = run(capsys, "exposure", "one.o", "--closed", *kernel, "--format", "junit")
    assert 'failures="0"' in out
    assert "affected: " in out
    assert "not reached" in out


def test_explain_draws_the_path_that_matters(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "exposure", "two.o", "--closed", "--explain", "--only", "x86-hierarchy")
    assert code == 1
    assert ">         2 calls sub()   prog.c:12" in out
    assert ">        11 tail-calls jmp[0] -> 0: entry   prog.c:12" in out
    assert (
        "x86-hierarchy: the loop\n  1. entry: entry() calls sub() and then sub(), which both make tail calls\n" in out
    )


def test_one_bad_object_costs_the_others_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, data = as_json(capsys, "two.o", "broken.o")
    assert code == 1
    assert [item["label"] for item in data["skipped"]] == ["broken.o"]
    assert len(data["programs"]) == 1


def test_beside_an_object_that_cannot_be_read_closed_is_not_believed(capsys: pytest.CaptureFixture[str]) -> None:
    for other in ("unread.o", "broken.o"):
        code, data = as_json(capsys, "one.o", other, "--closed", "--only", "x86-hierarchy")
        assert code == 3
        assert [item["label"] for item in data["skipped"]] == [other]
        assert (data["closed"], data["exposure"][0]["state"]) == (False, "possible")
        assert "--closed" not in data["exposure"][0]["settle"]


def test_an_object_that_ends_its_worker_costs_the_others_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailcall_audit.analyzer import limits

    monkeypatch.setitem(limits.LIMITS, "programs", limits.Limits(2, 1200, 512))
    code, data = as_json(capsys, "two.o", "hostile.o", "--only", "x86-hierarchy")
    assert code == 1
    assert "processor time" in data["skipped"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name the programs"),
        (("broken.o",), "broken.o: not a BPF object"),
        (("empty.o",), "there is no BPF program in it"),
        (("two.o", "--format", "sarif"), "name one"),
        (("two.o", "--arch", "arm64"), "none is named"),
        (("two.o", "--json", "--explain"), "has no choice of it"),
    ],
)
def test_what_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = run(capsys, "exposure", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_closed_without_programs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--kernel", "6.1.170", "--closed")[0] == 2


def test_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = run(
        capsys, "exposure", "two.o", "--format", "table", "--closed", "--kernel", "6.1.170", "--arch", "x86_64"
    )
    assert max(map(len, out.splitlines())) <= 60
