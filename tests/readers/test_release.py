"""What is left of a release's proof when a vendor's patches, an ABI number or a local build are on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import pytest

from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import Build, KernelRelease, WholeSeries
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence, TargetKind
from tailcall_audit.analyzer.readers import release as release_reader
from tailcall_audit.analyzer.readers.release import read, release_evidence
from tailcall_audit.analyzer.subjects.subject import Request, make_subject
from tailcall_audit.analyzer.version import parse_version

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.subject import OpenTree

P, A, U = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
FIX_3, FIX_6, FEATURE = "2b5dcb31a19a", "d6083f040d5d", "0f0c332992b8"
"""6.1.66 and 6.1.191 have the fixes of pitfalls 3 and 6; FEATURE is in v7.0."""


def _made(version: str, proof: Proof, **more: object) -> KernelRelease:
    return KernelRelease(f"made {version}", f"{version}-made", parse_version(version), proof, **more)  # type: ignore[arg-type]


def _evidence(catalog: Catalog, release: KernelRelease, confidence: Confidence = HIGH) -> Mapping[str, Evidence]:
    return {item.commit: item for item in release_evidence(catalog, release, confidence) if item.architecture is None}


def test_patches_on_top_leave_open_what_the_release_lacks(catalog: Catalog) -> None:
    found = _evidence(catalog, _made("6.1.170", Proof.PATCHED, vanilla_like=False))
    assert [found[key].presence for key in (FIX_3, FIX_6, FEATURE)] == [P, U, U]
    base = _evidence(catalog, _made("6.1.170", Proof.BASE, vanilla_like=False))
    assert [base[key].presence for key in (FIX_3, FIX_6, FEATURE)] == [U, U, U]


def test_a_contradiction_proves_nothing_at_all(catalog: Catalog) -> None:
    release = _made("6.1.170", Proof.NOTHING, notes=("two numbers",))
    found = list(release_evidence(catalog, release))
    assert {(item.presence, item.confidence) for item in found} == {(U, LOW)}
    assert {item.commit for item in found} == catalog.commits.keys()


def test_the_command_that_settles_is_the_distributions_else_the_branchs_else_our_own(catalog: Catalog) -> None:
    own = _evidence(catalog, _made("6.1.170", Proof.PATCHED, settle="rpm -q"))[FIX_6]
    assert own.settle == "rpm -q"
    plain = _evidence(catalog, _made("6.1.170", Proof.PATCHED))[FIX_6]
    assert plain.settle is not None
    assert plain.settle.startswith("tailcall-audit --tree PATH   on the sources")
    # 5.10.263 is newer than the survey of 5.10, and the open question of the branch has a command of its own.
    newer = _evidence(catalog, _made("5.10.263", Proof.PATCHED))[FIX_6]
    assert newer.settle is not None
    assert "--rev v5.10.263" in newer.settle


def test_a_vendor_that_follows_the_branch_takes_no_later_feature(catalog: Catalog) -> None:
    found = _evidence(catalog, _made("6.1.170", Proof.PATCHED, distro="example"))
    assert (found[FEATURE].presence, found[FEATURE].confidence) == (A, LOW)
    assert found[FIX_6].presence is U


def _of_builds(catalog: Catalog, *versions: str) -> Evidence:
    builds = tuple(Build(f"{version}-1", parse_version(version)) for version in versions)
    release = _made("6.1", Proof.BASE, builds=builds, builds_source="a list")
    return _evidence(catalog, release)[FIX_6]


def test_an_abi_number_decides_where_all_its_packages_agree(catalog: Catalog) -> None:
    both = _of_builds(catalog, "6.1.191", "6.1.192")
    assert (both.presence, both.confidence) == (P, MEDIUM)
    assert "6.1.191-1 to 6.1.192-1" in both.detail
    assert _of_builds(catalog, "6.1.170", "6.1.190").presence is A
    assert _of_builds(catalog, "6.1.170").presence is A
    assert _of_builds(catalog, "6.1.190", "6.1.191").presence is U
    assert _of_builds(catalog, "5.10.263", "5.10.264").presence is U


def test_an_answer_about_packages_is_as_sure_as_the_least_sure_of_them(catalog: Catalog) -> None:
    assert _of_builds(catalog, "6.1.191").confidence is MEDIUM
    fact = catalog.commits[FIX_6].branches["6.1"]._replace(unverified="inferred")
    commit = catalog.commits[FIX_6]._replace(branches={"6.1": fact}, unverified="a mail")
    unsure = catalog._replace(commits={**catalog.commits, FIX_6: commit})
    assert _of_builds(unsure, "6.1.191").confidence is MEDIUM
    low = _evidence(
        unsure,
        _made("6.1", Proof.BASE, builds=(Build("6.1.191-1", parse_version("6.1.191")),)),
        confidence=LOW,
    )
    assert low[FIX_6].confidence is LOW


def test_facts_that_contradict_each_other_about_a_package_leave_its_abi_number_open(catalog: Catalog) -> None:
    builds = (Build("6.1.50-1", parse_version("6.1.50")),)
    release = _made("6.1", Proof.BASE, distro="example", builds=builds, builds_source="a list")
    for order in ((True,), (False,), (True, False), (False, True)):
        series = tuple(
            SeriesFact("example", "one", "6.1", FIX_6, present, "6.1.50-1", True, "made for this test", None)
            for present in order
        )
        found = _evidence(catalog._replace(series=series, path="made"), release)[FIX_6].presence
        assert found is (U if len(order) > 1 else P if order[0] else A), order


def _on_ended_branch(catalog: Catalog, version: str, key: str, adds: tuple[str, ...] = ()) -> Presence:
    release = _made(version, Proof.BASE, distro="example", whole_series=WholeSeries(adds, "its changelog"))
    return _evidence(catalog, release)[key].presence


def test_an_ended_branch_without_a_fix_needs_no_stable_number(catalog: Catalog) -> None:
    # 6.8 ended in May 2024, before the fix of pitfall 6 was posted. 6.5 has the fix of pitfall 3 from 6.5.12 on.
    assert _on_ended_branch(catalog, "6.8", FIX_6) is A
    assert _on_ended_branch(catalog, "6.8", FIX_6, adds=(FIX_6,)) is U
    assert _on_ended_branch(catalog, "6.5", FIX_3) is U
    assert _on_ended_branch(catalog, "6.1", FIX_6) is U  # lives on
    # 6.11 was read through 6.11.11, its last: sure of the release, and less sure of a build of it.
    release = _made("6.11", Proof.BASE, distro="example", whole_series=WholeSeries((), "its changelog"))
    ended = _evidence(catalog, release)[FIX_6]
    assert (ended.presence, ended.confidence) == (A, MEDIUM)
    without = _evidence(catalog, _made("6.8", Proof.BASE, distro="example"))
    assert without[FIX_6].presence is U


def test_an_ended_branch_that_had_a_commit_for_a_time_needs_the_stable_number(catalog: Catalog) -> None:
    """Its first and its last release lack it, and the kernel may be one of those between."""
    for changes in (((("6.8.3", True), ("6.8.5", False))), (("6.8.5", False),)):
        fact = BranchFact(
            "6.8", True, None, None, parse_version("6.8.12"), None, "a survey", None, "made",
            tuple((parse_version(release), brings) for release, brings in changes),
        )  # fmt: skip
        commit = catalog.commits[FIX_6]._replace(branches={"6.8": fact})
        known = catalog._replace(commits={**catalog.commits, FIX_6: commit}, path="made")
        assert _on_ended_branch(known, "6.8", FIX_6) is U
        assert _evidence(known, _made("6.8.12", Proof.EXACT))[FIX_6].presence is A


def test_a_local_build_is_a_level_less_sure(catalog: Catalog) -> None:
    plain = _evidence(catalog, _made("6.1.170", Proof.EXACT))
    local = _evidence(catalog, _made("6.1.170", Proof.EXACT, local="-lab"))
    assert (plain[FIX_3].confidence, local[FIX_3].confidence) == (HIGH, MEDIUM)
    assert _evidence(catalog, _made("6.1.170", Proof.EXACT, local="-lab"), MEDIUM)[FIX_3].confidence is LOW


def test_a_vendor_whose_patches_are_not_known_may_have_a_fix(catalog: Catalog) -> None:
    own = _evidence(catalog, _made("6.1.170", Proof.EXACT, own_patches=True))
    assert (own[FIX_6].presence, own[FIX_6].confidence) == (A, MEDIUM)
    assert (own[FIX_3].presence, own[FIX_3].confidence) == (P, HIGH)


def test_a_kernel_newer_than_the_catalogue_is_less_sure(catalog: Catalog) -> None:
    newest = catalog.newest_mainline
    newer = newest._replace(minor=newest.minor + 1)
    assert _evidence(catalog, _made(str(newest), Proof.EXACT))[FIX_3].confidence is HIGH
    assert _evidence(catalog, _made(str(newer), Proof.EXACT))[FIX_3].confidence is MEDIUM


def _read(catalog: Catalog, text: str, **changes: object) -> Mapping[str, Evidence]:
    release = parse_release(text, catalog)._replace(**changes)  # type: ignore[arg-type]
    request = Request(catalog, catalog.defects)
    subject = make_subject(request, TargetKind.RELEASE, text, release=release)
    found = read(subject, request).evidence
    return {item.commit: item for item in found if item.architecture is None}


@pytest.fixture
def surveyed(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The shipped catalogue with a shipped survey beside it: 5.10.263 brought the fix of pitfall 6."""
    fact = BranchFact("5.10", True, parse_version("5.10.263"), None, None, None, "GIT linux", None, survey="stable")
    monkeypatch.setattr(release_reader, "shipped_branches", lambda: {FIX_6: {"5.10": fact}})
    return shipped_catalog()


