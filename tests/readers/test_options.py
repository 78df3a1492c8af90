"""Options that a kernel's own functions show: which of them, in which kernels, and against a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, EvidenceKind, Rule, TargetKind, Verdict
from tailcall_audit.analyzer.readers.options import read_options
from tailcall_audit.analyzer.subjects.image import OpenImage
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject
from tests.kernelfiles.symbols import table
from tests.kernels import package_file

CATALOG = load_catalog()
KCFI = ("report_cfi_failure", "handle_cfi_failure", "is_cfi_trap")
JIT = ("bpf_prog_kallsyms_add", "bpf_jit_blind_constants", "bpf_jit_charge_modmem")
INTERPRETER = ("__bpf_prog_run32", "bpf_patch_call_args")
ALWAYS = ("do_trap_break", "bpf_check", "bpf_prog_select_runtime", "__bpf_call_base")
REQUEST = Request(CATALOG, CATALOG.defects)


def kernel(
    functions: Iterable[str], release: str = "6.12.117", architecture: str = "riscv64", judged: str | None = None
) -> Subject:
    """A kernel of which there is a table of symbols only."""
    found = parse_release(release)
    binary = Binary(Kernel(table(functions), (), architecture, False))
    image = OpenImage("vmlinuz", binary, (), architecture, "", found, None, ())
    return make_subject(
        REQUEST,
        TargetKind.IMAGE,
        "vmlinuz",
        release=found,
        architecture=(judged or architecture, "vmlinuz"),
        parts=Parts(image=image),
    )


def shown(subject: Subject) -> dict[str, bool]:
    return {name: item.is_on for item in read_options(subject, REQUEST) for name in item.options}


def test_functions_that_are_there_or_not_decide() -> None:
    with_all = {"CFI_CLANG": True, "CFI": True, "BPF_JIT": True, "BPF_JIT_ALWAYS_ON": False}
    assert shown(kernel((*ALWAYS, *KCFI, *JIT, *INTERPRETER))) == with_all
    assert shown(kernel(ALWAYS)) == {name: not value for name, value in with_all.items()}


@pytest.mark.parametrize("missing", [*KCFI, *JIT, *INTERPRETER])
def test_one_function_of_several_decides_nothing(missing: str) -> None:
    """A distribution may have renamed it, or brought another one from a later release."""
    every = {*ALWAYS, *KCFI, *JIT, *INTERPRETER}
    options = {name for sign in CATALOG.options if missing in sign.functions for name in sign.options}
    assert options
    assert not options & shown(kernel(every - {missing})).keys()
    assert not options & shown(kernel({*ALWAYS, missing})).keys()


@pytest.mark.parametrize("missing", ALWAYS)
def test_a_table_without_what_every_kernel_has_decides_nothing(missing: str) -> None:
    options = {name for sign in CATALOG.options if missing in sign.always for name in sign.options}
    assert options
    assert not options & shown(kernel({*ALWAYS} - {missing})).keys()


@pytest.mark.parametrize(
    ("release", "architecture", "expected"),
    [
        ("6.9.0", "riscv64", {"CFI_CLANG", "CFI", "BPF_JIT", "BPF_JIT_ALWAYS_ON"}),
        ("7.3.4", "riscv64", {"CFI_CLANG", "CFI", "BPF_JIT", "BPF_JIT_ALWAYS_ON"}),
        ("6.8.9", "riscv64", {"BPF_JIT", "BPF_JIT_ALWAYS_ON"}),
        ("6.12.117", "arm64", {"BPF_JIT", "BPF_JIT_ALWAYS_ON"}),
        ("5.4.200", "arm64", set()),
        ("7.4.1", "riscv64", set()),
    ],
)
def test_only_kernels_whose_sources_were_read_are_decided(release: str, architecture: str, expected: set[str]) -> None:
    assert shown(kernel(ALWAYS, release, architecture)).keys() == expected


def test_a_kernel_of_another_architecture_or_of_no_known_release_is_not_decided() -> None:
    assert not shown(kernel(ALWAYS, architecture="riscv64", judged="arm64"))
    subject = kernel(ALWAYS)
    assert subject.release is not None
    assert not shown(subject._replace(release=subject.release._replace(proof=Proof.NOTHING)))


def test_a_part_of_a_table_decides_nothing() -> None:
    subject = kernel(ALWAYS)
    image = subject.parts.image
    assert image is not None
    whole = image.binary.data
    for data in (whole[:-1], whole.replace(b"\x0aTbpf_check", b"")):
        cut = OpenImage(
            "vmlinuz", Binary(Kernel(data, (), "riscv64", False)), (), "riscv64", "", image.release, None, ()
        )
        assert not shown(subject._replace(parts=Parts(image=cut)))


def test_every_option_of_the_catalogue_is_one_that_a_defect_needs() -> None:
    needed = {name for defect in CATALOG.defects for name in leaves(defect.config)}
    assert {name for sign in CATALOG.options for name in sign.options} <= needed


def image_of(package: str, version: str, architecture: str, folder: Path) -> Path:
    path = package_file(package, version, architecture)
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    image = folder / "vmlinuz"
    image.write_bytes(read_bootable(bootable))
    return image


def judged(image: Path, **more: str) -> tuple[dict[str, Verdict], tuple[str, ...]]:
    target = audit(images=[str(image)], emulate=False, **more).targets[0]  # type: ignore[arg-type]
    return {item.defect.slug: item for item in target.verdicts}, target.notes


def test_debians_riscv64_has_no_kcfi(tmp_path: Path) -> None:
    image = image_of("linux-image-6.12.117+deb13-riscv64", "6.12.117-1", "riscv64", tmp_path)
    verdicts, notes = judged(image)
    verdict = verdicts["riscv-kcfi-tailcall-stack"]
    assert (verdict.state, verdict.rule) == (State.NOT_AFFECTED, Rule.CONFIG_EXCLUDES)
    assert (verdict.brief, verdict.confidence) == ("by its functions", Confidence.MEDIUM)
    assert verdict.reason.startswith("cannot be reached with CONFIG_CFI_CLANG=n, CONFIG_CFI=n: the kernel has none of")
    assert "report_cfi_failure(), handle_cfi_failure(), is_cfi_trap(), by the 94,963 names" in verdict.reason
    assert (verdict.evidence[0].kind, verdict.evidence[0].citation) == (EvidenceKind.CONFIG, f"{image}: kallsyms")
    assert not any("functions" in note and "CONFIG" in note for note in notes)
    # What its interpreter and its JIT have is not excluded.
    assert verdicts["interp-empty-slot-count"].state is State.AFFECTED
    assert verdicts["riscv64-empty-slot-count"].state is State.AFFECTED


def test_debians_s390x_has_no_jit_as_its_configuration_says(tmp_path: Path) -> None:
    """The package has the configuration; of the image alone, its functions say the same."""
    package = package_file("linux-image-6.1.0-47-s390x", "6.1.170-3", "s390x")
    image = image_of("linux-image-6.1.0-47-s390x", "6.1.170-3", "s390x", tmp_path)
    by_functions, _ = judged(image)
    by_config = {item.defect.slug: item for item in audit(packages=[str(package)], emulate=False).targets[0].verdicts}
    excluded = {slug for slug, item in by_config.items() if item.rule is Rule.CONFIG_EXCLUDES}
    assert {"s390-tailcall-hierarchy", "s390-empty-slot-count", "freplace-loop"} <= excluded
    for slug in excluded:
        assert by_functions[slug].state in (State.NOT_AFFECTED, State.FIXED), slug
    affected = {slug for slug, item in by_functions.items() if item.state is State.AFFECTED}
    assert affected == {slug for slug, item in by_config.items() if item.state is State.AFFECTED}


def test_a_configuration_that_contradicts_the_functions_excludes_nothing(tmp_path: Path) -> None:
    """The file claims a JIT, which this kernel has not: of which build it is, is not known."""
    image = image_of("linux-image-6.12.107+deb13-s390x", "6.12.107-1", "s390x", tmp_path)
    package = read_package(str(package_file("linux-image-6.12.107+deb13-s390x", "6.12.107-1", "s390x")))
    assert package.config is not None
    text = package.config[1].decode()
    config = tmp_path / "config"
    config.write_text(text)
    agreed, notes = judged(image, config=str(config))
    assert agreed["s390-tailcall-hierarchy"].brief == "by config"
    assert not [note for note in notes if "excludes nothing" in note]
    changed = text.replace("CONFIG_BPF_SYSCALL=y", "CONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y").replace(
        "CONFIG_CGROUP_BPF=y", "# CONFIG_CGROUP_BPF is not set"
    )
    config.write_text(changed)
    other, notes = judged(image, config=str(config))
    assert {"by config", "by its functions"}.isdisjoint(item.brief for item in other.values())
    assert other["s390-tailcall-hierarchy"].state is State.FIXED  # by its release
    (note,) = [note for note in notes if "excludes nothing" in note]
    assert f"{config} excludes nothing: it has CONFIG_BPF_JIT=y, but the kernel has none of bpf_prog_" in note
