"""Verdicts of real kernels by their release, and the rules one by one.

Expected values: the research's table "Core six in the Debian kernels at hand", its survey of 5.15.y and 6.6.y, and what
was seen in guests (tailcall_audit.probes.md). "never introduced" there is not-affected here.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import Catalog, State, audit, load_catalog
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Rule, Verdict
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh
from tests.kernels import SIX
from tests.policy.truth_table import completions, truth

A, F, N, U = State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN


def verdicts(kernel: str, arch: str | None = "x86_64") -> dict[str, Verdict]:
    return {item.defect.slug: item for item in audit(kernels=[kernel], arch=arch).targets[0].verdicts}


def states(kernel: str, arch: str | None = "x86_64") -> dict[str, State]:
    return {slug: item.state for slug, item in verdicts(kernel, arch).items()}


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("#1 SMP Debian 5.10.218-1 (2024-06-01)", (A, F, A, A, N, N)),
        ("#1 SMP Debian 5.10.262-1 (2026-07-31)", (A, F, A, A, N, N)),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)", (F, F, F, A, F, A)),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)", (F, F, F, A, F, F)),
        ("6.12.94+deb13-cloud-amd64", (F, F, F, F, F, F)),
        ("6.12.117+deb13-cloud-amd64", (F, F, F, F, F, F)),
        ("7.2.13", (F, F, F, F, F, F)),
        ("7.3.4", (F, F, F, F, F, F)),
        ("5.15.212", (F, F, A, A, N, A)),
        ("5.15.191", (A, F, A, A, N, N)),
        ("5.15.50", (A, A, A, A, N, N)),
        ("6.6.145", (F, F, F, A, F, A)),
        ("6.6.1", (F, F, A, A, A, A)),
        ("6.1.3", (A, F, A, A, N, N)),
        ("6.1.4", (F, F, A, A, A, A)),
        ("6.0.18", (F, F, A, A, A, A)),
        ("6.10.13", (F, F, F, F, F, A)),
        ("6.11.1", (F, F, F, A, F, A)),
        ("6.11.2", (F, F, F, F, F, A)),
        ("6.12.4", (F, F, F, F, F, A)),
        ("6.12.5", (F, F, F, F, F, F)),
        ("6.13-rc1", (F, F, F, F, F, F)),
        ("5.9.16", (A, N, N, N, N, N)),
        ("4.1", (N, N, N, N, N, N)),
    ],
)
def test_kernels_of_the_research_are_judged_as_researched(kernel: str, expected: tuple[State, ...]) -> None:
    found = states(kernel)
    assert tuple(found[slug] for slug in SIX) == expected


def test_debian_6_1_170_is_affected_by_pitfall_6_and_6_1_192_is_not() -> None:
    assert states("Debian 6.1.170-3 (2026-05-08)")["freplace-loop"] is A
    assert states("Debian 6.1.192-2 (2026-11-16)")["freplace-loop"] is F


def test_a_debian_abi_number_that_was_not_surveyed_leaves_open_what_stable_updates_decide() -> None:
    found = verdicts("6.1.0-99-amd64")
    assert [found[slug].state for slug in SIX] == [U, F, U, U, U, U]
    assert found["freplace-loop"].settle == (
        "tailcall-audit --kernel 6.1.0-99-amd64 --online   (fetches its changelog; without a network, on that host: tailcall-audit)"
    )
    assert "6.1" in found["freplace-loop"].reason


def test_ubuntu_6_5_proves_the_base_and_not_the_updates() -> None:
    assert [states("6.5.0-35-generic")[slug] for slug in SIX] == [F, F, U, U, U, U]


def test_ubuntu_6_8_proves_the_base_and_what_a_later_build_lacks() -> None:
    """Noble's changelog names 116e04ba1459 and d6083f040d5d as not in a build that is later than 35 (ubuntu-noble)."""
    assert [states("6.8.0-35-generic")[slug] for slug in SIX] == [F, F, F, A, U, A]


def test_an_ubuntu_signature_adds_the_updates_and_leaves_picks_open() -> None:
    found = states("Ubuntu 5.15.0-79.86-generic 5.15.111")
    assert found["x86-count-offset"] is F
    assert found["x86-trampoline-loop"] is U


