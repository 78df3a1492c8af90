"""The command as users meet it: exit codes, streams, files."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit.analyzer.app import shared
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.formats.json import report_schema_path
from tests.reports import whole_verdicts
from tests.repositories import FIX_6, FIX_6_SUBJECT, INTRODUCTION_6, INTRODUCTION_6_SUBJECT, backport, stable_branch


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--kernel", "6.12.117", "--arch", "x86_64", "--pitfalls"), 0),
        (("--kernel", "6.1.170", "--arch", "x86_64", "--pitfalls"), 1),
        (("--kernel", "6.8.0-1008-aws", "--arch", "amd64", "--only", "freplace-loop"), 3),
        (("--kernel", "6.8.0-1008-aws", "--arch", "amd64", "--only", "freplace-loop", "--allow-unknown"), 0),
        (("--kernel", "6.1.0-47-amd64", "--only", "2"), 0),
        (("--kernel", "hello"), 2),
        (("--kernel", "6.1", "--arch", "vax"), 2),
        (("--kernel", "6.1", "--only", "nothing"), 2),
        (("--kernel", "6.1", "--tree", "."), 2),
        (("--kernel", "6.1", "--rev", "x"), 2),
        (("--tree", "/nowhere"), 2),
        (("--config", "/nowhere"), 2),
        (("--kernel", "6.1", "--catalog", "/nowhere"), 2),
        (("list",), 0),
        (("explain", "6"), 0),
        (("explain", "d6083f040d5d"), 0),
        (("explain", "nothing"), 2),
        (("explain", ""), 2),
        (("--kernel", "6.12.117", "--arch", "x86_64", "--only", ""), 2),
        (("--kernel", "6.12.117", "--arch", "x86_64", "--only", "6,"), 0),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int) -> None:
    got, out, err = run(capsys, *arguments)
    assert got == code
    if code == 2:
        assert out == ""
        assert err.startswith("tailcall-audit: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--kernel",), ("--kern", "6.1")])
def test_wrong_options_exit_with_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


def test_an_internal_error_is_one_line_and_a_traceback_with_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailcall_audit.analyzer.app.audit.audit", lambda **_: 1 / 0)
    code, _, err = run(capsys, "--kernel", "6.1")
    assert (code, err.count("\n")) == (4, 1)
    assert "ZeroDivisionError" in err
    code, _, err = run(capsys, "--kernel", "6.1", "--debug")
    assert code == 4
    assert "Traceback" in err
    assert "ZeroDivisionError: division by zero" in err


def test_the_pitfalls_of_an_architecture_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--kernel", "6.1.170", "--arch", "x86_64", "--pitfalls", "--json")
    slugs = [item["defect"] for item in json.loads(out)["targets"][0]["verdicts"]]
    assert slugs == [
        "freplace-tailcallee",
        "x86-count-offset",
        "x86-trampoline-loop",
        "x86-hierarchy",
        "freplace-attached-panic",
        "freplace-attached-refused",
        "freplace-loop",
    ]


def test_json_is_what_its_schema_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    schema = json.loads(report_schema_path().read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    history = stable_branch(tmp_path / "linux")
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit(f"{FIX_6_SUBJECT}\x1b[31m\n\n[ Upstream commit {FIX_6} ]\n")
    history.checkout()
    for arguments in (("--kernel", "6.1.0-47-amd64", "--kernel", "6.12.4"), ("--tree", str(history.path)), ()):
        code, out, _ = run(capsys, *arguments, "--json")
        data = json.loads(out)
        jsonschema.Draft202012Validator(schema).validate(data)
        assert code in (0, 1, 3)
        assert "\x1b" not in out
        assert all(
            item["observation"] is None
            for number in range(len(data["targets"]))
            for item in whole_verdicts(data, number)
        )


def test_output_is_written_whole_or_not_at_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    code, out, _ = run(capsys, "--kernel", "6.12.117", "--arch", "x86_64", "--json", "--output", str(target))
    assert (code, out) == (0, "") or (code, out) == (1, "")
    assert json.loads(target.read_text())["schema_version"] == 3
    before = target.read_text()
    code, _, err = run(capsys, "--kernel", "6.1", "--output", str(tmp_path / "nowhere/report"))
    assert code == 2
    assert "nowhere" in err
    assert run(capsys, "--kernel", "6.1", "--output", str(tmp_path))[0] == 2
    assert target.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_explain_shows_the_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--kernel", "6.1.170", "--arch", "x86_64", "--only", "freplace-loop", "--explain")
    assert "d6083f040d5d" in out
    assert "consequence:" in out
    assert "catalogue: DEB 6.1 (6.1.191)" in out


def test_defects_of_other_architectures_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--kernel", "6.12.117", "--arch", "x86_64")
    assert "arm64-tailcall-hierarchy" not in out
    assert "(--all)" in out
    _, out, _ = run(capsys, "--kernel", "6.12.117", "--arch", "x86_64", "--all")
    assert "arm64-tailcall-hierarchy" in out


def test_explain_shows_the_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "explain", "5")
    for wanted in (
        "mechanism",
        "introduced",
        "fixed",
        "4a9c7bbe2ed4",
        "1c123c567fb1",
        "f7866c358733",
        "fdad456cbcca",
        "6.1.y   since 6.1.103",
        "detected by",
        "references",
        "CVE-2024-43837",
    ):
        assert wanted in out


def test_list_names_every_defect(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list")
    catalog = load_catalog()
    assert all(f" {defect.slug} " in out for defect in catalog.defects)
    assert f"{len(catalog.defects)} defects" in out


def test_another_catalogue_is_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = json.loads((Path(__file__).parents[2] / "commits.json").read_text())
    data["defects"] = [item for item in data["defects"] if item["slug"] == "x86-hierarchy"]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    _, out, _ = run(capsys, "--kernel", "6.1.170", "--arch", "x86_64", "--catalog", str(path), "--json")
    assert [item["defect"] for item in json.loads(out)["targets"][0]["verdicts"]] == ["x86-hierarchy"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tailcall_audit", *arguments]


def in_terminal(arguments: list[str], columns: int = 80, **environment: str) -> str:
    """What a terminal of some width shows."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, (24).to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4))
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    with subprocess.Popen(
        arguments, stdin=child, stdout=child, stderr=child, env={**base, "TERM": "xterm-256color", **environment}
    ) as process:
        os.close(child)
        data = b""
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:
                break
            if not chunk:
                break
            data += chunk
        process.wait()
    os.close(parent)
    return data.decode()


