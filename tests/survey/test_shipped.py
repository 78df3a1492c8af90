"""Tests of the shipped surveys: made anew from the same changelogs they say the same, and audits read them only for
builds.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import default_catalog_path, load_catalog
from tailcall_audit.analyzer.catalog.shipped import shipped_facts
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog
from tailcall_audit.analyzer.subjects.open_changelog import open_changelog
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.shipped import build_shipped
from tailcall_audit.analyzer.survey.store import from_bytes
from tests.kernels import package_file

_ROOT = Path(__file__).parents[2]
_SURVEYS = sorted((_ROOT / "catalog/surveys/packages").glob("*.json"))


def _changelog(version: str) -> str:
    """Debian's changelog of a kernel, cut at that version: a later package has the same entries below its own."""
    package = package_file("linux-libc-dev", version)
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    member = ["tar", "-xO", "--wildcards", "./usr/share/doc/linux-libc-dev/changelog.Debian*"]
    packed = subprocess.run(member, input=tar, check=True, capture_output=True).stdout
    text = gzip.decompress(packed).decode()
    start = text.find(f"linux ({version})")
    if start < 0:
        pytest.skip(f"the changelog at hand does not have {version}")
    return text[start:]


@pytest.mark.parametrize(("name", "version"), [("debian-5.10", "5.10.262-1"), ("debian-6.1", "6.1.192-2")])
def test_the_same_changelog_gives_the_same_survey(catalog: Catalog, name: str, version: str) -> None:
    path = _ROOT / f"catalog/surveys/packages/{name}.json"
    kept = from_bytes(path.read_bytes(), str(path))
    changelog = decode_changelog(_changelog(version).encode(), f"linux-{version}.changelog")
    made = survey_changelogs(catalog, [open_changelog(catalog, changelog)], name, kept.source, kept.date)
    # What joined the catalogue since is not in it; `tailcall-audit survey` has to be run again for that.
    known = {claim.commit for claim in kept.claims}
    assert tuple(claim for claim in made.claims if claim.commit in known) == kept.claims
    assert made.reach == kept.reach


@pytest.mark.parametrize("path", _SURVEYS, ids=lambda path: path.stem)
def test_a_shipped_survey_is_whole(path: Path) -> None:
    survey = from_bytes(path.read_bytes(), str(path))
    assert survey.name == path.stem
    assert survey.claims
    assert not re.search(r"/tmp/|/home/|/root/", path.read_text())


def test_the_shipped_file_is_built_of_them(catalog: Catalog) -> None:
    built = build_shipped(_ROOT / "catalog", load_catalog(default_catalog_path()))
    facts = json.loads(built)["facts"]
    assert {name: len(shipped_facts(name)) for name in facts} == {name: len(entries) for name, entries in facts.items()}
    assert built == (_ROOT / "surveys.json").read_bytes(), "run tailcall-audit catalog build"


def test_surveys_are_read_only_where_a_release_names_a_distribution() -> None:
    from tailcall_audit.analyzer.pipeline import audit

    shipped_facts.cache_clear()
    audit(kernels=["6.1.170"])
    assert shipped_facts.cache_info().misses == 0
    audit(kernels=["6.1.0-47-amd64 #1 SMP Debian 6.1.170-3"])
    assert shipped_facts.cache_info().misses == 1
