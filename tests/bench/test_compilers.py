"""The builder of kernels by another compiler says what it lacks; a build itself takes an hour of a small machine, and
is not run here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import compilers, source_changes
from tailcall_audit import State, audit
from tests.kernels import kernel_source


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
    assert "--thin-lto and --clang are for --compiler clang" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("architecture", "own"),
    [
        ("x86_64", "CONFIG_PVH"),
        ("riscv64", "CONFIG_CFI_CLANG"),
        ("s390x", "CONFIG_MARCH_Z13"),
        ("loongarch64", "CONFIG_EFI_STUB"),
    ],
)
def test_every_line_of_the_configuration_sets_or_clears_an_option(architecture: str, own: str) -> None:
    common = Path(compilers.__file__).with_suffix(".config")
    lines = [
        line
        for path in (common, common.with_suffix(f".{architecture}.config"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    options = [line.removeprefix("# ").partition("=")[0].partition(" ")[0] for line in lines if "CONFIG_" in line]
    assert len(options) == len(set(options))
    assert {own, "CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_JIT", "CONFIG_KALLSYMS_ALL"} <= set(options)


@pytest.mark.parametrize(
    ("architecture", "compiler", "other"), [("riscv64", "gcc", "clang"), ("s390x", "clang", "gcc")]
)
def test_an_architecture_is_built_with_the_compiler_that_its_configuration_is_for(
    architecture: str, compiler: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compilers.main([str(tmp_path), "--architecture", architecture, "--compiler", compiler]) == 2
    assert f"{architecture} is built with --compiler {other}" in capsys.readouterr().err


def test_a_fix_is_applied_to_the_sources_and_put_back(tmp_path: Path) -> None:
    source, _ = kernel_source("6.12", "6.12.117-1")
    tree = tmp_path / "tree"
    shutil.copytree(source, tree)
    slug, file = "riscv-kcfi-tailcall-stack", tree / "arch/riscv/net/bpf_jit_comp64.c"
    before = file.read_text()

    def state() -> State:
        (verdict,) = audit(trees=[str(tree)], arch="riscv64", only=[slug]).targets[0].verdicts
        return verdict.state

    with source_changes.changed(tree, (), [slug], "riscv64"):
        assert state() is State.FIXED
    assert state() is State.AFFECTED
    assert file.read_text() == before
    with (
        pytest.raises(
            source_changes.ChangeError, match="not known how to fix s390-tailcall-hierarchy, only riscv-kcfi"
        ),
        source_changes.changed(tree, (), [slug, "s390-tailcall-hierarchy"], "riscv64"),
    ):
        pass
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("architecture", "slug"),
    [
        ("s390x", "s390-tailcall-hierarchy"),
        ("s390x", "s390-trampoline-tcc"),
        ("s390x", "s390-trampoline-tcc-writeback"),
        ("loongarch64", "loongarch-prologue-off-by-one"),
        ("loongarch64", "loongarch-tailcall-index-zext"),
        ("loongarch64", "loongarch-tailcall-jump-offset"),
    ],
)
def test_a_fix_is_undone_in_the_sources_and_put_back(architecture: str, slug: str, tmp_path: Path) -> None:
    folder = "loongarch/net/bpf_jit.c" if architecture == "loongarch64" else "s390/net/bpf_jit_comp.c"
    source, _ = kernel_source("6.12", "6.12.117-1")
    file = tmp_path / "arch" / folder
    file.parent.mkdir(parents=True)
    shutil.copyfile(source / "arch" / folder, file)
    before = file.read_text()
    with source_changes.changed(tmp_path, [slug], (), architecture):
        changed = file.read_text()
        assert changed != before
    assert file.read_text() == before
    # A run that was killed leaves the original beside the file.
    original = file.with_name(file.name + source_changes.ORIGINAL)
    original.write_text(before)
    file.write_text(changed)
    with source_changes.changed(tmp_path, (), (), architecture):
        assert file.read_text() == before
    assert not original.exists()
    with (
        pytest.raises(source_changes.ChangeError, match="does not undo the fix of no-such-defect"),
        source_changes.changed(tmp_path, [slug, "no-such-defect"], (), architecture),
    ):
        pass
    assert file.read_text() == before
