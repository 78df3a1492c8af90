"""The example of docs/exposure.md: its source is built with clang, and what the document shows is what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tests.programs.compiled import build

_DOCUMENT = (Path(__file__).parents[2] / "docs/exposure.md").read_text("utf-8")


def _source() -> str:
    found = re.search(r"```c\n(.*?)```", _DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


def _shown() -> tuple[list[str], str]:
    """The arguments of the example, and what they print."""
    found = re.search(r"```\n\$ tailcall-audit (.*?)\n(.*?)```", _DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1].split(), found[2]


def _built(folder: Path, source: str) -> str:
    return str(build(source, folder, name="chain"))


def test_the_document_shows_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _built(tmp_path, _source())
    arguments, shown = _shown()
    arguments[arguments.index("chain.bpf.o")] = path
    assert main(arguments) == 1
    assert capsys.readouterr().out.replace(str(tmp_path), "/src") == shown


@pytest.mark.parametrize(
    ("old", "new"),
    [("return first ? step(skb) : 0;", "return first;"), (".values = { [0] = &entry },", ".values = { },")],
)
def test_its_twin_is_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str) -> None:
    assert old in _source()
    path = _built(tmp_path, _source().replace(old, new))
    code = main(["exposure", path, "--closed", "--jit", "--only", "x86-hierarchy"])
    out = capsys.readouterr().out
    # An array that its object leaves empty is filled by user space: what is not known there is possible.
    assert (code, "0 met" in out) == ((0, True) if "return" in old else (3, True))


def test_the_example_without_closed_may_be_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _built(tmp_path, _source())
    assert main(["exposure", path, "--only", "x86-trampoline-loop"]) == 3
    assert "another program may trace it" in capsys.readouterr().out
