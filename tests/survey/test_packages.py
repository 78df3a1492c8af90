"""Tests of the survey of a distribution's changelogs, which never says anything else than the audit of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog
from tailcall_audit.analyzer.model import State as Verdict
from tailcall_audit.analyzer.pipeline import audit
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.types import Survey, SurveyError

# As the changelog of RHEL 9 is written, with the entries in which it lists these commits; the z-stream's entry is made.
RHEL = """\
* Wed Aug 09 2023 N N <n@example.org> [5.14.0-284.30.1.el9_2]
- bpf, x64: Fix tailcall infinite loop (N N) [1]

* Mon Jul 10 2023 N N <n@example.org> [5.14.0-284.25.1.el9_2]
- mm: a fix (N N) [2]

* Thu Feb 23 2023 N N <n@example.org> [5.14.0-284.el9]
- net: a fix (N N) [3]

* Thu Jan 12 2023 N N <n@example.org> [5.14.0-234.el9]
- bpf, arm64: Keep tail call count across bpf2bpf calls (N N) [2137876]

* Wed Dec 21 2022 N N <n@example.org> [5.14.0-221.el9]
- bpf, x86: Fix tail call count offset calculation on bpf2bpf call (N N) [2120968]

* Tue Nov 01 2022 N N <n@example.org> [5.14.0-190.el9]
- net: a fix (N N) [4]

* Mon Aug 30 2021 N N <n@example.org> [5.14.0-1.el9]
- the first build (N N)
"""
VERSIONS = ("190.el9", "221.el9", "234.el9", "284.el9", "284.25.1.el9_2", "284.30.1.el9_2")
_FIX_2, _FIX_3 = "ff672c67ee76", "2b5dcb31a19a"


def _opened(catalog: Catalog, text: str, version: str | None = None) -> OpenChangelog:
    return open_changelog(catalog, decode_changelog(text.encode(), "changelog"), version)


@pytest.fixture(scope="module")
def survey(catalog: Catalog) -> Survey:
    return survey_changelogs(catalog, [_opened(catalog, RHEL)], "changelog", "2026-11-25")


def _claims(survey: Survey, commit: str) -> list[tuple[str, str]]:
    return [(claim.state.value, claim.release) for claim in survey.claims if claim.commit == commit]


def test_a_fix_of_the_main_line_counts_from_its_build(survey: Survey) -> None:
    assert _claims(survey, _FIX_2) == [("absent-through", "5.14.0-190.el9"), ("present-from", "5.14.0-221.el9")]
    assert survey.reach == {"rhel/5.14/el9": "5.14.0-284.30.1.el9_2"}
    # An entry that lists one between two that list none is read, too.
    assert _claims(survey, "d4609a5d8c70") == [("absent-through", "5.14.0-221.el9"), ("present-from", "5.14.0-234.el9")]


def test_a_fix_of_a_z_stream_is_on_that_line_only(survey: Survey) -> None:
    assert ("present-from", "5.14.0-284.30.1.el9_2") in _claims(survey, _FIX_3)
    assert ("absent-through", "5.14.0-284.25.1.el9_2") in _claims(survey, _FIX_3)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_audit_with_the_survey_says_what_the_audit_of_the_changelog_says(
    catalog: Catalog, survey: Survey, tmp_path: Path, version: str
) -> None:
    path = tmp_path / "changelog"
    path.write_text(RHEL)
    bare = catalog._replace(series=(), path="made")
    build = f"5.14.0-{version}"
    by_changelog = audit(changelog=str(path), package_version=build, arch="x86_64", catalog=bare).targets[0]
    by_survey = audit(kernels=[f"{build}.x86_64"], catalog=with_surveys(bare, [survey])).targets[0]
    theirs = by_changelog.states
    decided = 0
    for slug, state in by_survey.states.items():
        if state is not Verdict.UNKNOWN and theirs[slug] is not Verdict.UNKNOWN:
            assert state is theirs[slug], slug
            decided += 1
    assert decided > 5


def test_the_next_builds_of_the_main_line_do_not_have_a_z_stream_s_fix(catalog: Catalog, survey: Survey) -> None:
    known = with_surveys(catalog._replace(series=(), path="made"), [survey])
    for build, expected in (
        ("5.14.0-284.30.1.el9_2.x86_64", Verdict.FIXED),
        ("5.14.0-284.40.1.el9_2.x86_64", Verdict.FIXED),
        ("5.14.0-300.el9.x86_64", Verdict.UNKNOWN),
    ):
        report = audit(kernels=[build], catalog=known, only=["x86-trampoline-loop"])
        assert report.targets[0].states == {"x86-trampoline-loop": expected}


def test_a_revert_in_a_later_build_makes_no_fact(catalog: Catalog) -> None:
    text = (
        '* Fri Mar 03 2023 N N <n@example.org> [5.14.0-290.el9]\n- Revert "bpf, x86: Fix tail call count offset calculation on '
        'bpf2bpf call" (N N) [9]\n\n' + RHEL.split("\n\n", 2)[2]
    )
    found = survey_changelogs(catalog, [_opened(catalog, text)], "changelog", "2026-11-25")
    assert ("reverted-in", "5.14.0-290.el9") in _claims(found, _FIX_2)
    known = with_surveys(catalog._replace(series=(), path="made"), [found])
    assert not [fact for fact in known.series if fact.commit == _FIX_2]


def test_a_changelog_that_is_cut_proves_presence_only(catalog: Catalog) -> None:
    text = RHEL.rsplit("\n\n", 2)[0]
    found = survey_changelogs(catalog, [_opened(catalog, text)], "changelog", "2026-11-25")
    assert {claim.state.value for claim in found.claims} == {"present-from"}
    assert "nothing is claimed to be absent" in found.notes[0]


def test_a_changelog_of_an_unknown_vendor_is_refused(catalog: Catalog) -> None:
    text = "linux-frobnicate (6.1.100-1) unstable; urgency=low\n\n  * a fix\n\n -- A <a@b.c>  Mon, 01 Jul 2024 00:00:00 +0000\n"
    with pytest.raises(SurveyError, match="no distribution that the catalogue knows"):
        survey_changelogs(catalog, [_opened(catalog, text)], "changelog", "2026-11-25")


@pytest.mark.parametrize(
    ("author", "place", "expected"),
    [
        ("n@example.org", "", None),
        ("n@example.org", "mirror.example.org/rhel/9/BaseOS", None),
        ("n@example.org", "repo.almalinux.org/almalinux/9/BaseOS", "AlmaLinux"),
        # The authors know better than a mirror's address.
        ("releng@rockylinux.org", "mirror.example.org/9/BaseOS", "Rocky Linux"),
        ("releng@rockylinux.org", "repo.almalinux.org/almalinux/9/BaseOS", "Rocky Linux"),
        ("releng@rockylinux.org", "", "Rocky Linux"),
    ],
)
def test_whose_builds_a_changelog_is_about(catalog: Catalog, author: str, place: str, expected: str | None) -> None:
    """What a rebuilder lists is no fact about Red Hat's own later builds."""
    opened = _opened(catalog, RHEL.replace("n@example.org", author))
    found = survey_changelogs(catalog, [opened], "changelog", "2026-11-26", place=place)
    assert {claim.rebuilder for claim in found.claims} == {expected}
    known = with_surveys(catalog._replace(series=(), path="made"), [found])
    report = audit(kernels=["5.14.0-284.el9.x86_64"], catalog=known, only=["x86-count-offset"])
    own = Verdict.FIXED if expected is None else Verdict.UNKNOWN
    assert report.targets[0].states == {"x86-count-offset": own}


