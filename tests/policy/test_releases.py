"""What a release proves: branches that ended, surveys that end, guesses, features ahead of their base."""

from __future__ import annotations

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.readers.release import release_evidence
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.version import parse_version
from tests.policy.statements import ABSENT, CATALOG, HIGH, KEY, LOW, MEDIUM, PRESENT, UNKNOWN, say


def _release(version: str, *facts: BranchFact, key: str = KEY) -> Evidence:
    commit = CATALOG.commits[key]._replace(branches={fact.branch: fact for fact in facts})
    return commit_in_release(CATALOG, commit, parse_version(version))


def _fact(**more: object) -> BranchFact:
    fields = {
        "branch": "6.1",
        "backported": True,
        "release": None,
        "present_by": None,
        "surveyed_through": None,
        "id": None,
        "source": "a test",
        "unverified": None,
        **more,
    }
    return BranchFact(**fields)  # type: ignore[arg-type]


def test_a_release_by_which_a_commit_was_there_leaves_the_ones_before_open() -> None:
    fact = _fact(present_by=parse_version("6.1.50"))
    assert [_release(version, fact).presence for version in ("6.1.49", "6.1.50", "6.1.51")] == [
        UNKNOWN,
        PRESENT,
        PRESENT,
    ]
    assert _release("6.1", fact).presence is ABSENT


def test_a_release_that_is_known_to_lack_a_commit_lacks_it_whenever_it_came_later() -> None:
    fact = _fact(present_by=parse_version("6.1.50"), surveyed_through=parse_version("6.1.40"))
    assert [_release(version, fact).presence for version in ("6.1.40", "6.1.41", "6.1.50")] == [
        ABSENT,
        UNKNOWN,
        PRESENT,
    ]


def test_a_survey_proves_absence_up_to_its_last_release() -> None:
    fact = _fact(backported=False, surveyed_through=parse_version("6.1.50"))
    assert [_release(version, fact).presence for version in ("6.1.49", "6.1.50", "6.1.51")] == [ABSENT, ABSENT, UNKNOWN]


def test_a_branch_that_ended_before_a_fix_existed_is_without_it() -> None:
    assert _release("6.8.12").presence is ABSENT  # ended in May 2024; the fix came in the merge window of 6.13
    assert _release("6.8.13").presence is UNKNOWN  # no release of kernel.org
    assert _release("6.12.30").presence is UNKNOWN  # lives on


@pytest.mark.parametrize(
    ("kernel", "expected"), [("6.1.0-47-amd64", ABSENT), ("5.14.0-427.13.1.el9_4.x86_64", UNKNOWN)]
)
def test_a_feature_of_a_later_release_is_not_in_a_distribution_that_follows_stable(
    kernel: str, expected: Presence
) -> None:
    verdict = next(
        item
        for item in audit(kernels=[kernel], arch="x86_64").targets[0].verdicts
        if item.defect.slug == "tailcall-locks-rcu-preempt"
    )
    release = [item for item in verdict.evidence if item.kind is EvidenceKind.RELEASE and item.commit == "fc7566ad0a82"]
    assert [item.presence for item in release] == [expected]


def test_a_guessed_release_makes_no_verdict_safe() -> None:
    (defect,) = CATALOG.find("x86-hierarchy")

    def state(fix: Presence, intro: Presence, guessed: str) -> State:
        items = [
            say(EvidenceKind.RELEASE, fix if name == "116e04ba1459" else intro, key=name, guessed=name == guessed)
            for name in defect.commits
        ]
        return judge(defect, Facts(items, "x86_64"), "x86_64").state

    assert state(PRESENT, PRESENT, "") is State.FIXED
    assert state(PRESENT, PRESENT, "116e04ba1459") is State.UNKNOWN
    assert state(ABSENT, PRESENT, "116e04ba1459") is State.AFFECTED
    assert state(ABSENT, ABSENT, "") is State.NOT_AFFECTED


def test_an_absence_that_was_guessed_does_not_exclude() -> None:
    (defect,) = CATALOG.find("freplace-loop")
    items = [
        say(EvidenceKind.RELEASE, ABSENT if name == "be8704ff07d2" else PRESENT, key=name, guessed=True)
        for name in (*defect.commits, *defect.capabilities)
        if name != KEY
    ]
    items.append(say(EvidenceKind.RELEASE, ABSENT))
    assert judge(defect, Facts(items, "x86_64"), "x86_64").state is State.UNKNOWN
    fact = _fact(backported=False, surveyed_through=parse_version("6.1.50"), unverified="not looked at")
    assert _release("6.1.40", fact).guessed


def test_a_branch_that_ended_after_a_fix_existed_may_have_it() -> None:
    """6.11.y ended in December 2024, weeks after the merge window of 6.13 in which the fix came."""
    not_surveyed = CATALOG.commits[KEY]._replace(branches={})
    assert commit_in_release(CATALOG, not_surveyed, parse_version("6.11.5")).presence is UNKNOWN
    assert commit_in_release(CATALOG, not_surveyed, parse_version("6.8.5")).presence is ABSENT


FEATURE = "0f0c332992b8"
"""Linux kernel commit 0f0c332992b8 ("bpf: Allow sleepable programs to use tail calls") (in v7.0)."""


@pytest.mark.parametrize(
    ("kernel", "expected", "confidence"),
    [
        ("6.1.0-99-amd64", ABSENT, LOW),  # Debian follows the stable branch, and its ABI number proves 6.1 alone
        ("6.8.0-35-generic", ABSENT, LOW),  # Ubuntu does, too
        ("6.1.170+", UNKNOWN, LOW),  # what its builder put on top is not known
        ("5.14.0-427.13.1.el9_4.x86_64", UNKNOWN, LOW),  # Red Hat backports features
        ("6.1.170", ABSENT, MEDIUM),  # stable branches take no features
        ("7.0", PRESENT, HIGH),
    ],
)
def test_a_feature_that_is_ahead_of_the_base(kernel: str, expected: Presence, confidence: Confidence) -> None:
    (found,) = [item for item in release_evidence(CATALOG, parse_release(kernel)) if item.commit == FEATURE]
    assert found.presence is expected
    assert found.presence is UNKNOWN or found.confidence is confidence
