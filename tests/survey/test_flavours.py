"""Builds that are counted apart: by flavour, by the distribution's release, and what names a bare changelog's package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, PackageName, open_changelog
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.types import Survey, SurveyError
from tests.repositories import FIX_6_SUBJECT

_STRINGS = Path(__file__).parents[1] / "kernelfiles/release_strings.tsv"
_DATE = "2026-11-26"


def _spec(name: str, newest: str, before: str) -> str:
    head = f"Name: {name}\nVersion: {newest.partition('-')[0]}\nRelease: {newest.partition('-')[2]}%{{?dist}}\n\n%changelog\n"
    return (
        f"{head}* Wed Jan 10 2024 N N <n@example.org> {newest}\n- {FIX_6_SUBJECT}\n\n"
        f"* Tue Jan 09 2024 N N <n@example.org> {before}\n- net: x\n"
    )


def _surveyed(opened: OpenChangelog, catalog: Catalog) -> Survey:
    return survey_changelogs(catalog, [opened], "made", _DATE)


def _states(catalog: Catalog, survey: Survey, *kernels: str) -> list[State]:
    taught = with_surveys(catalog, [survey])
    report = audit(kernels=list(kernels), arch="x86_64", only=["freplace-loop"], catalog=taught)
    return [target.states["freplace-loop"] for target in report.targets]


@pytest.fixture
def bare(catalog: Catalog) -> Catalog:
    """The catalogue without facts about builds, and without the shipped surveys."""
    return catalog._replace(series=(), path="made")


_OPEN = State.UNKNOWN


@pytest.mark.parametrize(
    ("name", "its", "others"),
    [
        ("linux", "6.6.83-11.ph5", ["6.6.83-11.ph5-esx", "6.6.83-11.ph5-rt", "6.6.83-11.ph6", "6.6.83-8.ph5"]),
        ("linux-esx", "6.6.83-11.ph5-esx", ["6.6.83-11.ph5", "6.6.83-11.ph5-aws", "6.6.83-11.ph4-esx"]),
    ],
)
@pytest.mark.parametrize("is_bare", [False, True], ids=["package", "spec"])
def test_a_flavour_of_photon_has_a_line_of_its_own(
    name: str, its: str, others: list[str], is_bare: bool, bare: Catalog
) -> None:
    changelog = decode_changelog(_spec(name, "6.6.83-10", "6.6.83-9").encode(), "linux.spec")
    package = None if is_bare else PackageName("6.6.83-10.ph5", name=name)
    opened = open_changelog(bare, changelog, package=package, mark="ph5" if is_bare else "")
    survey = _surveyed(opened, bare)
    series = "photon/6.6/ph5" if name == "linux" else "photon/6.6/ph5-esx"
    assert set(survey.reach) == {series}
    without = _states(bare, survey._replace(claims=(), reach={}), its, *others)
    with_it = _states(bare, survey, its, *others)
    assert with_it[0] is State.FIXED
    assert without[0] is not State.FIXED
    assert with_it[1:] == without[1:]


@pytest.mark.parametrize(
    ("build", "before", "its", "others"),
    [
        (
            "5.10.0-60.18.0.50.h1083.eulerosv2r11",
            "5.10.0-60.18.0.50.h1080.eulerosv2r11",
            "5.10.0-60.18.0.50.h1090.eulerosv2r11.x86_64",
            ["5.10.0-136.12.0.86.h10.eulerosv2r12.x86_64", "5.10.0-60.18.0.50.h1079.eulerosv2r11.x86_64"],
        ),
        (
            "6.6.64.2-1.azl3",
            "6.6.57.1-7.azl3",
            "6.6.64.2-5.azl3",
            ["6.6.64.2-5.cm2", "6.6.78.mshv6-1.azl3", "6.6.57.1-7.azl3"],
        ),
        ("6.1.115-126.amzn2023", "6.1.114-1.amzn2023", "6.1.119-129.201.amzn2023.x86_64", ["6.1.119-1.amzn2.x86_64"]),
        ("5.10.134-17.al8", "5.10.134-16.al8", "5.10.134-18.al8.x86_64", ["5.10.134-18.al7.x86_64"]),
    ],
    ids=["euleros", "azure", "amazon", "alibaba"],
)
def test_a_release_of_a_distribution_has_a_line_of_its_own(
    build: str, before: str, its: str, others: list[str], bare: Catalog
) -> None:
    """Two releases may build the same base, each with patches of its own: numbers cannot be compared across them."""
    survey = _surveyed(
        open_changelog(bare, decode_changelog(_spec("kernel", build, before).encode(), "kernel.spec"), build), bare
    )
    assert _states(bare, survey, its) == [State.FIXED]
    without = _states(bare, survey._replace(claims=(), reach={}), *others)
    assert _states(bare, survey, *others) == without


def _ubuntu(source: str) -> str:
    return "\n".join(
        f"{source} (6.8.0-{build}) noble; urgency=medium\n\n  * x\n    - {subject}\n\n"
        " -- A <a@example.org>  Fri, 14 Nov 2025 17:49:39 +0100\n"
        for build, subject in (("1005.5", FIX_6_SUBJECT), ("1004.4", "net: x"))
    )


@pytest.mark.parametrize(
    ("source", "its", "others"),
    [
        ("linux-azure", ["azure"], ["azure-nvidia", "azure-fde", "aws", "generic"]),
        ("linux-aws-6.8", ["aws", "aws-64k"], ["aws-fips"]),
        ("linux-azure-nvidia", ["azure-nvidia"], ["azure", "nvidia"]),
        ("linux-realtime", ["realtime"], ["raspi-realtime"]),
        ("linux-raspi-realtime", ["raspi-realtime"], ["raspi", "realtime"]),
        ("linux-intel-iotg-6.8", ["intel-iotg"], ["intel"]),
        ("linux-lowlatency-hwe-6.8", ["lowlatency", "lowlatency-64k"], ["generic"]),
        ("linux-azure-edge", ["azure"], ["azure-fde"]),
        ("linux-raspi2-6.8", ["raspi2"], ["raspi"]),
    ],
)
def test_a_flavour_of_ubuntu_with_a_source_of_its_own_counts_apart(
    source: str, its: list[str], others: list[str], bare: Catalog
) -> None:
    survey = _surveyed(open_changelog(bare, decode_changelog(_ubuntu(source).encode(), "changelog")), bare)
    assert _states(bare, survey, *(f"6.8.0-1010-{flavour}" for flavour in its)) == [State.FIXED] * len(its)
    assert _states(bare, survey, *(f"6.8.0-1010-{flavour}" for flavour in others)) == [_OPEN] * len(others)


def _dpkg(source: str, suite: str, newest: str, before: str) -> str:
    return "\n".join(
        f"{source} ({build}) {suite}; urgency=medium\n\n  * x\n    - {subject}\n\n"
        " -- A <a@example.org>  Fri, 14 Nov 2025 17:49:39 +0100\n"
        for build, subject in ((newest, FIX_6_SUBJECT), (before, "net: x"))
    )


def test_a_number_in_the_name_of_a_flavour_is_no_upload(bare: Catalog) -> None:
    """64k is not the 64th upload, of which 36 would be an earlier one."""
    text = _dpkg("linux", "noble", "6.8.0-35.36", "6.8.0-35.35")
    survey = _surveyed(open_changelog(bare, decode_changelog(text.encode(), "changelog")), bare)
    open_ones = ["6.8.0-35-generic", "6.8.0-35-generic-64k", "6.8.0-35-generic-64k #35-Ubuntu"]
    assert _states(bare, survey, *open_ones) == [_OPEN] * len(open_ones)
    fixed = ["6.8.0-35-generic-64k #36-Ubuntu", "6.8.0-36-generic-64k"]
    assert _states(bare, survey, *fixed) == [State.FIXED] * len(fixed)


def test_a_number_with_two_uploads_lacks_nothing_that_the_later_one_has(bare: Catalog) -> None:
    text = _dpkg("linux", "noble", "6.8.0-35.36", "6.8.0-35.35")
    opened = open_changelog(bare, decode_changelog(text.encode(), "changelog"))
    survey = survey_changelogs(bare, [opened], "made", _DATE, excerpt=True)
    assert [claim.state.value for claim in survey.claims] == ["absent-through", "present-from"]
    kernels = ["6.8.0-35-generic", "6.8.0-35-generic #35-Ubuntu", "6.8.0-35-generic #36-Ubuntu", "6.8.0-34-generic"]
    assert _states(bare, survey, *kernels) == [_OPEN, State.AFFECTED, State.FIXED, State.AFFECTED]


def test_a_release_of_kali_s_that_names_no_upload_has_no_fact_about_one(bare: Catalog) -> None:
    text = _dpkg("linux", "kali-dev", "6.6.25-1kali2", "6.6.25-1kali1")
    survey = _surveyed(open_changelog(bare, decode_changelog(text.encode(), "changelog")), bare)
    assert survey.claims
    (without,) = _states(bare, survey._replace(claims=(), reach={}), "6.6.25+kali-amd64")
    assert _states(bare, survey, "6.6.25+kali-amd64") == [without]
    assert without is not State.FIXED
    named = "6.6.25+kali-amd64 #1 SMP PREEMPT_DYNAMIC Kali 6.6.25-1kali{} (2024-04-08)"
    assert _states(bare, survey, named.format(2), named.format(1)) == [State.FIXED, without]


def test_every_distribution_whose_releases_have_a_mark_compares_builds_of_one_mark_only(catalog: Catalog) -> None:
    open_ones = set()
    for line in _STRINGS.read_text().splitlines():
        if line.startswith("#"):
            continue
        try:
            release = parse_release(line.split("\t", 2)[2].replace("\\t", "\t"), catalog)
        except ReleaseError:
            continue
        known = next((item for item in catalog.distributions if item.name == release.distro), None)
        if known is not None and re.search(r"-[\d.]+\.(?!x86|aarch64|s390x|i[36]86)[a-z]+\d", release.release):
            open_ones |= set() if known.series_in_release or known.z_streams or known.by_package else {known.name}
    assert open_ones == set()


_SUSE = f"""\
{"-" * 67}
Wed Jan 10 12:34:56 CET 2024 - a@example.org

