"""Judging all defects of a target: their order, unknown architectures, configurations, what is remembered, confidence."""

from __future__ import annotations

import pytest

from tailcall_audit import State
from tailcall_audit.analyzer.catalog.expression import Interval
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Rule
from tailcall_audit.analyzer.policy import facts as facts_module
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh

CATALOG = load_catalog()
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
ROOT = "04fd61ab36ec"
SUBPROG = "capability:subprog-tailcalls"


def defect_of(slug: str) -> Defect:
    (found,) = CATALOG.find(slug)
    return found


# A defect of all architectures, with one introducing commit beside the root and one fix.
SLEEPABLE = defect_of("tailcall-sleepable-callee")
HIERARCHY = defect_of("x86-hierarchy")
INTERPRETER = defect_of("interp-fallback-tailcall-subprog")


def say(
    name: str, presence: Presence, kind: EvidenceKind = EvidenceKind.HISTORY, architecture: str | None = None
) -> Evidence:
    return Evidence(kind, name, presence, f"log of {name}", "", HIGH, architecture=architecture)


def without_fix(defect: Defect, *names: str) -> list[Evidence]:
    """All that a defect needs is there; some names are not."""
    return [say(name, ABSENT if name in names else PRESENT) for name in (*defect.commits, *defect.capabilities)]


AFFECTED = without_fix(SLEEPABLE, "0f0c332992b8")


def config(**options: str) -> KernelConfig:
    return KernelConfig("a/.config", options, True, None, None)


def test_pitfalls_come_first_by_their_number_and_the_others_last() -> None:
    mixed = [SLEEPABLE, defect_of("freplace-loop"), HIERARCHY, defect_of("freplace-tailcallee")]
    found = judge_all(CATALOG, Facts((), "x86_64"), mixed)
    assert [item.defect.pitfall for item in found] == [1, 4, 6, None]


def test_a_configuration_excludes_a_defect_of_its_own_kernel_only() -> None:
    off = config(BPF_SYSCALL="n")
    (excluded,) = judge_all(CATALOG, Facts(AFFECTED, "x86_64", off, config_applies=True), [SLEEPABLE])
    assert (excluded.state, excluded.rule) == (State.NOT_AFFECTED, Rule.CONFIG_EXCLUDES)
    (of_another,) = judge_all(CATALOG, Facts(AFFECTED, "x86_64", off, config_applies=False), [SLEEPABLE])
    assert of_another.state is State.AFFECTED
    # The same evidence without a configuration, after the audit of a kernel that has one.
    (without,) = judge_all(CATALOG, Facts(AFFECTED, "x86_64"), [SLEEPABLE])
    assert without.state is State.AFFECTED
    (again,) = judge_all(CATALOG, Facts(AFFECTED, "x86_64", off, config_applies=True), [SLEEPABLE])
    assert again.state is State.NOT_AFFECTED


def test_a_defect_of_two_architectures_has_a_verdict_for_each_answer() -> None:
    both = HIERARCHY._replace(architectures=("x86_64", "arm64"))
    everywhere = without_fix(both, "116e04ba1459")
    (one,) = judge_all(CATALOG, Facts(everywhere), [both])
    assert (one.state, one.architectures) == (State.AFFECTED, ("x86_64", "arm64"))
    assert "x86_64:" not in one.reason
    fixed_on_arm64 = say("116e04ba1459", PRESENT, EvidenceKind.SOURCE, "arm64")
    found = judge_all(CATALOG, Facts([*everywhere, fixed_on_arm64]), [both])
    assert [(item.state, item.architectures) for item in found] == [
        (State.AFFECTED, ("x86_64",)),
        (State.FIXED, ("arm64",)),
    ]


def test_one_answer_for_different_reasons_names_the_architectures_of_each() -> None:
    both = HIERARCHY._replace(architectures=("x86_64", "arm64"))
    seen = say("116e04ba1459", ABSENT, EvidenceKind.SOURCE, "arm64")._replace(citation="net.c:1")
    (one,) = judge_all(CATALOG, Facts([*without_fix(both, "116e04ba1459"), seen]), [both])
    assert one.architectures == ("x86_64", "arm64")
    for part in ("x86_64: the fix is absent: 116e04ba1459 (log of 116e04ba1459)", "arm64: the fix is absent: "):
        assert part in one.reason
    assert one.reason.index("x86_64: ") < one.reason.index("; arm64: ") < one.reason.index("net.c:1")


def test_evidence_that_was_judged_before_gives_the_same_verdicts_and_another_definition_its_own() -> None:
    first = judge_all(CATALOG, Facts(AFFECTED, "x86_64"), [SLEEPABLE])
    assert judge_all(CATALOG, Facts(AFFECTED, "x86_64"), [SLEEPABLE])[0] is first[0]
    no_fix = SLEEPABLE._replace(fixed=None, title="Without a fix")
    (other,) = judge_all(CATALOG, Facts(AFFECTED, "x86_64"), [no_fix])
    assert (other.defect, other.rule) == (no_fix, Rule.NO_FIX_KNOWN)
    for facts in (Facts(AFFECTED, "x86_64", live_patches=LivePatches.LOADED), Facts(AFFECTED, "arm64")):
        assert judge_all(CATALOG, facts, [SLEEPABLE])[0] is not first[0]


def test_what_is_remembered_is_of_one_catalogue_and_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "_MOST_SEEN", 2)
    memory = facts_module._Memory()
    known = memory.of(CATALOG)
    assert memory.of(CATALOG) is known
    for number in range(2):
        assert known.numbers.of(say(str(number), PRESENT)) == known.numbers.of(say(str(number), PRESENT)) == number
    assert memory.of(CATALOG) is known
    known.numbers.of(say("2", PRESENT))
    emptied = memory.of(CATALOG)
    assert emptied is not known
    assert len(emptied.numbers) == 0
    assert memory.of(CATALOG._replace(date="2030-01-01")) is not emptied


