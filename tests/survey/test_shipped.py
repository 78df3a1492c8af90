"""Tests of the shipped surveys: made anew from the same changelogs they have the same bytes, audits with them agree with
audits of the packages, and audits read them only for builds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import default_catalog_path, load_catalog
from tailcall_audit.analyzer.catalog.shipped import shipped_facts, shipped_reaches
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import read_changelog
from tailcall_audit.analyzer.survey.shipped import build_shipped
from tailcall_audit.analyzer.survey.store import from_bytes, to_bytes
from tailcall_audit.analyzer.survey.types import State as Known
from tests.survey.sources import MADE, ROOT, Made, kept, source_of

_SURVEYS = sorted((ROOT / "catalog/surveys/packages").glob("*.json"))
_SourceOf = Callable[[Made], Path]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> _SourceOf:
    """Gives the changelog of a shipped survey; what has to be unpacked is unpacked once."""
    folder = tmp_path_factory.mktemp("changelogs")
    return lambda made: source_of(made, folder, lambda: request.getfixturevalue("lab"))


def test_every_shipped_survey_is_made_anew_here() -> None:
    assert {made.name for made in MADE} == {path.stem for path in _SURVEYS}


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_the_same_changelog_gives_the_same_survey_byte_for_byte(
    made: Made, source: _SourceOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped, path = kept(made.name), source(made)
    monkeypatch.chdir(path.parent)
    options = ["--name", made.name, "--date", shipped.date, "--source", shipped.source, *made.options]
    assert main(["survey", "--changelog", path.name, *options, "--write", "--into", str(tmp_path)]) == 0
    found = from_bytes((tmp_path / f"{made.name}.json").read_bytes(), made.name)
    # A commit that joined the catalogue since is in no shipped survey until that is made anew. All else has the same bytes.
    known = {claim.commit for claim in shipped.claims}
    found = found._replace(claims=tuple(claim for claim in found.claims if claim.commit in known))
    assert to_bytes(found) == (ROOT / f"catalog/surveys/packages/{made.name}.json").read_bytes()


def _versions(made: Made, path: Path) -> list[str]:
    """Returns versions of a changelog at which its survey says something new, and each one's predecessor: the newest,
    and of the others some from all of its length.
    """
    entries = read_changelog(str(path)).entries
    # A rebuilder's headings may have macros in place of numbers.
    listed = list(dict.fromkeys(entry.version for entry in entries if entry.version and entry.version[0].isdigit()))
    claimed = {claim.release for claim in kept(made.name).claims}
    places = [place for place, version in enumerate(listed) if version in claimed]
    chosen = {0, *places[:: max(1, len(places) // 2)]}
    return [listed[place] for place in sorted({*chosen, *(place + 1 for place in chosen)}) if place < len(listed)]


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_an_audit_with_surveys_never_disagrees_with_the_audit_of_the_package(
    made: Made, source: _SourceOf, catalog: Catalog
) -> None:
    path = source(made)
    bare = catalog._replace(series=(), path="made")  # so that the audit of the package reads no survey
    distro = made.options[1] if made.options[:1] == ("--distro",) else None
    compared = 0
    for version in _versions(made, path):
        theirs = audit(changelog=str(path), package_version=version, distro=distro, arch="x86_64", catalog=bare)
        ours = audit(kernels=[made.kernel(version)], arch="x86_64")
        package, name = theirs.targets[0].states, ours.targets[0].states
        both = [slug for slug in name if State.UNKNOWN not in (name[slug], package[slug])]
        assert {slug: name[slug] for slug in both} == {slug: package[slug] for slug in both}, version
        compared += len(both)
    assert compared > 20


@pytest.mark.parametrize("path", _SURVEYS, ids=lambda path: path.stem)
def test_a_shipped_survey_is_whole(path: Path) -> None:
    survey = from_bytes(path.read_bytes(), str(path))
    assert survey.name == path.stem
    assert survey.claims
    assert not re.search(r"/tmp/|/home/|/root/", path.read_text())


@pytest.mark.parametrize("made", [made for made in MADE if made.name.startswith("debian")], ids=lambda made: made.name)
def test_what_a_whole_series_of_debian_lists_is_the_same_in_both_of_its_surveys(made: Made) -> None:
    """catalog/surveys/debian.json says of each series that was read whole which commits it lists."""
    series = json.loads((ROOT / "catalog/surveys/debian.json").read_bytes())["series"]
    present = [
        (claim.commit, str(claim.series).rpartition("/")[2])
        for claim in kept(made.name).claims
        if claim.state is Known.PRESENT_FROM
    ]
    compared = [(commit, name) for commit, name in present if series.get(name, {}).get("whole")]
    assert compared
    missing = [(commit, name) for commit, name in compared if commit not in series[name]["lists"]]
    assert missing == [], "run tools.debian_survey again"


def test_the_shipped_file_is_built_of_them() -> None:
    built = build_shipped(ROOT / "catalog", load_catalog(default_catalog_path()))
    facts = json.loads(built)["facts"]
    assert {name: len(shipped_facts(name)) for name in facts} == {name: len(entries) for name, entries in facts.items()}
    assert built == (ROOT / "surveys.json").read_bytes(), "run tailcall-audit catalog build"


def test_the_file_says_how_far_each_survey_has_read_and_an_excerpt_has_read_nothing(catalog: Catalog) -> None:
    surveys = [kept(made.name) for made in MADE]
    whole = {
        (series.partition("/")[0], survey.name, through)
        for survey in surveys
        if not survey.excerpt and survey.date >= catalog.date
        for series, through in survey.reach.items()
    }
    names = {series.partition("/")[0] for survey in surveys for series in survey.reach}
    found = {(name, reach.survey, reach.through) for name in names for reach in shipped_reaches(name)}
    assert found == whole
    assert not shipped_reaches("ubuntu")


def test_surveys_are_read_only_where_a_release_names_a_distribution() -> None:
    shipped_facts.cache_clear()
    audit(kernels=["6.1.170"])
    assert shipped_facts.cache_info().misses == 0
    audit(kernels=["6.1.0-47-amd64 #1 SMP Debian 6.1.170-3"])
    assert shipped_facts.cache_info().misses == 1
