"""What a release of kernel.org proves: the first and the last release of each statement, and how sure it is."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.commit import BranchFact, Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence
from tailcall_audit.analyzer.readers.upstream_release import capability_in_release, commit_in_release, lowered
from tailcall_audit.analyzer.version import parse_version

P, A, U = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
FIX_6 = "d6083f040d5d"
"""In v6.13; in 6.1.191 and 6.12.5; not in 5.10 through 5.10.262; 6.8 ended on 30 May 2024, before it was posted."""
FEATURE = "0f0c332992b8"
"""In v7.0, on no stable branch."""


def _in(catalog: Catalog, commit: str | Commit, version: str) -> Evidence:
    found = catalog.commits[commit] if isinstance(commit, str) else commit
    return commit_in_release(catalog, found, parse_version(version))


@pytest.mark.parametrize(
    ("version", "presence", "confidence"),
    [
        ("6.13", P, HIGH),
        ("6.13.1", P, HIGH),
        ("6.14-rc1", P, HIGH),
        ("6.12", A, HIGH),
        ("6.12.4", A, HIGH),
        ("6.12.5", P, HIGH),
        ("6.1.190", A, HIGH),
        ("6.1.191", P, HIGH),
        ("5.10.262", A, HIGH),
        ("5.10.263", U, LOW),
        ("6.8.12", A, MEDIUM),
        ("6.8.13", U, LOW),
        ("6.8", A, HIGH),
    ],
)
def test_a_backported_fix(catalog: Catalog, version: str, presence: Presence, confidence: Confidence) -> None:
    found = _in(catalog, FIX_6, version)
    assert (found.presence, found.confidence) == (presence, confidence)
    assert found.guessed is False


@pytest.mark.parametrize(
    ("version", "presence", "confidence"),
    [("7.0", P, HIGH), ("6.19", A, HIGH), ("6.18.3", A, MEDIUM), ("6.1.170", A, MEDIUM)],
)
def test_a_feature_is_on_no_stable_branch(
    catalog: Catalog, version: str, presence: Presence, confidence: Confidence
) -> None:
    found = _in(catalog, FEATURE, version)
    assert (found.presence, found.confidence) == (presence, confidence)


def test_a_release_candidate_that_is_not_named_is_open(catalog: Catalog) -> None:
    commit = catalog.commits[FIX_6]._replace(first_release=parse_version("6.13"))
    assert [_in(catalog, commit, version).presence for version in ("6.13-rc1", "6.13-rc7", "6.13")] == [U, U, P]
    assert _in(catalog, commit, "6.12-rc7").presence is A
    # Named, it divides the candidates.
    named = commit._replace(first_release=parse_version("6.13-rc2"))
    assert [_in(catalog, named, version).presence for version in ("6.13-rc1", "6.13-rc2")] == [A, P]


def test_a_commit_of_one_stable_branch_is_nowhere_else(catalog: Catalog) -> None:
    """Linux 5.15.192 has a form of a fix of its own (c04992612ed4)."""
    found = [_in(catalog, "c04992612ed4", version) for version in ("5.15.191", "5.15.192", "6.1.170", "6.13")]
    assert [item.presence for item in found] == [A, P, A, A]


def test_what_is_unverified_is_less_sure(catalog: Catalog) -> None:
    commit = catalog.commits[FIX_6]._replace(unverified="read in a mail only")
    assert _in(catalog, commit, "6.13").confidence is MEDIUM
    guessed = commit.branches["6.12"]._replace(unverified="inferred")
    for base, expected in ((commit, MEDIUM), (catalog.commits[FIX_6], MEDIUM)):
        found = _in(catalog, base._replace(branches={"6.12": guessed}), "6.12.5")
        assert (found.presence, found.confidence, found.guessed) == (P, expected, True)
        assert found.settle is not None


def test_evidence_of_a_branch_cites_the_branch(catalog: Catalog) -> None:
    basis = Basis("stable", "2026-11-25")
    fact = catalog.commits[FIX_6].branches["6.12"]._replace(source="GIT here", basis=basis)
    commit = catalog.commits[FIX_6]._replace(branches={"6.12": fact}, source="MAIL there")
    found = _in(catalog, commit, "6.12.5")
    assert (found.citation, found.basis) == ("catalogue: GIT here", basis)
    assert _in(catalog, commit, "6.13").citation == "catalogue: MAIL there"


def test_a_release_by_which_a_commit_was_there(catalog: Catalog) -> None:
    fact = BranchFact("6.1", True, None, parse_version("6.1.50"), None, None, "a test", None)
    commit = catalog.commits[FIX_6]._replace(branches={"6.1": fact})
    found = {version: _in(catalog, commit, version) for version in ("6.1", "6.1.1", "6.1.49", "6.1.50", "6.1.51")}
    assert [item.presence for item in found.values()] == [A, U, U, P, P]
    assert (found["6.1.49"].confidence, found["6.1.49"].settle is not None) == (LOW, True)


def test_a_branch_that_ended_leaves_open_a_fix_that_existed(catalog: Catalog) -> None:
    old = catalog.commits[FIX_6]._replace(first_posted=None, first_release=parse_version("6.9"), branches={})
    assert _in(catalog, old, "6.8.12").presence is U
    without = catalog._replace(branches={})
    assert _in(without, catalog.commits[FIX_6], "6.8.12").presence is U


@pytest.mark.parametrize(
    ("architecture", "version", "vanilla", "presence", "confidence"),
    [
        ("x86_64", "5.6", True, P, HIGH),
        ("x86_64", "5.6.3", True, P, HIGH),
        ("x86_64", "5.5", True, A, MEDIUM),
        ("x86_64", "5.5.19", True, A, MEDIUM),
        # A vendor may have backported it: only presence holds.
        ("x86_64", "5.5", False, U, MEDIUM),
        ("x86_64", "5.6", False, P, HIGH),
        ("arm64", "5.19", True, A, MEDIUM),
        ("arm64", "6.0", True, P, HIGH),
        ("mips64", "6.1", True, U, MEDIUM),
    ],
)
def test_a_capability_is_there_from_a_release_on(
    catalog: Catalog, architecture: str, version: str, vanilla: bool, presence: Presence, confidence: Confidence
) -> None:
    capability = catalog.capabilities["capability:freplace-attach"]
    found = capability_in_release(capability, architecture, parse_version(version), vanilla)
    assert (found.presence, found.confidence, found.architecture) == (presence, confidence, architecture)
    assert (found.settle is None) == (presence is not U)


def test_low_is_the_least() -> None:
    assert [lowered(level) for level in (HIGH, MEDIUM, LOW)] == [MEDIUM, LOW, LOW]
