"""Tests of the survey of the CVE authority's records, in the form that its repository has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.survey.types import SurveyError
from tailcall_audit.analyzer.survey.vulns import read_dyad, survey_vulns

# CVE-2024-43837, as thefossguy-ciq/kernel-security-vulns has it at 422865c6bd63.
_FIX = "f7866c35873377313ff94398f17d425b28b71de1"
_INTRODUCER = "4a9c7bbe2ed4d2b240674b1fb606c41d3940c412"
_DYAD = f"""# dyad version: 86b352798e93
# \tgetting vulnerable:fixed pairs for git id {_FIX}
5.18:{_INTRODUCER}:6.1.103:fcac5feb06f31ee4c88bca9bf98d8bc3ca7d2615
5.18:{_INTRODUCER}:6.6.44:9d40fd516aeae6779e3c84c6b96700ca76285847
5.18:{_INTRODUCER}:6.10.3:b29a880bb145e1f1c1df5ab88ed26b1495ff9f09
5.18:{_INTRODUCER}:6.11:{_FIX}
"""
_RECORD = {
    "containers": {
        "cna": {
            "affected": [
                {"versions": [{"version": "4a9c7bbe2ed4", "lessThan": "fcac5feb06f3", "status": "affected"}]},
                {
                    "versions": [
                        {"version": "5.18", "status": "affected"},
                        {"version": "0", "lessThan": "5.18", "status": "unaffected"},
                        {"version": "6.1.103", "lessThanOrEqual": "6.1.*", "status": "unaffected"},
                        {"version": "6.11", "lessThanOrEqual": "*", "status": "unaffected"},
                    ]
                },
            ]
        }
    }
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "vulns/cve/published/2024"
    folder.mkdir(parents=True)
    (folder / "CVE-2024-43837.sha1").write_text(f"{_FIX}\n")
    (folder / "CVE-2024-43837.dyad").write_text(_DYAD)
    return tmp_path / "vulns"


def _claims(catalog: Catalog, clone: Path) -> list[tuple[str | None, str]]:
    survey = survey_vulns(catalog, clone, "vulns", "2026-11-25")
    assert {claim.commit for claim in survey.claims} <= {_FIX[:12]}
    return [(claim.branch, claim.release) for claim in survey.claims]


def test_a_dyad_shows_where_a_fix_is(catalog: Catalog, clone: Path) -> None:
    assert _claims(catalog, clone) == [("6.1", "6.1.103"), ("6.6", "6.6.44"), ("6.10", "6.10.3")]


def test_without_a_dyad_the_record_shows_it(catalog: Catalog, clone: Path) -> None:
    folder = clone / "cve/published/2024"
    (folder / "CVE-2024-43837.dyad").unlink()
    (folder / "CVE-2024-43837.json").write_text(json.dumps(_RECORD))
    assert _claims(catalog, clone) == [("6.1", "6.1.103")]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"containers": []}', '{"containers": {"cna": {"affected": [1]}}}'])
def test_a_broken_record_shows_nothing(catalog: Catalog, clone: Path, text: str) -> None:
    folder = clone / "cve/published/2024"
    (folder / "CVE-2024-43837.dyad").unlink()
    (folder / "CVE-2024-43837.json").write_text(text)
    assert _claims(catalog, clone) == []


def test_a_record_of_two_fixes_does_not_say_which_is_where(catalog: Catalog, clone: Path) -> None:
    (clone / "cve/published/2024/CVE-2024-43837.sha1").write_text(f"{_FIX}\n{'0' * 40}\n")
    assert _claims(catalog, clone) == []


def test_lines_of_another_form_are_left_out() -> None:
    assert list(read_dyad("0:0:0:0\n5.18:x:6.1.103:y\n# 5.18:a:6.1.1:b\n5.18:a:6.1.1:" + "g" * 40)) == []


def test_another_folder_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match=r"no folder cve/published"):
        survey_vulns(catalog, tmp_path, "x", "2026-11-25")


def test_a_record_that_is_no_regular_file_is_named(catalog: Catalog, clone: Path) -> None:
    published = clone / "cve/published/2024"
    published.mkdir(parents=True, exist_ok=True)
    os.mkfifo(published / "CVE-2024-99990.sha1")
    (published / "CVE-2024-99991.sha1").mkdir()
    (published / "CVE-2024-99992.sha1").symlink_to("nowhere")
    (published / "CVE-2024-99993.sha1").write_bytes(b"x" * ((1 << 20) + 1))
    notes = "\n".join(survey_vulns(catalog, clone, "vulns", "2026-11-25").notes)
    assert "cve/published/2024/CVE-2024-99990.sha1 left out: not a regular file" in notes
    assert "CVE-2024-99991.sha1 left out: not a regular file" in notes
    assert "CVE-2024-99992.sha1 left out: a link to nothing" in notes
    assert "CVE-2024-99993.sha1 left out: larger than 1 MiB" in notes


def test_a_commit_of_which_only_twelve_digits_are_known_is_found(catalog: Catalog, clone: Path) -> None:
    """The catalogue has 61aaa8782bec ("bpf: Fix WARNING in bpf_tracing_link_release") by these digits only."""
    folder = clone / "cve/published/2024"
    for name, fix in (("CVE-2024-99991", f"61aaa8782bec{'0' * 28}"), ("CVE-2024-99992", f"{_FIX[:12]}{'0' * 28}")):
        (folder / f"{name}.sha1").write_text(f"{fix}\n")
        (folder / f"{name}.dyad").write_text(f"0:0:6.6.200:{'2' * 40}\n")
    survey = survey_vulns(catalog, clone, "vulns", "2026-11-26")
    assert [claim.release for claim in survey.claims if claim.commit == "61aaa8782bec"] == ["6.6.200"]
    assert "6.6.200" not in [claim.release for claim in survey.claims if claim.commit == _FIX[:12]]