@pytest.mark.parametrize(
    ("fix", "state", "confidence"),
    [(PRESENT, State.FIXED, MEDIUM), (ABSENT, State.AFFECTED, MEDIUM)],
    ids=["fixed", "affected"],
)
def test_an_unverified_defect_is_judged_with_medium_confidence_at_most(
    fix: Presence, state: State, confidence: Confidence
) -> None:
    doubtful = SLEEPABLE._replace(unverified="the introducing release was not seen")
    names = () if fix is PRESENT else ("0f0c332992b8",)
    found = judge(doubtful, Facts(without_fix(doubtful, *names), "x86_64"), "x86_64")
    assert (found.state, found.confidence) == (state, confidence)
    sure = judge(SLEEPABLE, Facts(without_fix(SLEEPABLE, *names), "x86_64"), "x86_64")
    assert (sure.state, sure.confidence) == (state, HIGH)


def test_an_unverified_defect_whose_introducing_commit_is_absent_is_surely_not_there() -> None:
    doubtful = SLEEPABLE._replace(unverified="the fix was not seen")
    found = judge(doubtful, Facts(without_fix(doubtful, "1e6c62a88215"), "x86_64"), "x86_64")
    assert (found.state, found.confidence, found.rule) == (State.NOT_AFFECTED, HIGH, Rule.NEVER_INTRODUCED)


@pytest.mark.parametrize(
    ("live", "most"), [(LivePatches.LOADED, MEDIUM), (LivePatches.UNKNOWN, MEDIUM), (LivePatches.NONE, HIGH)]
)
def test_a_live_patched_kernel_has_no_certain_answer(live: LivePatches, most: Confidence) -> None:
    for names, state in (((), State.FIXED), (("0f0c332992b8",), State.AFFECTED)):
        facts = Facts(without_fix(SLEEPABLE, *names), "x86_64", live_patches=live)
        found = judge(SLEEPABLE, facts, "x86_64")
        assert (found.state, found.confidence) == (state, most)


def test_a_missing_capability_is_named_before_a_missing_commit() -> None:
    found = judge(INTERPRETER, Facts(without_fix(INTERPRETER, SUBPROG, "ebf7d1f508a7"), "s390x"), "s390x")
    assert (found.state, found.rule) == (State.NOT_AFFECTED, Rule.CAPABILITY_ABSENT)
    assert found.brief == "no subprog-tailcalls"
    assert found.reason == f"cannot be reached: subprog-tailcalls (log of {SUBPROG})"


def test_no_known_fix_is_left_open_on_a_release_that_the_catalogue_does_not_know() -> None:
    no_fix = SLEEPABLE._replace(fixed=None)
    newer = judge(no_fix, Facts(AFFECTED, "x86_64", newer_than="7.3"), "x86_64")
    assert (newer.state, newer.rule, newer.confidence) == (State.UNKNOWN, Rule.FIX_UNKNOWN, LOW)
    assert "none was known through 7.3" in newer.reason
    assert str(newer.settle).startswith("git log --oneline v7.3.. ")
    known = judge(no_fix, Facts(AFFECTED, "x86_64"), "x86_64")
    assert (known.state, known.rule) == (State.AFFECTED, Rule.NO_FIX_KNOWN)
    # A fix that the catalogue has is looked for on a newer release, too.
    assert judge(SLEEPABLE, Facts(AFFECTED, "x86_64", newer_than="7.3"), "x86_64").state is State.AFFECTED


@pytest.mark.parametrize("read", [True, False])
def test_what_sources_leave_open_is_settled_by_the_sources(read: bool) -> None:
    kind = EvidenceKind.SOURCE if read else EvidenceKind.CHANGELOG
    items = [say(ROOT, PRESENT, kind), say("1e6c62a88215", PRESENT), say("0f0c332992b8", UNKNOWN)]
    found = judge(SLEEPABLE, Facts(items, "x86_64"), "x86_64")
    assert found.state is State.UNKNOWN
    assert str(found.settle).startswith("tailcall-audit explain 0f0c332992b8" if read else "tailcall-audit --tree PATH")


def test_nothing_known_is_the_whole_scale_and_of_no_confidence() -> None:
    nothing = weigh([])
    assert (nothing.presence, nothing.confidence, nothing.decisive) == (UNKNOWN, LOW, None)
    assert nothing.interval == Interval(0, 2, 0)
    assert weigh([say(ROOT, PRESENT)]).interval == Interval(2, 2, 3)
    assert weigh([say(ROOT, ABSENT)._replace(confidence=MEDIUM)]).interval == Interval(0, 0, 2)


def test_what_no_kind_of_evidence_decides_has_low_confidence() -> None:
    items = [say(ROOT, UNKNOWN, kind)._replace(unreadable=True) for kind in (EvidenceKind.BTF, EvidenceKind.RELEASE)]
    assert weigh(items).confidence is LOW
    assert weigh(items[:1]).confidence is LOW


def test_a_defect_that_needs_two_capabilities_is_judged_where_an_architecture_may_have_both() -> None:
    both = (SUBPROG, "capability:freplace-attach")
    needy = SLEEPABLE._replace(capabilities=both)
    attach = CATALOG.capabilities[both[1]]
    few = attach._replace(present_from={name: attach.present_from[name] for name in ("x86_64", "arm64")})
    catalog = CATALOG._replace(capabilities={**CATALOG.capabilities, both[1]: few})
    found = judge_all(catalog, Facts(AFFECTED), [needy])
    assert {name for item in found for name in item.architectures} == {"x86_64", "arm64"}