def test_rhel_9_4_has_the_trampoline_fix_on_a_5_14_base() -> None:
    found = verdicts("5.14.0-427.13.1.el9_4.x86_64")
    assert found["x86-trampoline-loop"].state is F
    assert found["x86-count-offset"].state is F
    assert found["freplace-attached-panic"].state is U
    assert any(item.kind is EvidenceKind.SERIES for item in found["x86-trampoline-loop"].evidence)


def test_rhel_9_2_lists_one_fix_and_not_the_other() -> None:
    found = states("5.14.0-284.30.1.el9_2.x86_64")
    assert found["x86-count-offset"] is F
    assert found["x86-trampoline-loop"] is A
    assert states("5.14.0-362.8.1.el9_3.x86_64")["x86-trampoline-loop"] is U


def test_an_enterprise_base_older_than_the_introduction_proves_nothing() -> None:
    assert states("4.18.0-553.el8_10.x86_64")["x86-hierarchy"] is U
    assert states("4.18.20")["x86-hierarchy"] is N


@pytest.mark.parametrize("kernel", ["6.1.170-g0123456789ab", "6.1.170+", "6.1.170-dirty", "6.1.0-next-20230101"])
def test_unknown_patches_leave_introductions_and_later_fixes_open(kernel: str) -> None:
    found = states(kernel)
    assert found["x86-count-offset"] is F
    assert found["freplace-loop"] is U
    assert found["tailcall-locks-rcu-preempt"] is U


def test_a_local_version_only_lowers_confidence() -> None:
    plain, local = verdicts("5.10.218"), verdicts("5.10.218-lab")
    assert {slug: item.state for slug, item in plain.items()} == {slug: item.state for slug, item in local.items()}
    assert plain["x86-hierarchy"].confidence is Confidence.HIGH
    assert local["x86-hierarchy"].confidence is Confidence.MEDIUM


@pytest.mark.parametrize(
    ("kernel", "slug", "expected"),
    [
        ("6.1.193", "x86-hierarchy", U),  # newer than the survey of 6.1.y
        ("6.6.150", "freplace-loop", U),
        ("5.10.300", "freplace-loop", U),
        ("6.18.20", "trampoline-flags-clobber", U),  # a branch that was not looked at
        ("6.8.12", "x86-hierarchy", A),  # ended before the fix existed
        ("6.8.99", "x86-hierarchy", U),  # no release of kernel.org
        ("6.1.200", "freplace-loop", F),  # a backport stays
        ("7.9.1", "freplace-loop", F),
    ],
)
def test_facts_end_where_the_survey_ends(kernel: str, slug: str, expected: State) -> None:
    item = verdicts(kernel)[slug]
    assert item.state is expected
    if expected is U:
        assert item.settle


@pytest.mark.parametrize(
    ("kernel", "arch", "expected"),
    [
        ("6.1.170", "arm64", A),
        ("5.10.218", "arm64", N),
        ("6.1.170", "riscv64", N),
        ("6.12.4", "riscv64", A),
        ("6.12.4", "s390x", A),
        ("6.6.100", "s390x", A),  # able since 6.3
        ("6.3-rc4", "s390x", U),  # the release candidate of the capability is not known
        ("6.12.4", "powerpc64", N),
        ("6.12.4", "mips64", U),  # not looked at
    ],
)
def test_what_freplace_needs_differs_by_architecture(kernel: str, arch: str, expected: State) -> None:
    assert states(kernel, arch)["freplace-loop"] is expected