def test_a_shipped_survey_answers_what_the_catalogue_leaves_open(surveyed: Catalog) -> None:
    assert _read(surveyed, "5.10.263")[FIX_6].presence is P
    assert _read(surveyed, "5.10.262")[FIX_6].presence is A


def test_a_survey_of_the_users_own_stays(surveyed: Catalog) -> None:
    own = BranchFact("5.10", False, None, None, parse_version("5.10.262"), None, "GIT mine", None, survey="mine")
    commit = surveyed.commits[FIX_6]._replace(branches={"5.10": own})
    given = surveyed._replace(commits={**surveyed.commits, FIX_6: commit})
    assert _read(given, "5.10.263")[FIX_6].presence is U


def test_another_catalogue_has_no_shipped_surveys(surveyed: Catalog) -> None:
    assert _read(surveyed._replace(path="mine.json"), "5.10.263")[FIX_6].presence is U


def test_an_open_commit_is_looked_up_and_nothing_else(catalog: Catalog) -> None:
    found = _read(catalog, "6.8.0-31-generic", teach="tailcall-audit --online …")
    for key, item in found.items():
        if item.presence is U and key in catalog.commits:
            assert item.settle == "tailcall-audit --online …"
        else:
            assert item.settle != "tailcall-audit --online …"
    release = parse_release("6.8.0-31-generic", catalog)._replace(teach="look")
    request = Request(catalog, catalog.defects)
    subject = make_subject(request, TargetKind.RELEASE, "x", release=release)
    capabilities = [
        item for item in read(subject, request).evidence if item.commit in catalog.capabilities and item.presence is U
    ]
    assert capabilities
    assert "look" not in {item.settle for item in capabilities}


