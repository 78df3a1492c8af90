"""The builder of kernels by another compiler says what it lacks; a build itself takes an hour of a small machine, and
is not run here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import compilers


def test_what_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("clang", "pahole") else there("true"))
    assert compilers.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "not here: pahole, clang;" in error
    assert "apt-get install" in error
    assert not list(tmp_path.iterdir())


def test_thin_lto_is_of_one_compiler_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compilers.main([str(tmp_path), "--compiler", "gcc", "--thin-lto"]) == 2
    assert "--thin-lto is clang's" in capsys.readouterr().err


def test_every_line_of_the_configuration_sets_or_clears_an_option() -> None:
    lines = Path(compilers.__file__).with_suffix(".config").read_text(encoding="utf-8").splitlines()
    options = [line.removeprefix("# ").partition("=")[0].partition(" ")[0] for line in lines if "CONFIG_" in line]
    assert len(options) == len(set(options))
    assert {"CONFIG_PVH", "CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_JIT", "CONFIG_KALLSYMS_ALL"} <= set(options)
