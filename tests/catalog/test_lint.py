"""Facts that are valid and doubtful: each complaint, where it points, and how a file accepts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.build import load_built
from tailcall_audit.analyzer.catalog.files import read_catalog_folder
from tailcall_audit.analyzer.catalog.lint import RULES, lint
from tailcall_audit.analyzer.catalog.yaml_file import Complaint
from tests.kernels import kernel_source

FOLDER = Path(__file__).parents[2] / "catalog"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped folder, to be changed."""
    return Path(shutil.copytree(FOLDER, tmp_path / "catalog"))


def complaints(folder: Path) -> list[Complaint]:
    files = read_catalog_folder(folder)
    assert files.complaints == ()
    return lint(files, load_built(files))


def test_nothing_in_the_shipped_folder_is_doubtful() -> None:
    assert complaints(FOLDER) == []


# By name: the file, what is changed in it, the line that the complaint points to, and the detail that accepts it.
DOUBTS = {
    "unknown-tag": ("commits/2b5dcb31a19a.yaml", "source: SUSE; MAIL", "source: SUSE; POST", "source: SUSE", "POST"),
    "missing-source": ("commits/2b5dcb31a19a.yaml", "source: SUSE; MAIL", "source: hearsay", "hearsay", None),
    "short-id": ("commits/2b5dcb31a19a.yaml", "id: 2b5dcb31a19a2e0acd869b12c9db9b2d696ef544", "id: 2b5dcb31a19a\nunverified: x", "id:", None),
    "guessed-rc": ("commits/2b5dcb31a19a.yaml", "kind: fix", "kind: fix\nunverified: which rc had it", "first_release", None),
    "opposite-present": (
        "commits/1a4607ffba35.yaml",
        "      - [BPF_FUNC_tail_call]",
        "      - [BPF_FUNC_tail_call]\n      - ['!BPF_FUNC_tail_call']",
        "    present:",
        "a tail call may change packet data",
    ),
    "unseen-part": ("commits/2b5dcb31a19a.yaml", "  - include/linux/bpf.h", "  - kernel/bpf/btf.c", "kernel/bpf/btf.c", "kernel/bpf/btf.c"),
    "wrong-branch": ("commits/2b5dcb31a19a.yaml", "backported: 6.1.72", "backported: 6.2.72", "  6.1:", "6.1"),
    "wrong-order": ("commits/10627ddc0167.yaml", "  - commit: abad3d0bad72", "  - commit: a41d0c30d764", "needs:", "a41d0c30d764"),
    "changes-unsaid": ("commits/f7866c358733.yaml", "changes: []\n", "", "id:", None),
    "range-gap": (
        "commits/d6083f040d5d.yaml",
        "  6.6:\n    absent_through: 6.6.145",
        "  6.4:\n    absent_through: 6.4.16",
        "first_release",
        "6.6",
    ),
    "condition-missing": (
        "defects/freplace-loop.yaml",
        "exposure: extension-that-tail-calls-its-target\n",
        "",
        "title:",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_is_named_with_its_line(folder: Path, name: str) -> None:
    file, old, new, line_of, _ = DOUBTS[name]
    path = folder / file
    text = path.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    path.write_text(text)
    found = [(item.path, item.line) for item in complaints(folder) if item.name == name]
    start = text.index("a tail call may change packet data") if name == "opposite-present" else 0
    expected = text.count("\n", 0, text.index(line_of, start)) + 1
    assert (path, expected) in found


_DETAILED = [(name, f"'{name} {row[-1]}'") for name, row in DOUBTS.items() if row[-1] is not None]


@pytest.mark.parametrize(("name", "accepted"), [*((name, name) for name in DOUBTS), *_DETAILED])
def test_a_reason_in_the_file_accepts_it(folder: Path, name: str, accepted: str) -> None:
    file, old, new, *_ = DOUBTS[name]
    path = folder / file
    path.write_text(path.read_text().replace(old, new, 1))
    with path.open("a") as text:
        text.write(f"lint:\n  {accepted}: made for this test\n")
    assert [item for item in complaints(folder) if item.name in (name, "unused-acceptance")] == []


def test_a_reason_that_accepts_nothing_is_a_complaint(folder: Path) -> None:
    path = folder / "commits/2b5dcb31a19a.yaml"
    with path.open("a") as text:
        text.write("lint:\n  short-id: it is not\n")
    (found,) = complaints(folder)
    assert (found.name, found.path) == ("unused-acceptance", path)
    assert path.read_text().splitlines()[found.line - 1] == "  short-id: it is not"


def test_a_form_and_its_absence_prove_nothing_whatever_the_reason(folder: Path) -> None:
    """What behaves the same is no excuse here: one of the two is in any source."""
    file = folder / "commits" / "2b5dcb31a19a.yaml"
    form = "tail_call_reachable ) tr -> flags = BPF_TRAMP_F_TAIL_CALL_CTX"
    text = file.read_text()
    assert f"      - ['{form}']\n" in text
    file.write_text(text.replace(f"      - ['{form}']\n", f"      - ['{form}']\n      - ['!{form}']\n", 1))
    (complaint,) = complaints(folder)
    assert complaint.name == "opposite-present"
    assert "every source has the one or the other" in complaint.message


def test_a_commit_that_nothing_names_is_unused(folder: Path) -> None:
    path = folder / "commits/aaaaaaaaaaaa.yaml"
    path.write_text(
        f"id: {'a' * 40}\nsubject: x\nfirst_release: 6.1\nkind: fix\nfiles: [include/linux/bpf.h]\nsource: RUN\n"
    )
    assert [item.name for item in complaints(folder)] == ["unused-commit"]


def test_one_backport_at_two_commits_is_named(folder: Path) -> None:
    one, other = folder / "commits/f7866c358733.yaml", folder / "commits/fdad456cbcca.yaml"
    lines = [line for line in one.read_text().splitlines() if line.startswith("    id: ")]
    text = other.read_text()
    first = next(line for line in text.splitlines() if line.startswith("    id: "))
    other.write_text(text.replace(first, lines[0]))
    assert "repeated-id" in [item.name for item in complaints(folder)]


def test_a_signature_that_was_seen_nowhere_is_named(folder: Path) -> None:
    path = folder / "commits/04fd61ab36ec.yaml"
    lines = path.read_text().splitlines()
    start = lines.index("    examples:")
    del lines[start : start + 2]
    path.write_text("\n".join(lines) + "\n")
    assert "no-example" in [item.name for item in complaints(folder)]


def test_a_fact_that_no_condition_names_is_unused(folder: Path) -> None:
    path = folder / "facts.yaml"
    text = path.read_text() + "flies: it flies\n"
    path.write_text(text)
    assert [(item.name, item.line) for item in complaints(folder)] == [("unused-fact", len(text.splitlines()))]


def test_every_rule_is_tested() -> None:
    assert set(RULES) == {*DOUBTS, "unused-commit", "repeated-id", "no-example", "unused-fact"}


def test_the_command_prints_lines_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "lint", "--from", str(folder)]) == 0
    path = folder / "commits/2b5dcb31a19a.yaml"
    path.write_text(path.read_text().replace("source: SUSE; MAIL", "source: POST", 1))
    capsys.readouterr()
    assert main(["catalog", "lint", "--from", str(folder)]) == 1
    assert f"{path}:10: the tag POST is not in sources.yaml [unknown-tag]" in capsys.readouterr().out
    assert main(["catalog", "lint", "--from", str(folder), "--json"]) == 1
    entries = json.loads(capsys.readouterr().out)["complaints"]
    assert [(entry["name"], entry["file"], entry["line"]) for entry in entries] == [("unknown-tag", str(path), 10)]


def test_an_example_that_does_not_hold_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, got = kernel_source("6.1", "6.1.192-2")
    if got != "6.1.192-2":
        pytest.skip("linux-source 6.1.192-2 has left the mirror")
    path = folder / "commits/d6083f040d5d.yaml"
    text = path.read_text()
    path.write_text(
        text.replace("present: [6.1.192-2, ", "present: [", 1).replace("6.1.170-3]", "6.1.170-3, 6.1.192-2]", 1)
    )
    sources = folder.parent / "sources"
    sources.mkdir()
    (sources / "source-6.1.192-2").symlink_to(source)
    assert main(["catalog", "lint", "--from", str(folder), "--sources", str(sources)]) == 1
    captured = capsys.readouterr()
    assert "is present in 6.1.192-2, and the example says absent [example-fails]" in captured.out
    assert "1 complaints; " in captured.err


@pytest.mark.parametrize("content", [None, "notes"])
def test_sources_that_are_not_there_are_an_error(tmp_path: Path, content: str | None) -> None:
    sources = tmp_path / "sources"
    if content is not None:
        (sources / content).mkdir(parents=True)
    assert main(["catalog", "lint", "--sources", str(sources)]) == 2
