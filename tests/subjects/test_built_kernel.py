"""A `vmlinux` that a build has left in a tree: a kernel of its own, older or newer than the files around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import EvidenceKind, TargetKind
from tailcall_audit.analyzer.subjects.locate_tree import built_kernel
from tests.kernels import kernel_source
from tests.mutants import small_image

ONLY = ["x86-hierarchy", "freplace-loop"]
OF_BINARIES = {EvidenceKind.CODE, EvidenceKind.BTF, EvidenceKind.EMULATION}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's 6.12.117, which has both fixes, in which a kernel of 5.10 was built, which has neither."""
    path = tmp_path_factory.mktemp("built") / "linux"
    source, _ = kernel_source("6.12", "6.12.117-1")
    shutil.copytree(source, path)
    image = small_image()
    (path / "vmlinux").write_bytes(unpack(image.read_bytes(), image.name).data)
    return path


def test_it_is_a_target_behind_the_tree_and_no_evidence_for_it(tree: Path) -> None:
    found = audit(trees=[str(tree)], only=ONLY, arch="x86_64")
    assert [target.kind for target in found.targets] == [TargetKind.TREE, TargetKind.IMAGE]
    source, built = found.targets
    assert str(built.identity["upstream"]).startswith("5.10.")
    assert set(source.states.values()) == {State.FIXED}
    assert State.AFFECTED in built.states.values()
    kinds = {item.kind for verdict in source.verdicts for item in verdict.evidence}
    assert not kinds & OF_BINARIES
    (alone,) = audit(trees=[str(tree)], only=ONLY, arch="x86_64", built=False).targets
    assert alone.states == source.states


def test_one_that_is_no_kernel_does_not_cost_the_tree(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "linux"
    shutil.copytree(tree, path, ignore=shutil.ignore_patterns("vmlinux"))
    (path / "vmlinux").write_bytes(b"half written")
    found = audit(trees=[str(path)], only=ONLY, arch="x86_64", apart=True)
    assert [target.kind for target in found.targets] == [TargetKind.TREE]
    (skipped,) = found.skipped
    assert skipped.label == str(path / "vmlinux")


def test_a_link_is_none_and_a_folder_below_finds_that_of_the_top(tree: Path, tmp_path: Path) -> None:
    assert built_kernel(str(tree / "kernel/bpf")) == tree / "vmlinux"
    path = tmp_path / "linux"
    shutil.copytree(tree, path, ignore=shutil.ignore_patterns("vmlinux"))
    assert built_kernel(str(path)) is None
    (path / "vmlinux").symlink_to(tree / "vmlinux")
    assert built_kernel(str(path)) is None
    assert built_kernel(str(tmp_path / "missing")) is None
