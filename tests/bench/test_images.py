"""The images that a benchmark of images or guests is given."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from bench import lab
from bench.images import given_images


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    return given_images("how it is used")


def test_files_are_taken_and_anything_else_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"")
    assert given(monkeypatch, str(image)) == [str(image)]
    with pytest.raises(SystemExit, match="--fast: no such option"):
        given(monkeypatch, str(image), "--fast")
    with pytest.raises(SystemExit, match=r"nothing: no such file"):
        given(monkeypatch, str(tmp_path / "nothing"))
    with pytest.raises(SystemExit) as ended:
        given(monkeypatch, "--help")
    assert ended.value.code == 0
    assert capsys.readouterr().out == "how it is used\n"


def test_those_of_the_lab_are_taken_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_LAB", str(tmp_path))
    with pytest.raises(SystemExit, match="no kernel image"):
        given(monkeypatch)
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/vmlinuz-1").write_bytes(b"")
    assert given(monkeypatch) == [str(tmp_path / "kernels/vmlinuz-1")]


def test_an_image_that_is_none_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_sparc = bytearray(b"\x7fELF\2\2\1".ljust(64, b"\0"))
    struct.pack_into(">HHI", of_sparc, 16, 2, 43, 1)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(of_sparc)
    monkeypatch.setattr(sys, "argv", ["bench.lab", str(tmp_path / "one"), str(tmp_path / "two")])
    lab.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["one", "two"]
    assert all("not measured: no guest of sparc64 can be booted" in line for line in lines)
