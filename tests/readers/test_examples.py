"""Every example of the catalogue, run: source signatures on Debian's linux-source; BTF, machine code and functions of
Debian's images.

A version that has left the mirror is skipped, with the number of examples that were not run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.commit import Examples
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.btf import btf_presence
from tailcall_audit.analyzer.readers.code.reader import code_evidence
from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases
from tailcall_audit.analyzer.readers.examples import (
    expected_answers,
    run_source_examples,
    source_examples,
    source_folders,
)
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version
from tests.kernels import kernel_source, package_file

CATALOG = load_catalog()
SOURCES = source_examples(CATALOG)


def image_examples(kind: str) -> dict[str, dict[str, Presence]]:
    """The expected answers of images by commit and package, of the entries of one kind: btf, code or emulation."""
    entries = {key: getattr(commit, kind) for key, commit in CATALOG.commits.items()}
    return {
        key: expected_answers(Examples.from_data(entry.get("examples", {})))
        for key, entry in entries.items()
        if entry is not None
    }


BTF_EXAMPLES, CODE_EXAMPLES, EMULATION_EXAMPLES = (image_examples(kind) for kind in ("btf", "code", "emulation"))


def images(examples: dict[str, dict[str, Presence]]) -> list[str]:
    return sorted({kernel for answers in examples.values() for kernel in answers})


def of_image(examples: dict[str, dict[str, Presence]], kernel: str) -> dict[str, Presence]:
    return {key: answers[kernel] for key, answers in examples.items() if kernel in answers}


def unpacked(kernel: str, count: int) -> Kernel:
    """The image in a package; skips, with the number of examples that are not run, where it has left the mirror."""
    name, _, version = kernel.partition("=")
    other = next((port for port in ("arm64", "riscv64") if name.endswith(f"-{port}")), None)
    path = package_file(name, version, other)
    if f"_{version.replace(':', '%3a')}_" not in path.name:
        pytest.skip(f"{kernel} has left the mirror: {count} examples not run")
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    return unpack(read_bootable(bootable), name)


def upstream(version: str) -> UpstreamVersion:
    """The kernel.org release that a Debian version begins with."""
    match = re.match(r"\d+\.\d+(\.\d+)?", version)
    assert match is not None
    return parse_version(match[0])


@pytest.mark.parametrize("version", SOURCES)
def test_source_signatures_answer_as_the_catalogue_says(version: str) -> None:
    folder, got = kernel_source(upstream(version).branch, version)
    if got != version:
        pytest.skip(f"linux-source {version} has left the mirror: {SOURCES[version]} examples not run")
    examples = list(run_source_examples(CATALOG, version, folder))
    assert len(examples) == SOURCES[version]
    assert [example for example in examples if not example.holds] == []


@pytest.mark.parametrize("kernel", images(BTF_EXAMPLES))
def test_btf_signatures_answer_as_the_catalogue_says(kernel: str) -> None:
    wanted = of_image(BTF_EXAMPLES, kernel)
    btf = Binary(unpacked(kernel, len(wanted))).btf
    assert btf is not None
    assert {key: btf_presence(btf, CATALOG.commits[key]) for key in wanted} == wanted


@pytest.mark.parametrize("kernel", images(CODE_EXAMPLES))
def test_machine_code_answers_as_the_catalogue_says(kernel: str) -> None:
    """A matcher that says nothing leaves it unknown."""
    wanted = of_image(CODE_EXAMPLES, kernel)
    found = unpacked(kernel, len(wanted))
    assert found.architecture is not None
    said = {item.commit: item.presence for item in code_evidence(Binary(found), found.architecture, kernel, CATALOG)}
    assert {key: said.get(key, Presence.UNKNOWN) for key in wanted} == wanted


@pytest.mark.parametrize("kernel", images(EMULATION_EXAMPLES))
def test_functions_that_are_run_answer_as_the_catalogue_says(kernel: str) -> None:
    pytest.importorskip("unicorn")
    wanted = of_image(EMULATION_EXAMPLES, kernel)
    found = unpacked(kernel, len(wanted))
    architecture = found.architecture
    assert architecture is not None
    seen = emulate(Binary(found), architecture, wanted_cases(CATALOG, architecture))
    assert seen.why is None, seen.why
    said = {item.commit: item.presence for item in evidence_of(CATALOG, seen, architecture, kernel)}
    assert {key: said.get(key, Presence.UNKNOWN) for key in wanted} == wanted


def test_examples_agree_with_the_survey_of_the_branches(catalog: Catalog) -> None:
    """What was read in a source and what changelogs say of its release are two sources; neither may say the opposite."""
    compared = 0
    for commit in catalog.commits.values():
        answers = [expected_answers(part.examples) for part in commit.signature]
        for examples in (BTF_EXAMPLES, CODE_EXAMPLES, EMULATION_EXAMPLES):
            answers.append({name.partition("=")[2]: value for name, value in examples.get(commit.key, {}).items()})
        for version, seen in ((version, seen) for answer in answers for version, seen in answer.items()):
            surveyed = commit_in_release(catalog, commit, upstream(version)).presence
            if Presence.UNKNOWN not in (seen, surveyed):
                assert seen is surveyed, f"{commit.key} in {version}"
                compared += 1
    assert compared > 300


def test_sources_are_found_by_the_names_of_their_folders(tmp_path: Path) -> None:
    for name in ("source-6.1.192-2", "linux-source-7.3.4-1~bpo13+1", "5.10.262-1", "notes", "source-1.2.3-1"):
        (tmp_path / name).mkdir()
        if name != "source-1.2.3-1":
            (tmp_path / name / "Makefile").touch()
    assert sorted(source_folders(tmp_path)) == ["5.10.262-1", "6.1.192-2", "7.3.4-1~bpo13+1"]