def test_a_terminal_gets_a_table_of_its_width_and_colours() -> None:
    text = in_terminal(command("--kernel", "6.1.170", "--arch", "x86_64"))
    assert "\x1b[" in text
    plain = in_terminal(command("--kernel", "6.1.170", "--arch", "x86_64"), NO_COLOR="1")
    assert "\x1b[3" not in plain
    lines = re.sub(r"\x1b\[[0-9;]*m", "", plain).replace("\r", "").split("\n")
    assert all(len(line) <= 80 for line in lines)
    slugs = [line for line in lines if "tailcall-compat-expected-attach-type" in line]
    assert len(slugs) == 1
    assert "affected" in slugs[0] or "fixed" in slugs[0]


def test_a_pipe_gets_plain_text() -> None:
    done = subprocess.run(command("--kernel", "6.1.170"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_escapes_in_an_argument_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run(capsys, "--kernel", "\x1b[2Jx")
    assert "\x1b" not in err
    _, _, err = run(capsys, "--tree", "/no\x1b[2Jwhere")
    assert "\x1b" not in err


def test_progress_shows_after_a_second_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tailcall_audit.analyzer.app.shared.time.monotonic", lambda: now[0])
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as terminal:
        monkeypatch.setattr("tailcall_audit.analyzer.app.main.sys.stderr", terminal)
        progress = shared.Progress(enabled=True)
        progress("early")
        now[0] = 1.5
        progress("reading \x1b[2Jthings")
        progress("too soon after the last")
        progress.clear()
        shown = os.read(parent, 4096).decode()
        silent = shared.Progress(enabled=False)
        now[0] = 9.0
        silent("nothing")
    os.close(parent)
    assert "early" not in shown
    assert "too soon" not in shown
    assert "reading \N{REPLACEMENT CHARACTER}[2Jthings" in shown


def test_progress_leaves_nothing_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tailcall_audit.analyzer.app.shared.time.monotonic", lambda: now[0])
    with (tmp_path / "errors").open("w") as file:
        monkeypatch.setattr("tailcall_audit.analyzer.app.main.sys.stderr", file)
        progress = shared.Progress(enabled=True)
        now[0] = 1.5
        progress("reading things")
        progress.clear()
    assert (tmp_path / "errors").read_bytes() == b""


def test_the_wheel_carries_the_catalogue_and_the_schemas(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    (wheel,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    files = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    wanted = {
        "tailcall_audit/commits.json",
        "tailcall_audit/analyzer/catalog/commits.schema.json",
        "tailcall_audit/analyzer/formats/report.schema.json",
        "tailcall_audit/analyzer/plan/formats/plan.schema.json",
        "tailcall_audit/analyzer/plan/series.schema.json",
        "tailcall_audit/py.typed",
        "tailcall_audit-0.1.0.data/data/share/man/man1/tailcall-audit.1",
        "tailcall_audit-0.1.0.data/data/share/bash-completion/completions/tailcall-audit",
    }
    assert wanted <= files
    # Other wheels on PyPI are called `analyzer` and `probes`: nothing of ours may stand where theirs would.
    assert {
        name.split("/")[0] for name in files if not re.match(r"tailcall_audit-[^/]*\.(?:dist-info|data)/", name)
    } == {"tailcall_audit"}
    code = "import tailcall_audit; print(tailcall_audit.load_catalog().path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "site/tailcall_audit/commits.json")


def test_a_version_string_loads_no_heavy_library() -> None:
    code = "import sys; from tailcall_audit.analyzer.app.main import main; main(['--kernel', '6.8.0-35-generic']); print([name for name in ('pygit2', 'tree_sitter', 'jsonschema', 'rich', 'dataclasses', 'pathlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