_INTRODUCER = "4a9c7bbe2ed4"
_INTRODUCES = "bpf: Resolve to prog->aux->dst_prog->type only for BPF_PROG_TYPE_EXT"


@pytest.mark.parametrize("whole", [True, False])
def test_a_revert_of_what_was_never_listed_says_nothing_about_earlier_builds(catalog: Catalog, whole: bool) -> None:
    """The builds before the revert may have had it: a rebase brought it, or the changelog is cut off below its entry."""
    text = f'* Fri Mar 03 2023 N N <n@example.org> [5.14.0-290.el9]\n- Revert "{_INTRODUCES}" (N N) [9]\n\n' + (
        RHEL.split("\n\n", 2)[2] if whole else RHEL.split("\n\n", 2)[2].rsplit("\n\n", 2)[0]
    )
    found = survey_changelogs(catalog, [_opened(catalog, text)], "changelog", "2026-11-26")
    claims = _claims(found, _INTRODUCER)
    assert ("reverted-in", "5.14.0-290.el9") in claims
    assert ("absent-through", "5.14.0-290.el9") not in claims
    known = with_surveys(catalog._replace(series=(), path="made"), [found])
    assert not [fact for fact in known.series if fact.commit == _INTRODUCER]
    report = audit(kernels=["5.14.0-234.el9.x86_64"], catalog=known, only=["resolve-prog-type-null-deref-load"])
    assert report.targets[0].states == {"resolve-prog-type-null-deref-load": Verdict.UNKNOWN}


def test_a_revert_of_what_the_base_has_makes_no_earlier_build_safe(catalog: Catalog) -> None:
    """be8704ff07d2 (dynamic program extensions) is in mainline since 5.6."""
    text = (
        '* Fri Mar 03 2023 N N <n@example.org> [5.14.0-290.el9]\n- Revert "bpf: Introduce dynamic program extensions" (N N)\n\n'
        + RHEL.split("\n\n", 2)[2]
    )
    found = survey_changelogs(catalog, [_opened(catalog, text)], "changelog", "2026-11-26")
    known = with_surveys(catalog._replace(series=(), path="made"), [found])
    before = audit(kernels=["5.14.0-234.el9.x86_64"], catalog=known).targets[0]
    assert all("be8704ff07d2" not in item.brief for item in before.verdicts if item.state is Verdict.NOT_AFFECTED)