@pytest.mark.parametrize(
    ("kernel", "arch", "slug", "expected"),
    [
        # Tail calls in subprograms: arm64 since 6.0, s390x since 6.3, LoongArch since 6.4, powerpc64 since 7.0, riscv64 since 7.3.
        ("5.10.262", "x86_64", "tailcall-pkt-pointers", A),
        ("5.15.200", "arm64", "tailcall-pkt-pointers", N),
        ("6.1.170", "arm64", "tailcall-pkt-pointers", A),
        ("6.1.170", "s390x", "tailcall-verifier-return-model", N),
        ("6.12.100", "s390x", "tailcall-verifier-return-model", A),
        ("6.18.10", "powerpc64", "tailcall-via-callback-subprog", N),
        ("7.2.13", "powerpc64", "tailcall-via-callback-subprog", A),
        ("7.2.13", "riscv64", "tailcall-via-callback-subprog", N),
        ("7.2.13", "mips64", "tailcall-via-callback-subprog", N),
        ("6.1.170", "riscv64", "trampoline-flags-clobber", N),
        ("6.12.100", "riscv64", "trampoline-flags-clobber", A),  # 01793ed86b5d marks main programs too
        ("6.1.170", "x86_64", "trampoline-flags-clobber", A),
        # 30a59cc79754 breaks, 52fb1756ea1d mends.
        ("6.12.100", "riscv64", "riscv-kcfi-tailcall-stack", A),
        ("7.2.13", "riscv64", "riscv-kcfi-tailcall-stack", F),
        ("6.9.5", "riscv64", "riscv-kcfi-tailcall-stack", N),
        # A release whose candidates were not looked at says nothing of them.
        ("6.13-rc5", "x86_64", "tailcall-pkt-pointers", U),
        ("6.13", "x86_64", "tailcall-pkt-pointers", F),
        ("5.10-rc3", "x86_64", "x86-count-offset", U),
        ("5.10", "x86_64", "x86-count-offset", A),
        ("6.13-rc1", "x86_64", "freplace-loop", F),  # seen in rc1
    ],
)
def test_corrected_facts_decide(kernel: str, arch: str, slug: str, expected: State) -> None:
    assert states(kernel, arch)[slug] is expected


def test_only_a_known_architecture_makes_another_ones_defect_not_affected() -> None:
    assert states("6.1.170", "x86_64")["arm64-tailcall-hierarchy"] is N
    assert verdicts("6.1.170", "x86_64")["arm64-tailcall-hierarchy"].rule is Rule.OTHER_ARCHITECTURE
    assert states("6.1.170", None)["arm64-tailcall-hierarchy"] is A
    assert states("6.1.170", "arm64")["x86-hierarchy"] is N
    assert states("6.1.170", "arm64")["arm64-tailcall-hierarchy"] is A


def test_without_an_architecture_differing_answers_get_a_line_each() -> None:
    lines = [item for item in audit(kernels=["6.12.4"]).targets[0].verdicts if item.defect.slug == "freplace-loop"]
    assert {(item.state, item.architectures) for item in lines} == {
        (A, ("x86_64", "arm64", "riscv64", "s390x")),
        (N, ("powerpc64", "loongarch64")),
    }


def test_every_unknown_says_why_and_what_settles_it() -> None:
    seen = set()
    for kernel in ("6.1.0-99-amd64", "6.8.0-35-generic", "5.14.0-427.el9.x86_64", "6.1.170+", "6.6.200", "7.9"):
        for item in audit(kernels=[kernel]).targets[0].verdicts:
            if item.state is U:
                assert item.settle, f"{kernel}: {item.defect.slug}"
                assert "unknown" in item.reason
                seen.add(kernel)
    assert len(seen) > 3


def evidence(kind: EvidenceKind, presence: Presence, **more: object) -> Evidence:
    return Evidence(kind, "d6083f040d5d", presence, kind.value, **more)  # type: ignore[arg-type]


def test_code_outranks_history_and_the_disagreement_is_shown() -> None:
    found = weigh([evidence(EvidenceKind.HISTORY, Presence.PRESENT), evidence(EvidenceKind.SOURCE, Presence.ABSENT)])
    assert found.presence is Presence.ABSENT
    assert len(found.disagreements) == 1


def test_code_of_a_strange_shape_is_unknown_whatever_the_log_says() -> None:
    for said in (Presence.PRESENT, Presence.ABSENT):
        found = weigh([evidence(EvidenceKind.HISTORY, said), evidence(EvidenceKind.SOURCE, Presence.UNKNOWN)])
        assert found.presence is Presence.UNKNOWN
        assert found.disagreements


def test_code_that_could_not_be_read_leaves_it_to_history() -> None:
    found = weigh(
        [
            evidence(EvidenceKind.HISTORY, Presence.PRESENT),
            evidence(EvidenceKind.SOURCE, Presence.UNKNOWN, unreadable=True),
        ]
    )
    assert found.presence is Presence.PRESENT


