"""Standard streams that are closed, full, of a small encoding, or read by a program that has gone; and what reaches a
terminal.
"""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.text import printable, printable_lines
from tests.app.shells import ROOT, TOOL, shell

KERNEL = f"{TOOL} --kernel 6.1.170 --arch x86_64"
"""Affected: exit code 1."""


@pytest.mark.parametrize("what", [KERNEL, f"{KERNEL} --json", f"{TOOL} list", f"{TOOL} --help", f"{TOOL} --version"])
@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (">&-", "standard output is closed: nothing can be shown; --output FILE writes to a file"),
        (">/dev/full", "standard output: cannot write: No space left on device"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line_and_exit_2(what: str, where: str, reason: str) -> None:
    done = shell(f"{what} {where}")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tailcall-audit: {reason}\n")


@pytest.mark.parametrize("what", [KERNEL, f"{KERNEL} --explain", f"{KERNEL} --format html"])
def test_a_reader_that_has_gone_did_not_get_the_answer(what: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(what.split(), stdout=pipe, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, "tailcall-audit: standard output: cannot write: Broken pipe\n")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_without_standard_error_the_answer_is_the_same(where: str) -> None:
    done = shell(f"{KERNEL} {where}")
    assert done.returncode == 1
    assert "freplace-loop" in done.stdout
    assert shell(f"{TOOL} --kernel nonsense {where}").returncode == 2
    assert shell(f"{TOOL} --nonsense {where}").returncode == 2


def test_with_all_streams_closed_the_report_goes_to_its_file_only(tmp_path: Path) -> None:
    # The file that is opened first would get the number of a closed stream, and what is written to that.
    done = shell(f"{KERNEL} --output {tmp_path}/out <&- >&- 2>&-")
    assert done.returncode == 1
    assert (tmp_path / "out").read_text() == shell(KERNEL).stdout
    assert shell(f"{KERNEL} <&- >&- 2>&-").returncode == 2
    assert shell(f"{TOOL} --changelog - <&-").returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-16", "utf-8"])
def test_any_encoding_of_the_output_will_do(encoding: str) -> None:
    command = [*map(os.fsencode, KERNEL.split()), b"--kernel", b"6.1.170-\xffx"]
    done = subprocess.run(
        command, capture_output=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert done.returncode == 1
    assert done.stderr == b""
    assert done.stdout.decode(encoding).startswith(("6.1.170 - x86_64", "6.1.170 · x86_64"))


def test_the_locale_c_will_do() -> None:
    done = shell(KERNEL, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("6.1.170 - x86_64")


def test_only_one_module_writes_to_the_standard_streams_and_every_parser_is_ours() -> None:
    """But for rich, which writes the table of a terminal, and the line of progress."""
    found = []
    for path in (ROOT / "analyzer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Call) else ""
            if text.startswith(("print(", "sys.stdout.write(", "sys.stderr.write(", "argparse.ArgumentParser(")):
                found.append(f"{path.relative_to(ROOT)}: {text}")
    allowed = (
        "analyzer/app/streams.py: sys.",
        "analyzer/app/shared.py: sys.stderr.write('\\r",
        "analyzer/app/shared.py: sys.stderr.write(f'\\r",
    )
    assert [line for line in found if not line.startswith(allowed)] == []


HOSTILE = "\x1b]0;owned\x07\x9b2J\x08\r\u202e\u2028\nfixed"


@pytest.mark.parametrize(
    "arguments",
    [
        (HOSTILE + ".deb",),
        ("--arch", HOSTILE, "--kernel", "6.1"),
        ("--changelog", "x", "--changelog-format", HOSTILE),
        ("--guest-memory", HOSTILE),
        (f"--{HOSTILE}",),
        ("--kernel", HOSTILE),
        ("--tree", HOSTILE),
        ("--tree", "/", "--rev", HOSTILE),
        ("--package", HOSTILE),
        ("--package", f"{HOSTILE}.deb"),
        ("--image", HOSTILE),
        ("--repo", HOSTILE),
        ("--repo", f"http://127.0.0.1:1/{HOSTILE}"),
        ("--changelog", HOSTILE),
        ("--config", HOSTILE),
        ("--catalog", HOSTILE),
        ("--output", f"/nonexistent/{HOSTILE}", "--kernel", "6.1"),
        ("--only", HOSTILE, "--kernel", "6.1"),
        ("explain", HOSTILE),
        ("explain", "1", HOSTILE),
        ("list", HOSTILE),
        ("lab", HOSTILE),
        ("lab", "--jobs", HOSTILE, "x"),
        ("catalog", HOSTILE),
        ("catalog", "lint", "--json=" + HOSTILE),
        ("catalog", "lint", f"--{HOSTILE}"),
        ("catalog", "lint", "--from", HOSTILE),
        ("catalog", "build", "--from", HOSTILE),
        ("--package", "x=1", "--distro", HOSTILE),
    ],
)
def test_no_byte_of_an_argument_reaches_the_terminal_raw(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: object = main(arguments)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert code == 2
    assert all(letter.isprintable() or letter == "\n" for letter in captured.out + captured.err)
    # No line of its own either.
    assert not any(line.startswith("fixed") for line in captured.err.splitlines())


def test_a_report_holds_no_line_of_an_input(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--kernel", f"6.1.170-x {HOSTILE}", "--arch", "x86_64"])
    out = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    assert not any(line.startswith("fixed") for line in out.splitlines())


@given(st.text())
def test_what_is_printable_is_one_line_without_controls(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable_lines(text).count("\n") == text.count("\n")
