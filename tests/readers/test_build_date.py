"""Build dates in release strings: which are real, and what they prove."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.release.build_date import build_day
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.build_date import build_date_evidence
from tests.reports import whole_verdicts

A, U = State.AFFECTED, State.UNKNOWN
CATALOG = load_catalog()


@pytest.mark.parametrize(
    ("line", "day"),
    [
        ("Linux h 6.8.0-31-generic #31-Ubuntu SMP PREEMPT_DYNAMIC Sat Apr 20 00:40:06 UTC 2024 x86_64", "2024-04-20"),
        ("#1 SMP Wed Mar 18 16:03:14 PDT 2020", "2020-03-18"),
        ("#1 SMP Tue Dec 15 18:31:34 -00 2020 x86_64", "2020-12-15"),
        ("#1 SMP PREEMPT_DYNAMIC Tue May  7 11:11:31 UTC 2024", "2024-05-07"),
        ("#1 SMP Debian 6.1.76-1 (2024-02-01)", None),
        ("built Sat Apr 20 00:40:06 UTC 2024", None),
        ("#1 SMP Sat Apr 20 00:40:06 UTC 2024 #2 SMP Sun Apr 21 00:40:06 UTC 2024", None),
    ],
)
def test_build_days(line: str, day: str | None) -> None:
    assert build_day(line) == day


def ubuntu(day: str, release: str = "6.8.0-31-generic") -> str:
    return f"Linux h {release} #31-Ubuntu SMP PREEMPT_DYNAMIC {day} x86_64 x86_64 x86_64 GNU/Linux"


def test_a_build_that_is_older_than_every_posting_lacks_the_fix() -> None:
    target = audit(kernels=[ubuntu("Sat Apr 20 00:40:06 UTC 2024")], pitfalls=True).targets[0]
    found = {item.defect.slug: item for item in target.verdicts}
    panic = found["freplace-attached-panic"]
    assert (panic.state, panic.confidence) == (A, Confidence.MEDIUM)
    assert any(item.kind is EvidenceKind.BUILD_DATE and "2024-06-02" in item.detail for item in panic.evidence)
    # Its fix was public since October 2023: the date says nothing of it, and leaves the answer to Ubuntu's survey.
    assert EvidenceKind.BUILD_DATE not in {item.kind for item in found["x86-hierarchy"].evidence}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (ubuntu("Sat May 11 00:40:06 UTC 2024"), "22 days before the first posting"),
        (ubuntu("Sat Feb 10 00:40:06 UTC 2024"), "older than 6.8 itself, so no build date"),
        (ubuntu("Thu Jan 1 00:00:00 UTC 1970"), "a reproducible build"),
        ("Linux h 6.8.9-arch1-1 #31 SMP PREEMPT_DYNAMIC Sat Apr 20 00:40:06 UTC 2024 x86_64", "not Ubuntu's"),
        (
            "Linux h 6.8.0-31-mtk #31-Ubuntu SMP PREEMPT_DYNAMIC Sat Apr 20 00:40:06 UTC 2024 x86_64",
            "an unknown vendor",
        ),
    ],
)
def test_a_date_that_proves_nothing(line: str, why: str) -> None:
    target = audit(kernels=[line], only=["freplace-attached-panic"]).targets[0]
    kinds = {item.kind for verdict in target.verdicts for item in verdict.evidence}
    assert EvidenceKind.BUILD_DATE not in kinds, why


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(["5.15.0-100-generic", "6.2.0-20-generic", "6.5.0-10-generic", "6.8.0-31-generic"]),
    st.sampled_from(["Sat Apr 20 00:40:06 UTC 2024", "Mon Aug 28 15:04:22 UTC 2023", "Thu Apr 20 13:19:31 UTC 2023"]),
)
def test_a_date_never_proves_an_introducing_commit_absent(release: str, day: str) -> None:
    with_date = audit(kernels=[ubuntu(day, release)], catalog=CATALOG).targets[0].states
    without = audit(kernels=[ubuntu("", release)], catalog=CATALOG).targets[0].states
    for slug, state in with_date.items():
        assert state is without[slug] or (without[slug], state) == (U, A)


def test_the_evidence_shows_the_rule_and_the_dates(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--kernel", ubuntu("Sat Apr 20 00:40:06 UTC 2024"), "--only", "freplace-attached-panic", "--json"]) == 1
    )
    (verdict,) = whole_verdicts(json.loads(capsys.readouterr().out))
    (item,) = [
        entry for entry in verdict["evidence"] if entry["kind"] == "build-date" and entry["commit"] == "f7866c358733"
    ]
    assert "built on 2024-04-20, 43 days before f7866c358733 was first posted (2024-06-02" in item["detail"]


RELEASE = parse_release(ubuntu("Sat Apr 20 00:40:06 UTC 2024"), CATALOG)
PANIC = "f7866c358733"
"""First posted on 2 June 2024. 6.8 was released on 10 March."""


def _absent(**changes: object) -> set[str]:
    """The commits that are absent by a build date: that of RELEASE, with some fields changed."""
    found = list(build_date_evidence(CATALOG, RELEASE._replace(**changes)))  # type: ignore[arg-type]
    assert {(item.presence, item.confidence) for item in found} <= {(Presence.ABSENT, Confidence.MEDIUM)}
    return {item.commit for item in found}


def test_a_fix_is_absent_from_thirty_days_before_its_posting_back() -> None:
    assert PANIC in _absent(built="2024-05-03")
    assert PANIC not in _absent(built="2024-05-04")


def test_a_day_counts_from_the_release_of_the_base_on() -> None:
    assert PANIC in _absent(built="2024-03-10")
    assert _absent(built="2024-03-09") == set()


def test_a_commit_whose_posting_is_not_known_is_not_absent() -> None:
    known = {key for key, commit in CATALOG.commits.items() if commit.first_posted is not None}
    assert _absent(built="2024-03-10") <= known
    commits = {PANIC: CATALOG.commits[PANIC]._replace(first_posted=None)}
    assert list(build_date_evidence(CATALOG._replace(commits=commits), RELEASE)) == []


@pytest.mark.parametrize(
    "changes", [{"built": None}, {"date_source": None}, {"built": "2024-02-31"}], ids=["no day", "no source", "no date"]
)
def test_without_a_real_day_nothing_is_absent(changes: dict[str, object]) -> None:
    assert _absent(**changes) == set()


def test_a_base_whose_release_has_no_known_day_proves_nothing() -> None:
    branch = CATALOG.branches["6.8"]._replace(released=None)
    for branches in ({}, {"6.8": branch}):
        assert list(build_date_evidence(CATALOG._replace(branches=branches), RELEASE)) == []