@pytest.mark.parametrize("kind", [EvidenceKind.HISTORY, EvidenceKind.CHANGELOG])
def test_a_partial_revert_is_not_outvoted_by_the_release_but_by_the_code(kind: EvidenceKind) -> None:
    contested, released = evidence(kind, Presence.UNKNOWN), evidence(EvidenceKind.RELEASE, Presence.PRESENT)
    assert weigh([contested, released]).presence is Presence.UNKNOWN
    assert weigh([contested, released]).disagreements
    assert weigh([contested, released, evidence(EvidenceKind.SOURCE, Presence.PRESENT)]).presence is Presence.PRESENT
    cut_off = evidence(kind, Presence.UNKNOWN, unreadable=True)
    assert weigh([cut_off, released]).presence is Presence.PRESENT


def test_a_conflicted_backport_counts_only_with_the_code() -> None:
    picked = evidence(EvidenceKind.HISTORY, Presence.PRESENT, conditional=True)
    assert weigh([picked]).presence is Presence.UNKNOWN
    assert weigh([picked, evidence(EvidenceKind.SOURCE, Presence.PRESENT)]).presence is Presence.PRESENT


def test_a_live_patch_keeps_answers_from_being_certain(catalog: Catalog) -> None:
    items = [Evidence(EvidenceKind.SOURCE, key, Presence.PRESENT, "x") for key in catalog.commits]
    defect = catalog.find("x86-hierarchy")[0]
    assert judge(defect, Facts(items, "x86_64"), "x86_64").confidence is Confidence.HIGH
    assert (
        judge(defect, Facts(items, "x86_64", live_patches=LivePatches.LOADED), "x86_64").confidence is Confidence.MEDIUM
    )


CATALOG = load_catalog()
PRESENCES = st.dictionaries(st.sampled_from(sorted(CATALOG.commits)), st.sampled_from(list(Presence)))


@given(PRESENCES, st.sampled_from(CATALOG.defects))
def test_never_fixed_without_a_complete_fix_and_never_affected_on_a_gap(
    presences: dict[str, Presence], defect: Defect
) -> None:
    items = [Evidence(EvidenceKind.HISTORY, key, presence, "x") for key, presence in presences.items()]
    items += [Evidence(EvidenceKind.RELEASE, name, Presence.PRESENT, "x") for name in defect.capabilities]
    state = judge(defect, Facts(items), None).state
    able = dict.fromkeys(defect.capabilities, Presence.PRESENT)
    for way in completions(defect, {**presences, **able}):
        fixed = defect.fixed is not None and truth(defect.fixed, way)
        reached = truth(defect.reachable, way)
        assert state is not F or fixed
        assert state is not A or (reached and not fixed)
        assert state is not N or not reached


def code(presence: Presence, unreadable: bool = False) -> Evidence:
    return Evidence(EvidenceKind.CODE, "d6083f040d5d", presence, "vmlinux", "the code", unreadable=unreadable)


RELEASED = Evidence(EvidenceKind.RELEASE, "d6083f040d5d", Presence.PRESENT, "6.12.117")


def test_code_that_does_not_do_what_the_fix_is_for_leaves_unknown_whatever_the_version_says() -> None:
    found = weigh([RELEASED, code(Presence.UNKNOWN)])
    assert found.presence is Presence.UNKNOWN
    assert any("release says present" in text for text in found.disagreements)


def test_code_that_was_read_in_part_leaves_the_answer_to_the_version() -> None:
    found = weigh([RELEASED, code(Presence.UNKNOWN, unreadable=True)])
    assert (found.presence, found.decisive) == (Presence.PRESENT, RELEASED)


def test_what_ran_outranks_code_that_looks_wrong() -> None:
    ran = Evidence(EvidenceKind.EMULATION, "d6083f040d5d", Presence.ABSENT, "run in an emulator")
    assert weigh([RELEASED, code(Presence.UNKNOWN), ran]).presence is Presence.ABSENT


def test_a_part_in_a_defect_that_was_only_read_makes_no_verdict_safe() -> None:
    # e41c237953b3 came with 6.18; that it brings tailcall-stack-liveness was read and never seen in a run.
    assert states("6.17.5")["tailcall-stack-liveness"] is U
    assert states("6.18.2")["tailcall-stack-liveness"] is A
    assert states("5.15.100")["tailcall-stack-liveness"] is U
