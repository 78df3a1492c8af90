"""Tests of facts about a distribution's builds: how far each extends along its own line of builds."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence
from tailcall_audit.analyzer.readers.series import line_of, series_evidence

_FIX_6 = "d6083f040d5d"


def _answer(catalog: Catalog, start: str, present: bool, build: str) -> Presence | None:
    """What one made fact about el9 says of a build; None if it says nothing."""
    fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, present, start, False, "made for this test", None)
    found = list(series_evidence(catalog._replace(series=(fact,), path="made"), parse_release(build, catalog)))
    return found[0].presence if found else None


# 5.14.0-427.el9 is where 9.4's z-stream (427.13.1.el9_4, 427.40.1.el9_4) leaves the main line, which goes on with 430.
@pytest.mark.parametrize(
    ("start", "build", "extends"),
    [
        ("5.14.0-425.el9", "5.14.0-425.el9.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-427.13.1.el9_4.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-503.11.1.el9_5.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-424.9.1.el9.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.40.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.42.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.13.1.el9_4.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-430.el9.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-503.11.1.el9_5.x86_64", False),
    ],
)
def test_what_a_build_has_only_its_own_line_has(catalog: Catalog, start: str, build: str, extends: bool) -> None:
    assert _answer(catalog, start, True, build) is (Presence.PRESENT if extends else None)


@pytest.mark.parametrize(
    ("start", "build", "extends"),
    [
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.13.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.el9.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-362.el9.x86_64", True),
        # A z-stream of 9.3 may have had the fix by itself.
        ("5.14.0-427.40.1.el9_4", "5.14.0-362.24.1.el9_3.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.42.1.el9_4.x86_64", False),
        ("5.14.0-425.el9", "5.14.0-362.24.1.el9_3.x86_64", False),
    ],
)
def test_what_a_build_lacks_its_ancestors_lack(catalog: Catalog, start: str, build: str, extends: bool) -> None:
    assert _answer(catalog, start, False, build) is (Presence.ABSENT if extends else None)


def test_a_rebuild_inherits_presence_and_no_absence(catalog: Catalog) -> None:
    build = "5.14.0-427.13.1.el9_4_ciq.x86_64"
    assert _answer(catalog, "5.14.0-425.el9", True, build) is Presence.PRESENT
    assert _answer(catalog, "5.14.0-427.40.1.el9_4", False, build) is None


@pytest.mark.parametrize(
    ("build", "line", "zero_is_main"),
    [
        ((5, 14, 0, 427), (), False),
        ((5, 14, 0, 427, 13, 1), (5, 14, 0, 427), False),
        # openEuler's main line is 182.0.0.95; 182.1.0.95 left it.
        ((5, 10, 0, 182, 0, 0, 95), (), True),
        ((5, 10, 0, 182, 1, 0, 95), (5, 10, 0, 182), True),
        ((5, 10, 0, 182, 0, 0, 95), (5, 10, 0, 182), False),
        ((5, 10, 0, 182), (), True),
    ],
)
def test_where_a_build_leaves_the_main_line(build: tuple[int, ...], line: tuple[int, ...], zero_is_main: bool) -> None:
    assert line_of(build, zero_is_main) == line


def _made(catalog: Catalog, fact: SeriesFact, build: str) -> list[Evidence]:
    return list(series_evidence(catalog._replace(series=(fact,), path="made"), parse_release(build, catalog)))


def _android(present: bool, *, exact: bool = False) -> SeriesFact:
    start = "5.10.198-android12-9"
    return SeriesFact("android", "android12", "5.10", _FIX_6, present, start, exact, "made for this test", None)


def test_a_build_of_a_release_has_and_lacks_what_that_release_does(catalog: Catalog) -> None:
    for exact in (False, True):
        for present, expected in ((True, Presence.PRESENT), (False, Presence.ABSENT)):
            found = _made(catalog, _android(present, exact=exact), "5.10.198-android12-9-00015-gabcdef012345")
            assert [item.presence for item in found] == [expected]


def test_an_exact_build_is_compared_as_a_whole(catalog: Catalog) -> None:
    assert _made(catalog, _android(True, exact=True), "5.10.198-android12-90-00015-gabcdef012345") == []
    assert _made(catalog, _android(True, exact=True), "5.10.205-android12-9-00015-gabcdef012345") == []
    assert len(_made(catalog, _android(True), "5.10.205-android12-9-00015-gabcdef012345")) == 1


def test_another_series_says_nothing(catalog: Catalog) -> None:
    assert _made(catalog, _android(True), "5.10.198-android13-4-00015-gabcdef012345") == []


def test_a_rebuild_is_less_sure_and_names_the_owner_of_the_changelog(catalog: Catalog) -> None:
    fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, True, "5.14.0-425.el9", False, "made for this test", None)
    (own,) = _made(catalog, fact, "5.14.0-427.13.1.el9_4.x86_64")
    (rebuilt,) = _made(catalog, fact, "5.14.0-427.13.1.el9_4_ciq.x86_64")
    assert (own.confidence, rebuilt.confidence) == (Confidence.HIGH, Confidence.MEDIUM)
    assert "by the changelog of" not in own.detail
    assert "by the changelog of Red Hat" in rebuilt.detail


@pytest.mark.parametrize(
    "build",
    [
        "4.18.0-553.47.1.lve.el8.x86_64",  # CloudLinux, as public lists of hosts have it
        "4.18.0-553.47.1.el8.acme1.x86_64",
        "4.18.0-553.47.1.el8.x86_64_v2",
        "4.18.0-553.47.1.el8_10.86ciq_lts.1.1.x86_64",
    ],
)
def test_a_build_with_another_mark_in_its_name_inherits_no_absence(catalog: Catalog, build: str) -> None:
    present, absent = (
        SeriesFact("rhel", "el8", "4.18", _FIX_6, is_there, start, False, "made for this test", None)
        for is_there, start in ((True, "4.18.0-500.el8"), (False, "4.18.0-553.99.1.el8_10"))
    )
    (found,) = _made(catalog, present, build)
    assert (found.presence, found.confidence) == (Presence.PRESENT, Confidence.MEDIUM)
    assert _made(catalog, absent, build) == []
    assert len(_made(catalog, absent, "4.18.0-553.47.1.el8_10.x86_64")) == 1


@pytest.mark.parametrize(
    "build",
    [
        "5.14.0-284.30.1.el9_2.x86_64",
        "4.18.0-553.rt7.342.el8_10.x86_64",
        "5.14.0-0.rc4.35.el9.x86_64",
        "6.12.0-55.9.1.el10_0.aarch64+64k",
        "6.9.0-0.rc1.20240328git.17.eln136.x86_64",
        "5.14.0-427.13.1.el9_4",
        "Linux version 5.14.0-427.13.1.el9_4.x86_64 (mockbuild@x86-64-05.brew.eng.rdu2.redhat.com) (GNU ld version 2.35.2-43.el9.1)",
    ],
)
def test_red_hat_s_own_names_are_no_rebuild(catalog: Catalog, build: str) -> None:
    assert parse_release(build, catalog).rebuilder is None


def test_what_a_build_lacks_and_what_a_note_limits_is_less_sure(catalog: Catalog) -> None:
    for present, note in ((False, None), (True, "read in another release")):
        fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, present, "5.14.0-427.el9", False, "made", note)
        (found,) = _made(catalog, fact, "5.14.0-427.el9.x86_64")
        assert found.confidence is Confidence.MEDIUM


@pytest.mark.parametrize(
    ("build", "inherits"),
    [
        ("5.14.0-427.13.1.el9_4.x86_64", True),
        ("5.14.0-427.13.1.el9_4", True),
        ("5.14.0-427.13.1.el9_40.x86_64", False),
        ("5.14.0-427.16.1.el9_4.x86_64", False),
        ("5.14.0-503.11.1.el9_5.x86_64", False),
    ],
)
def test_what_a_rebuilder_lists_the_original_of_the_same_name_has_and_no_other(
    catalog: Catalog, build: str, inherits: bool
) -> None:
    """A rebuilder adds patches of its own."""
    start = "5.14.0-427.13.1.el9_4"
    fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, True, start, False, "made", None, rebuilder="AlmaLinux")
    found = _made(catalog, fact, build)
    assert [(item.presence, item.confidence) for item in found] == [(Presence.PRESENT, Confidence.MEDIUM)] * inherits
    assert _made(catalog, fact._replace(present=False), build) == []


def test_a_release_whose_text_contradicts_itself_has_no_series(catalog: Catalog) -> None:
    fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, True, "5.14.0-425.el9", False, "made", None)
    known, release = catalog._replace(series=(fact,), path="made"), parse_release("5.14.0-427.el9.x86_64", catalog)
    assert len(list(series_evidence(known, release))) == 1
    assert list(series_evidence(known, release._replace(proof=Proof.NOTHING))) == []


def test_a_build_before_the_stable_release_that_has_a_commit_took_nothing_out(catalog: Catalog) -> None:
    key = "f263a81451c1"  # in 5.10.53
    fact = SeriesFact("android", "android12", "5.10", key, False, "5.10.52-android12-9", True, "made", None)
    assert _made(catalog, fact, "5.10.205-android12-9-00015-gabcdef012345") == []
    at = fact._replace(start="5.10.53-android12-9")
    (other,) = _made(catalog, at, "5.10.205-android12-9-00015-gabcdef012345")
    assert other.presence is Presence.UNKNOWN
    assert _made(catalog, fact._replace(start="android12-9"), "5.10.205-android12-9-00015-gabcdef012345") == []


def test_a_commit_that_a_vendor_took_out_is_open_in_its_other_builds(catalog: Catalog) -> None:
    """The stable release has it, and one build was seen without it."""
    key = "f263a81451c1"  # in 5.10.53
    fact = SeriesFact("android", "android12", "5.10", key, False, "5.10.198-android12-9", True, "made", None)
    (seen,) = _made(catalog, fact, "5.10.198-android12-9-00015-gabcdef012345")
    assert seen.presence is Presence.ABSENT
    (other,) = _made(catalog, fact, "5.10.205-android12-9-00015-gabcdef012345")
    assert (other.presence, other.confidence) == (Presence.UNKNOWN, Confidence.LOW)
