"""Every example of the catalogue, run: source signatures on Debian's linux-source, BTF signatures on Debian's images.

A version that has left the mirror is skipped, with the number of examples that were not run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, Examples
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.btf import btf_presence
from tailcall_audit.analyzer.readers.examples import (
    expected_answers,
    run_source_examples,
    source_examples,
    source_folders,
)
from tailcall_audit.analyzer.readers.release import commit_in_release
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version
from tests.kernels import kernel_source, package_file

CATALOG = load_catalog()
SOURCES = source_examples(CATALOG)
BTF_EXAMPLES = {
    key: expected_answers(Examples.from_data(commit.btf.get("examples", {})))
    for key, commit in CATALOG.commits.items()
    if commit.btf is not None
}
IMAGES = sorted({kernel for answers in BTF_EXAMPLES.values() for kernel in answers})


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


@pytest.mark.parametrize("kernel", IMAGES)
def test_btf_signatures_answer_as_the_catalogue_says(kernel: str) -> None:
    name, _, version = kernel.partition("=")
    path = package_file(name, version)
    wanted = {key: answers[kernel] for key, answers in BTF_EXAMPLES.items() if kernel in answers}
    if f"_{version.replace(':', '%3a')}_" not in path.name:
        pytest.skip(f"{kernel} has left the mirror: {len(wanted)} examples not run")
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    btf = Binary(unpack(read_bootable(bootable), name)).btf
    assert btf is not None
    assert {key: btf_presence(btf, CATALOG.commits[key]) for key in wanted} == wanted


def test_examples_agree_with_the_survey_of_the_branches(catalog: Catalog) -> None:
    """What was read in a source and what changelogs say of its release are two sources; neither may say the opposite."""
    compared = 0
    for commit in catalog.commits.values():
        answers = [expected_answers(part.examples) for part in commit.signature]
        if commit.key in BTF_EXAMPLES:
            answers.append({key.partition("=")[2]: value for key, value in BTF_EXAMPLES[commit.key].items()})
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
