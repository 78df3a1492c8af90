"""A fact about a build extends along that build's own line: its z-stream, its source package, its mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog import shipped
from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.shipped import shipped_facts
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError, decode_changelog
from tailcall_audit.analyzer.model import Confidence
from tailcall_audit.analyzer.readers.series import line_of
from tailcall_audit.analyzer.subjects.open_changelog import open_changelog
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.types import State as Known
from tailcall_audit.analyzer.version import build_key
from tests.survey.sources import EXCERPTS, kept

_EXCERPT = EXCERPTS / "ubuntu-jammy-NV-Kernels-0067c029a23b.changelog"
_FIX_2 = "ff672c67ee76"
# As openEuler writes its %changelog; the versions are of its branch openEuler-24.03-LTS-SP1, the z-stream is made.
OPENEULER = """\
* Thu Dec 19 2024 N N <n@example.org> - 6.6.0-69.0.0.75
- !14153 mm: a fix

* Mon Nov 11 2024 N N <n@example.org> - 6.6.0-47.0.0.52
- bpf: Fix updating attached freplace prog in prog_array map

* Tue Dec 5 2023 N N <n@example.org> - 6.6.0-1.0.0.1
- bpf, x64: Fix tailcall infinite loop
"""


def _verdict(kernel: str, defect: str, catalog: Catalog | None = None) -> State:
    return audit(kernels=[kernel], arch="x86_64", only=[defect], catalog=catalog).targets[0].states[defect]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("5.15.0-49-generic", State.FIXED),
        ("5.15.0-164-generic", State.FIXED),
        ("5.15.0-164-generic-64k", State.FIXED),
        ("5.15.0-47-generic", State.AFFECTED),  # 5.15.0-48.54 lists the fix
        ("5.15.0-1075-aws", State.UNKNOWN),  # its number is a count of its own
        ("5.15.0-1050-generic", State.UNKNOWN),  # of linux-riscv
        ("5.15.0-102-lowlatency", State.UNKNOWN),
    ],
)
def test_ubuntu_jammy_by_the_shipped_survey(kernel: str, expected: State) -> None:
    assert _verdict(kernel, "x86-count-offset") is expected


def test_no_fact_of_an_excerpt_has_high_confidence() -> None:
    report = audit(kernels=["5.15.0-164-generic"], arch="x86_64", only=["x86-count-offset"])
    (verdict,) = report.targets[0].verdicts
    assert verdict.confidence is Confidence.MEDIUM
    assert kept("ubuntu-jammy").excerpt
    assert not kept("debian-6.1").excerpt


# What the changelog lists, by the upload that lists it first: read in the excerpt by hand.
@pytest.mark.parametrize(
    ("kernel", "defect", "expected"),
    [
        ("6.8.0-35-generic", "x86-hierarchy", State.AFFECTED),  # 6.8.0-53.55 lists the fix
        ("6.8.0-52-generic", "x86-hierarchy", State.AFFECTED),
        ("6.8.0-53-generic", "x86-hierarchy", State.UNKNOWN),  # of which upload with that number is not in the name
        ("6.8.0-53-generic #55-Ubuntu", "x86-hierarchy", State.FIXED),
        ("6.8.0-54-generic", "x86-hierarchy", State.FIXED),
        ("6.8.0-58-generic #60-Ubuntu SMP PREEMPT_DYNAMIC Fri Mar 14 18:29:48 UTC 2025", "freplace-loop", State.FIXED),
        ("6.8.0-56-generic", "freplace-loop", State.AFFECTED),
        ("6.8.0-57-generic", "freplace-loop", State.UNKNOWN),  # between the uploads that the changelog has
        ("6.8.0-139-generic", "freplace-loop", State.FIXED),
        ("6.8.0-139-lowlatency", "freplace-loop", State.UNKNOWN),
        ("6.8.0-1060-aws", "freplace-loop", State.UNKNOWN),
        ("6.8.0-49-generic", "freplace-attached-refused", State.UNKNOWN),
        ("6.8.0-51-generic", "freplace-attached-refused", State.FIXED),
    ],
)
def test_ubuntu_noble_by_the_shipped_survey(kernel: str, defect: str, expected: State) -> None:
    assert _verdict(kernel, defect) is expected


@pytest.mark.parametrize(
    ("package", "expected"),
    [("5.19~rc6-1~exp1", State.AFFECTED), ("5.19-1~exp1", State.AFFECTED), ("5.19.6-1", State.FIXED)],
)
def test_a_release_candidate_has_nothing_of_a_stable_update_with_its_number(package: str, expected: State) -> None:
    # Debian's 5.19.6-1 lists "bpf: Don't use tnum_range on array range checking for poke descriptors".
    assert _verdict(f"Debian {package}", "poke-desc-tnum-oob") is expected


def test_the_article_s_kernel_has_what_its_base_has_and_nothing_of_a_later_upload() -> None:
    states = audit(kernels=["6.8.0-35-generic"], arch="x86_64").targets[0].states
    assert states["x86-trampoline-loop"] is State.FIXED  # in mainline before 6.8
    later = ("x86-hierarchy", "freplace-loop")
    assert {slug: states[slug] for slug in later} == dict.fromkeys(later, State.AFFECTED)
    # f7866c358733 fixes one half of pitfall 5 and brings the other: that an excerpt does not list it yet makes nothing safe.
    open_ = ("freplace-attached-panic", "freplace-attached-refused")
    assert {slug: states[slug] for slug in open_} == dict.fromkeys(open_, State.UNKNOWN)


def test_an_excerpt_that_lists_a_fix_says_that_older_builds_lack_it(catalog: Catalog) -> None:
    """A listed fix was put in there. What is not listed, and commits that bring a defect, are left open."""
    text = """\
