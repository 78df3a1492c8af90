"""Matchers of machine code and the commits that name them in the catalogue."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.readers.code.registry import FUNCTIONS, MATCHERS, findings, functions_of
from tests.kernels import package_file


def test_every_commit_names_an_effect_that_a_matcher_has_and_every_effect_is_named_once(catalog: Catalog) -> None:
    named = [(commit.code["matcher"], commit.code["effect"]) for commit in catalog.commits.values() if commit.code]
    known = [(name, effect) for name, matcher in MATCHERS.items() for effect in matcher.effects]
    assert sorted(named) == sorted(known)


def test_the_functions_of_commits_are_those_of_their_matchers(catalog: Catalog) -> None:
    assert functions_of(catalog, ["d6083f040d5d"]) == set(MATCHERS["prog-array"].functions)
    assert functions_of(catalog, ["04fd61ab36ec"]) == frozenset()
    assert functions_of(catalog, catalog.commits) == set(FUNCTIONS)


@pytest.fixture(scope="module")
def binary() -> Binary:
    """Debian's 6.1.170, which has some fixes in its code and lacks others."""
    path = package_file("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3")
    from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
    from tailcall_audit.analyzer.kernelfiles.containers import unpack
    from tailcall_audit.analyzer.kernelfiles.package_file import read_package

    bootable = read_package(str(path)).bootable
    assert bootable is not None
    return Binary(unpack(read_bootable(bootable), path.name))


def test_what_is_shown_is_said_of_the_commits_that_the_catalogue_names(catalog: Catalog, binary: Binary) -> None:
    """Two commits with one effect are both shown, and an effect that no commit has is not."""
    functions = binary.functions(FUNCTIONS)
    before = {item.commit: item.claim for item in findings(functions, binary.btf, catalog=catalog)}
    assert "d6083f040d5d" in before
    moved = catalog.commits["d6083f040d5d"]
    commits = {
        **catalog.commits,
        "aaaaaaaaaaaa": moved._replace(key="aaaaaaaaaaaa"),
        "116e04ba1459": catalog.commits["116e04ba1459"]._replace(code=None),
    }
    after = {
        item.commit: item.claim for item in findings(functions, binary.btf, catalog=catalog._replace(commits=commits))
    }
    assert after.pop("aaaaaaaaaaaa") is after["d6083f040d5d"]
    assert after == {key: claim for key, claim in before.items() if key != "116e04ba1459"}
