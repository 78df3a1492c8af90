"""Tests of what a survey with reverts says of releases: 6.6.150 brings a commit, 6.6.152 takes it back, 6.6.155 brings
it again.
"""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, Presence
from tailcall_audit.analyzer.readers.changes import changed_in_release, reverted_after
from tailcall_audit.analyzer.readers.release import release_evidence
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey
from tailcall_audit.analyzer.version import parse_version

_FIX_6 = "d6083f040d5d"
_CHANGES = (
    (State.PRESENT_FROM, "6.6.150"),
    (State.REVERTED_IN, "6.6.152"),
    (State.PRESENT_FROM, "6.6.155"),
    (State.REVERTED_IN, "6.6.156"),
)


def _catalog(catalog: Catalog, count: int, commit: str = _FIX_6, branch: str = "6.6") -> Catalog:
    claims = tuple(Claim(commit, state, release, "GIT linux", branch=branch) for state, release in _CHANGES[:count])
    reach = {branch: "6.6.158"}
    return with_surveys(catalog, [Survey(Kind.STABLE, "stable", "linux", "2026-11-25", reach, claims)])


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("6.6", Presence.ABSENT),
        ("6.6.149", Presence.ABSENT),
        ("6.6.150", Presence.PRESENT),
        ("6.6.151", Presence.PRESENT),
        ("6.6.152", Presence.ABSENT),
        ("6.6.154", Presence.ABSENT),
        ("6.6.155", Presence.PRESENT),
        ("6.6.156", Presence.ABSENT),
        ("6.6.158", Presence.ABSENT),
        ("6.6.159", Presence.UNKNOWN),
    ],
)
def test_each_release_has_what_the_last_change_before_it_left(
    catalog: Catalog, version: str, expected: Presence
) -> None:
    known = _catalog(catalog, 4)
    evidence = commit_in_release(known, known.commits[_FIX_6], parse_version(version))
    assert evidence.presence is expected
    assert evidence.citation.startswith("survey stable: ")


def test_what_stays_in_is_in_later_releases_too(catalog: Catalog) -> None:
    known = _catalog(catalog, 3)
    evidence = commit_in_release(known, known.commits[_FIX_6], parse_version("6.6.200"))
    assert evidence.presence is Presence.PRESENT


def test_a_revert_of_what_mainline_brought_is_seen(catalog: Catalog) -> None:
    # be8704ff07d2 is in 5.6, so every release of 6.6.y has it until one takes it back.
    claims = (Claim("be8704ff07d2", State.REVERTED_IN, "6.6.152", "GIT linux", branch="6.6"),)
    survey = Survey(Kind.STABLE, "stable", "linux", "2026-11-25", {"6.6": "6.6.158"}, claims)
    known = with_surveys(catalog, [survey])
    commit = known.commits["be8704ff07d2"]
    assert commit_in_release(known, commit, parse_version("6.6.151")).presence is Presence.PRESENT
    assert commit_in_release(known, commit, parse_version("6.6.152")).presence is Presence.ABSENT


@pytest.mark.parametrize("release", ["6.6.151-91.el9.x86_64", "6.6.0-1-amd64"])
def test_at_least_a_release_does_not_prove_what_a_later_one_reverts(catalog: Catalog, release: str) -> None:
    claims = (Claim("be8704ff07d2", State.REVERTED_IN, "6.6.152", "GIT linux", branch="6.6"),)
    survey = Survey(Kind.STABLE, "stable", "linux", "2026-11-25", {"6.6": "6.6.158"}, claims)
    known = with_surveys(catalog, [survey])
    found = {item.commit: item for item in release_evidence(known, parse_release(release, known))}
    assert found["be8704ff07d2"].presence is Presence.UNKNOWN


def _fact(*changes: tuple[str, bool], through: str | None = "6.6.158") -> BranchFact:
    return BranchFact(
        branch="6.6",
        backported=True,
        release=None,
        present_by=None,
        surveyed_through=None if through is None else parse_version(through),
        id=None,
        source="GIT linux",
        unverified=None,
        survey="stable",
        changes=tuple((parse_version(release), brings) for release, brings in changes),
    )


@pytest.mark.parametrize(
    ("changes", "version", "expected"),
    [
        ((("6.6.150", True),), "6.6.140", False),
        ((("6.6.150", True), ("6.6.152", False)), "6.6.151", True),
        # The release that takes it back is not after itself.
        ((("6.6.150", True), ("6.6.152", False)), "6.6.152", False),
        ((("6.6.150", True), ("6.6.152", False), ("6.6.155", True)), "6.6.153", False),
        ((), "6.6.151", False),
    ],
)
def test_a_later_revert_is_one_behind_the_release(
    catalog: Catalog, changes: tuple[tuple[str, bool], ...], version: str, expected: bool
) -> None:
    commit = catalog.commits[_FIX_6]._replace(branches={"6.6": _fact(*changes)})
    assert reverted_after(commit, parse_version(version)) is expected


def test_a_branch_without_a_survey_has_no_later_revert(catalog: Catalog) -> None:
    assert reverted_after(catalog.commits[_FIX_6]._replace(branches={}), parse_version("6.6.151")) is False


def test_how_sure_a_change_is(catalog: Catalog) -> None:
    fact = _fact(("6.6.150", True), ("6.6.152", False))
    found = {
        version: changed_in_release(catalog.commits[_FIX_6], fact, parse_version(version), "look")
        for version in ("6.6.151", "6.6.158", "6.6.159")
    }
    assert {version: item.confidence for version, item in found.items()} == {
        "6.6.151": Confidence.HIGH,
        "6.6.158": Confidence.HIGH,
        "6.6.159": Confidence.LOW,
    }
    assert [item.settle for item in found.values()] == [None, None, "look"]


def test_a_survey_without_an_end_leaves_no_release_open(catalog: Catalog) -> None:
    fact = _fact(("6.6.150", True), ("6.6.152", False), through=None)
    evidence = changed_in_release(catalog.commits[_FIX_6], fact, parse_version("6.6.200"), "look")
    assert evidence.presence is Presence.ABSENT


def test_what_mainline_had_is_there_from_the_start_of_the_branch(catalog: Catalog) -> None:
    commit = catalog.commits["2b5dcb31a19a"]._replace(first_release=parse_version("6.6"))
    fact = _fact(("6.6.150", False))
    before, after = (changed_in_release(commit, fact, parse_version(text), "look") for text in ("6.6.149", "6.6.150"))
    assert (before.presence, after.presence) == (Presence.PRESENT, Presence.ABSENT)


def test_a_revert_of_what_nothing_is_known_to_have_brought_leaves_the_releases_before_open(catalog: Catalog) -> None:
    """Something brought it, or it could not be taken back: a commit that a defect needs is not absent there."""
    commit = catalog.commits["2b5dcb31a19a"]._replace(first_release=parse_version("6.7"))
    fact = _fact(("6.6.150", False), ("6.6.155", True))
    for item in (commit, commit._replace(first_release=parse_version("6.6"), only_on_branch="6.6")):
        before = changed_in_release(item, fact, parse_version("6.6.149"), "look")
        assert (before.presence, before.settle) == (Presence.UNKNOWN, "look")
        for release, expected in (("6.6.150", Presence.ABSENT), ("6.6.155", Presence.PRESENT)):
            assert changed_in_release(item, fact, parse_version(release), "look").presence is expected
    brought = _fact(("6.6.150", True), ("6.6.155", False))
    assert changed_in_release(commit, brought, parse_version("6.6.149"), "look").presence is Presence.ABSENT
