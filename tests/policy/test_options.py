"""Options that a kernel's functions show: when they exclude a defect, and what a configuration says beside them."""

from __future__ import annotations

import pytest

from tailcall_audit import State
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.evidence import OptionSeen
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence, Rule, Verdict
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.policy.options import contradicted

CATALOG = load_catalog()
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
(KCFI,) = CATALOG.find("riscv-kcfi-tailcall-stack")
(INTERPRETER,) = CATALOG.find("interp-empty-slot-count")
(HOOKS,) = CATALOG.find("tailcall-compat-attach-func-proto")


def seen(is_on: bool, *names: str) -> OptionSeen:
    return OptionSeen(names, is_on, "vmlinuz: kallsyms", f"functions of {names[0]}")


def judged(
    defect: Defect,
    *options: OptionSeen,
    fix: Presence = ABSENT,
    config: KernelConfig | None = None,
    applies: bool = True,
) -> Verdict:
    """The verdict on a kernel that has all that a defect needs."""
    fixes = set() if defect.fixed is None else {name for name in defect.commits if name in str(defect.fixed)}
    evidence = [
        Evidence(EvidenceKind.HISTORY, name, fix if name in fixes else PRESENT, "log", "", Confidence.HIGH)
        for name in defect.commits
    ]
    architecture = (defect.architectures or ("x86_64",))[0]
    facts = Facts(evidence, architecture, config, applies and config is not None, options=options)
    (found,) = judge_all(CATALOG, facts, [defect])
    return found


def config(*, complete: bool = True, **options: str) -> KernelConfig:
    return KernelConfig("a/.config", options, complete, None, None)


def test_functions_of_an_option_that_is_off_exclude_what_needs_it() -> None:
    verdict = judged(KCFI, seen(False, "CFI_CLANG", "CFI"))
    assert (verdict.state, verdict.rule, verdict.confidence) == (
        State.NOT_AFFECTED,
        Rule.CONFIG_EXCLUDES,
        Confidence.MEDIUM,
    )
    assert verdict.evidence[0].citation == "vmlinuz: kallsyms"
    assert verdict.reason == (
        "cannot be reached with CONFIG_CFI_CLANG=n, CONFIG_CFI=n: functions of CFI_CLANG"
        " (needs BPF_SYSCALL and BPF_JIT and (CFI_CLANG or CFI))"
    )


@pytest.mark.parametrize(
    "options",
    [(), (seen(True, "CFI_CLANG", "CFI"),), (seen(False, "CFI_CLANG"),), (seen(False, "BPF_JIT_ALWAYS_ON"),)],
    ids=("nothing", "on", "one name of two", "another option"),
)
def test_nothing_else_excludes_it(options: tuple[OptionSeen, ...]) -> None:
    assert judged(KCFI, *options).state is State.AFFECTED


def test_the_reason_names_the_options_that_exclude_and_no_other() -> None:
    kcfi, jit, on = seen(False, "CFI_CLANG", "CFI"), seen(False, "BPF_JIT"), seen(True, "BPF_JIT")
    assert "CONFIG_CFI_CLANG=n, CONFIG_CFI=n: functions of CFI_CLANG (" in judged(KCFI, kcfi, on).reason
    assert "with CONFIG_BPF_JIT=n: functions of BPF_JIT (" in judged(KCFI, jit, seen(True, "CFI_CLANG", "CFI")).reason
    both = judged(KCFI, kcfi, jit).reason
    assert "CONFIG_BPF_JIT=n, CONFIG_CFI_CLANG=n, CONFIG_CFI=n: functions of BPF_JIT; functions of CFI_CLANG (" in both


def test_an_option_that_must_be_off_excludes_where_it_is_on() -> None:
    assert judged(INTERPRETER, seen(True, "BPF_JIT_ALWAYS_ON")).state is State.NOT_AFFECTED
    assert judged(INTERPRETER, seen(False, "BPF_JIT_ALWAYS_ON")).state is State.AFFECTED


def test_one_of_two_options_of_which_one_is_enough_excludes_nothing() -> None:
    assert judged(HOOKS, seen(False, "BPF_JIT")).state is State.AFFECTED
    assert judged(HOOKS, seen(False, "BPF_JIT"), seen(False, "BPF_EVENTS")).state is State.NOT_AFFECTED


@pytest.mark.parametrize(
    ("fix", "expected"),
    [(PRESENT, State.FIXED), (ABSENT, State.NOT_AFFECTED), (UNKNOWN, State.NOT_AFFECTED)],
)
def test_what_shows_the_fix_itself_comes_first(fix: Presence, expected: State) -> None:
    assert judged(KCFI, seen(False, "CFI_CLANG", "CFI"), fix=fix).state is expected


def test_a_configuration_comes_before_functions() -> None:
    off = config(BPF_SYSCALL="y", BPF_JIT="y")
    verdict = judged(KCFI, seen(False, "CFI_CLANG", "CFI"), config=off)
    assert (verdict.brief, verdict.confidence) == ("by config", Confidence.HIGH)
    # An incomplete one does not say; the functions do.
    part = config(complete=False, BPF_SYSCALL="y", BPF_JIT="y")
    assert judged(KCFI, seen(False, "CFI_CLANG", "CFI"), config=part).brief == "by its functions"
    assert judged(KCFI, seen(False, "CFI_CLANG", "CFI"), config=off, applies=False).brief == "by its functions"


@pytest.mark.parametrize(
    ("options", "is_on", "contradicts"),
    [
        ({"CFI_CLANG": "y"}, True, False),
        ({"CFI": "y"}, True, False),
        ({}, False, False),
        ({"CFI": "n"}, False, False),
        ({}, True, True),
        ({"CFI_CLANG": "y"}, False, True),
        ({"CFI": "y"}, False, True),
    ],
)
def test_the_two_contradict_each_other_by_all_names_of_an_option(
    options: dict[str, str], is_on: bool, contradicts: bool
) -> None:
    found = contradicted(KernelConfig("a/.config", options, True, None, None), [seen(is_on, "CFI_CLANG", "CFI")])
    assert bool(found) is contradicts


def test_what_a_configuration_does_not_say_contradicts_nothing() -> None:
    assert not contradicted(None, [seen(True, "CFI_CLANG", "CFI")])
    assert not contradicted(config(complete=False), [seen(True, "CFI_CLANG", "CFI")])
    assert contradicted(config(complete=False, CFI="y"), [seen(False, "CFI_CLANG", "CFI")])