- {FIX_6_SUBJECT} (git-fixes).
- commit 798b26b
"""


def _suse(tmp_path: Path, *options: str) -> int:
    (tmp_path / "kernel.changes").write_text(_SUSE)
    return main(["survey", "--changelog", str(tmp_path / "kernel.changes"), *options])


@pytest.mark.parametrize(
    ("flavour", "others"), [("default", ["azure", "rt", "64kb"]), ("azure", ["default", "rt"]), ("rt", ["default"])]
)
def test_the_flavour_in_the_build_s_name_says_which_package_a_changelog_of_suse_s_is_of(
    flavour: str, others: list[str], bare: Catalog
) -> None:
    named = f"6.4.0-150600.23.25-{flavour}"
    survey = _surveyed(open_changelog(bare, decode_changelog(_SUSE.encode(), "kernel.changes"), named), bare)
    assert dict(survey.reach) == {f"suse/6.4/{flavour}": "6.4.0-150600.23.25"}
    assert _states(bare, survey, f"6.4.0-150600.23.30-{flavour}") == [State.FIXED]
    assert _states(bare, survey, *(f"6.4.0-150600.23.30-{other}" for other in others)) == [_OPEN] * len(others)


def test_a_changelog_of_suse_s_without_its_flavour_names_the_option_that_gives_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], catalog: Catalog
) -> None:
    assert _suse(tmp_path, "--package-version", "6.4.0-150600.23.25.1") == 2
    err = capsys.readouterr().err
    assert "with its flavour (--package-version VERSION-FLAVOUR)" in err
    assert "(--package, --repo)" in err
    assert _suse(tmp_path, "--package-version", "6.4.0-150600.23.25-default") == 0
    opened = open_changelog(catalog, decode_changelog(_SUSE.encode(), "x"), "6.4.0-150600.23.25.1")
    with pytest.raises(SurveyError, match=r"\(package_version=VERSION-FLAVOUR\).*\(packages, repository\)"):
        _surveyed(opened, catalog)


def test_a_package_that_is_counted_apart_and_has_no_line_is_not_surveyed(bare: Catalog) -> None:
    named = PackageName("6.4.0-150600.23.25.1", name="kernel-preempt")
    opened = open_changelog(bare, decode_changelog(_SUSE.encode(), "x"), package=named)
    with pytest.raises(SurveyError, match="the builds of kernel-preempt are not counted here"):
        _surveyed(opened, bare)