def test_the_basis_of_what_no_survey_says_is_the_catalogue(catalog: Catalog) -> None:
    assert {item.basis.date for item in _read(catalog, "6.1.170").values() if item.basis is not None} == {catalog.date}
    assert all(item.basis is not None for item in _read(catalog, "6.1.170").values())


def test_the_file_of_shipped_branches_is_not_needed_for_a_release_that_is_decided(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Mapping[str, Mapping[str, BranchFact]]:
        raise AssertionError("nothing is open")

    monkeypatch.setattr(release_reader, "shipped_branches", refuse)
    assert {item.presence for item in _read(catalog, "4.2").values()} <= {P, A}


def test_a_snapshot_lacks_what_came_to_mainline_in_a_later_window_only(catalog: Catalog) -> None:
    found = _evidence(catalog, _made("6.12-rc3", Proof.SNAPSHOT, snapshot=True))
    # The fix of pitfall 6 is in v6.13-rc1, that of pitfall 3 in v6.7.
    assert [found[key].presence for key in (FIX_3, FIX_6)] == [P, A]
    window = _evidence(catalog, _made("6.12", Proof.SNAPSHOT, snapshot=True))
    assert window[FIX_6].presence is A
    same = catalog.commits[FIX_6]._replace(first_release=parse_version("6.12-rc5"))
    given = catalog._replace(commits={**catalog.commits, FIX_6: same})
    assert _evidence(given, _made("6.12-rc3", Proof.SNAPSHOT, snapshot=True))[FIX_6].presence is U
    vendor = _evidence(catalog, _made("6.12-rc3", Proof.SNAPSHOT, snapshot=True, vanilla_like=False))
    assert vendor[FIX_6].presence is U


def test_with_sources_at_hand_an_open_commit_is_compared_with_them(catalog: Catalog) -> None:
    release = _made("6.1.170", Proof.PATCHED, vanilla_like=False)
    request = Request(catalog, catalog.defects)
    subject = make_subject(request, TargetKind.RELEASE, "x", release=release)
    subject = subject._replace(parts=subject.parts._replace(tree=cast("OpenTree", object())))
    found = {item.commit: item for item in read(subject, request).evidence}
    settle = found[FIX_6].settle or ""
    assert settle.startswith(f"tailcall-audit explain {FIX_6}   and compare with ")
    assert all(path in settle for path in catalog.commits[FIX_6].files)
    assert "explain" not in (found[FIX_3].settle or "")
    assert all("explain" not in (found[key].settle or "") for key in catalog.capabilities)
