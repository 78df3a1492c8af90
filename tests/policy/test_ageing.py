"""Facts that are older than the user wants decide nothing, and a report says how old they are."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.basis import Basis, age_in_days
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.policy.ageing import without_old
from tailcall_audit.analyzer.policy.weigh import weigh
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.types import Claim, Kind, Survey
from tailcall_audit.analyzer.survey.types import State as Claimed
from tests.repositories import History, makefile

FIX_3 = "2b5dcb31a19a"
DEBIAN = "6.1.0-47-amd64 #1 SMP Debian 6.1.170-3"


@given(st.dates(min_value=date(1, 1, 1)), st.dates(min_value=date(1, 1, 1)))
def test_the_age_in_days_is_that_of_the_calendar(one: date, other: date) -> None:
    assert age_in_days(one.isoformat(), other.isoformat()) == max(0, (other - one).days)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> int:
    """Audits on a day a year after the catalogue's; returns the days."""
    day = date.fromisoformat(catalog.date)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((day - date(1970, 1, 1)).days + 365) * 86400))
    return 365


def test_what_rests_on_an_old_catalogue_is_unknown(later: int) -> None:
    young = audit(kernels=["6.1.170"], arch="x86_64", pitfalls=True, max_age=later)
    assert not young.has(State.UNKNOWN)
    old = audit(kernels=["6.1.170"], arch="x86_64", max_age=later - 1)
    reached = [item for item in old.targets[0].verdicts if item.rule.value != "other-architecture"]
    assert {item.state for item in reached} == {State.UNKNOWN}
    assert all(f"which is {later} days old (max_age={later - 1})" in item.reason for item in reached)
    assert all(item.settle for item in reached)


def test_a_shipped_survey_that_decided_is_named_with_its_age(later: int) -> None:
    report = audit(kernels=[DEBIAN])
    names = [item.name for item in report.rests_on()]
    assert "debian-6.1" in names
    assert not {State.FIXED, State.AFFECTED} & set(audit(kernels=[DEBIAN], max_age=30).targets[0].states.values())


def test_the_code_of_a_tree_is_as_young_as_the_audit(tmp_path: Path, later: int) -> None:
    history = History(tmp_path / "linux", "6.1")
    source = "void bpf_prog_map_compatible(void)\n{\n\tenum bpf_prog_type prog_type = resolve_prog_type(fp);\n}\n"
    history.commit("Linux 6.1\n", {"Makefile": makefile("6.1"), "kernel/bpf/core.c": source.encode()})
    evidence = [
        item
        for target in audit(trees=[str(history.path)], max_age=1).targets
        for v in target.verdicts
        for item in v.evidence
    ]
    assert any(item.kind is EvidenceKind.RELEASE and "days old" in item.detail for item in evidence)
    assert not any("days old" in item.detail for item in evidence if item.kind is EvidenceKind.SOURCE)


def test_what_a_vendor_was_seen_to_lack_stays_open(later: int) -> None:
    known = Basis("", "2020-01-01")
    lacks = Evidence(EvidenceKind.SERIES, FIX_3, Presence.ABSENT, "x", "taken out", basis=known)
    has = Evidence(EvidenceKind.RELEASE, FIX_3, Presence.PRESENT, "y", "backported", basis=Basis("new", "2026-01-01"))
    found = weigh(list(without_old([lacks, has], 30, "2026-01-02", None)))
    assert (found.presence, found.confidence) == (Presence.UNKNOWN, Confidence.LOW)
    there = lacks._replace(presence=Presence.PRESENT)
    assert weigh(list(without_old([there, has], 30, "2026-01-02", None))).presence is Presence.PRESENT


def test_a_survey_that_says_the_same_makes_a_fact_young(later: int, catalog: Catalog) -> None:
    fix = catalog.commits[FIX_3]
    branch = next(name for name, fact in fix.branches.items() if fact.release is not None)
    release = str(fix.branches[branch].release)
    claims = [
        Claim(FIX_3, Claimed.PRESENT_FROM, release, "GIT x", branch=branch),
        *(
            Claim(key, Claimed.PRESENT_FROM, str(commit.first_release), "GIT x", branch="mainline")
            for key, commit in catalog.commits.items()
        ),
    ]
    day = date.fromordinal(date.fromisoformat(catalog.date).toordinal() + 360).isoformat()
    survey = Survey(Kind.STABLE, "stable", "the tags of x", day, {branch: release}, tuple(claims))
    known = with_surveys(catalog, [survey])
    found = {
        name: audit(kernels=[release], arch="x86_64", catalog=used, only=["x86-trampoline-loop"], max_age=30)
        for name, used in (("catalogue", catalog), ("survey", known))
    }
    assert found["catalogue"].has(State.UNKNOWN)
    evidence = [item for verdict in found["survey"].targets[0].verdicts for item in verdict.evidence]
    fresh = [item for item in evidence if item.commit == FIX_3 and item.kind is EvidenceKind.RELEASE]
    assert [item.presence for item in fresh] == [Presence.PRESENT]
    assert [str(item) for item in (fresh[0].basis,)] == [f"the survey stable of {day}"]


def test_the_report_says_how_old_its_facts_are(
    later: int, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--kernel", DEBIAN])
    assert (
        f"facts: the catalogue of {catalog.date} (365 days old), the survey debian-6.1 of " in capsys.readouterr().out
    )
    main(["--kernel", DEBIAN, "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["catalog"]["age_days"] == 365
    assert [item["name"] for item in data["surveys"]] == ["debian-6.1"]
    main(["--kernel", "6.1.170", "--only", "3"])
    assert f"facts: the catalogue of {catalog.date} (365 days old)\n" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["-1", "soon", "1.5", "1000000"])
def test_days_that_are_no_number_are_refused(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--max-age={days}", "--kernel", "6.1.170"]) == 2
    assert "--max-age" in capsys.readouterr().err


def test_the_settings_have_an_age_and_repositories(
    later: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "x.toml"
    settings.write_text('max-age = "364"\nrepositories = ["https://example.org/BaseOS"]\n')
    assert main(["--kernel", "6.1.170", "--only", "3", "--settings", str(settings)]) == 3
    capsys.readouterr()
    main(["--kernel", "5.14.0-427.13.1.el9_4.x86_64", "--only", "4", "--settings", str(settings)])
    assert "tailcall-audit --kernel 5.14.0-427.13.1.el9_4.x86_64 --online" in capsys.readouterr().out