linux (6.8.0-54.56) noble; urgency=medium

  * Noble update: upstream stable patchset 2024-11-22 (LP: #2089405)
    - bpf, x64: Fix tailcall hierarchy
    - bpf: Fix null pointer dereference in resolve_prog_type() for BPF_PROG_TYPE_EXT

 -- N N <n@example.org>  Tue, 11 Feb 2025 14:05:00 +0100

linux (6.8.0-50.51) noble; urgency=medium

  * a change of another kind

 -- N N <n@example.org>  Sat, 09 Nov 2024 17:58:29 +0100
"""
    bare = catalog._replace(series=(), path="made")
    opened = open_changelog(bare, decode_changelog(text.encode(), "made"))
    found = survey_changelogs(bare, [opened], "changelog", "2026-11-26", excerpt=True)
    assert {(claim.commit, claim.state, claim.release) for claim in found.claims} == {
        ("116e04ba1459", Known.ABSENT_THROUGH, "6.8.0-50.51"),
        ("116e04ba1459", Known.PRESENT_FROM, "6.8.0-54.56"),
        ("f7866c358733", Known.PRESENT_FROM, "6.8.0-54.56"),
    }
    assert found.excerpt
    # Nothing is known to be absent by a changelog that is merely cut.
    cut = survey_changelogs(bare, [opened], "changelog", "2026-11-26")
    assert {claim.state for claim in cut.claims} == {Known.PRESENT_FROM}
    known = with_surveys(bare, [found])
    assert _verdict("6.8.0-50-generic", "x86-hierarchy", known) is State.AFFECTED
    assert _verdict("6.8.0-50-generic", "freplace-attached-refused", known) is State.UNKNOWN


@pytest.mark.parametrize(
    ("build", "line"),
    [
        ("6.6.0-69.0.0.75", ()),
        ("6.6.0-69.1.0.76", (6, 6, 0, 69)),
        ("5.10.0-136.106.0.186.oe2203sp1", (5, 10, 0, 136)),
    ],
)
def test_openeuler_s_main_line_has_a_zero(build: str, line: tuple[int, ...]) -> None:
    assert line_of(build_key(build), zero_is_main=True) == line


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("6.6.0-69.0.0.75.oe2403sp1.x86_64", State.FIXED),
        ("6.6.0-69.5.0.80.oe2403sp1.aarch64", State.FIXED),
        ("6.6.0-46.0.0.51.oe2403sp1.x86_64", State.UNKNOWN),
        ("6.6.0-69.0.0.75.oe2403sp2.x86_64", State.UNKNOWN),
        ("6.6.0-69.0.0.75.oe2403.x86_64", State.UNKNOWN),
    ],
)
def test_openeuler_24_03_sp1_by_the_shipped_survey(kernel: str, expected: State) -> None:
    assert _verdict(kernel, "freplace-attached-refused") is expected


def test_a_changelog_without_marks_is_of_the_distribution_that_is_named(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "kernel.spec"
    path.write_text("%changelog\n" + OPENEULER)
    plain = audit(changelog=str(path), arch="x86_64").targets[0]
    assert plain.identity["distro"] is None
    named = audit(changelog=str(path), distro="openeuler:oe2403sp1", arch="x86_64").targets[0]
    assert named.identity["distro"] == "openeuler"
    assert named.states["x86-trampoline-loop"] is State.FIXED


def test_a_distribution_that_the_changelog_is_not_of_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "changelog"
    path.write_text(OPENEULER)
    for distro in ("openeuler", "rhel:oe2403sp1", "haiku:h1"):
        with pytest.raises(ChangelogError, match="give what its builds have behind their versions too"):
            audit(changelog=str(path), distro=distro)


@pytest.mark.parametrize("version", ["6.6.0-1.0.0.1", "6.6.0-47.0.0.52", "6.6.0-69.0.0.75"])
def test_an_audit_with_the_survey_says_what_the_audit_of_the_changelog_says(
    catalog: Catalog, tmp_path: Path, version: str
) -> None:
    path = tmp_path / "changelog"
    path.write_text(OPENEULER)
    bare = catalog._replace(series=(), path="made")
    opened = open_changelog(bare, decode_changelog(OPENEULER.encode(), "changelog"), mark="oe2403sp1")
    known = with_surveys(bare, [survey_changelogs(bare, [opened], "changelog", "2026-11-25")])
    distro = "openeuler:oe2403sp1"
    theirs = audit(changelog=str(path), package_version=version, distro=distro, arch="x86_64", catalog=bare).targets[0]
    ours = audit(kernels=[f"{version}.oe2403sp1.x86_64"], catalog=known).targets[0]
    decided = {slug for slug, state in ours.states.items() if state is not State.UNKNOWN}
    assert decided
    assert {slug: theirs.states[slug] for slug in decided} == {slug: ours.states[slug] for slug in decided}


def test_a_survey_of_one_source_package_says_nothing_about_another(catalog: Catalog) -> None:
    text = _EXCERPT.read_text().replace("linux (", "linux-aws (").replace("5.15.0-", "5.15.0-10")
    opened = open_changelog(catalog, decode_changelog(text.encode(), "changelog"))
    found = survey_changelogs(catalog, [opened], "changelog", "2026-11-25")
    assert {claim.series for claim in found.claims} == {"ubuntu/5.15/aws"}
    known = with_surveys(catalog._replace(series=(), path="made"), [found])
    assert _verdict("5.15.0-10163-aws", "x86-count-offset", known) is State.FIXED
    assert _verdict("5.15.0-10163-generic", "x86-count-offset", known) is State.UNKNOWN


def test_a_shipped_survey_that_is_cut_off_is_no_survey_without_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(default_catalog_path()).with_name("surveys.json").read_bytes()
    path = tmp_path / "surveys.json"
    monkeypatch.setattr(shipped, "default_catalog_path", lambda: str(tmp_path / "commits.json"))
    for part in (b"", whole[: whole.index(b'"ubuntu": [')], whole[: whole.rindex(b"}")]):
        path.write_bytes(part)
        clear_shipped()
        try:
            with pytest.raises(CatalogError, match="cut off"):
                shipped_facts("ubuntu")
        finally:
            clear_shipped()


def clear_shipped() -> None:
    shipped._survey_lines.cache_clear()
    shipped_facts.cache_clear()


def test_every_shipped_survey_is_of_a_line() -> None:
    assert default_catalog_path().endswith("commits.json")
    assert all(shipped_facts(name) for name in ("debian", "openeuler", "rhel", "ubuntu"))
    assert {fact.series for fact in shipped_facts("ubuntu")} == {"generic"}
    assert shipped_facts("haiku") == shipped_facts("surveys") == ()
