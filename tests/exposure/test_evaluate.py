"""The catalogue's conditions on programs: every defect has an object that meets it and a harmless one."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.expression import leaves, parse_expression
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.answers import met, not_met, possible
from tailcall_audit.analyzer.exposure.evaluate import expose, finding_of
from tailcall_audit.analyzer.exposure.types import Exposure, Finding, State
from tailcall_audit.analyzer.exposure.world import World
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.probes.kernel.assembler import FP, R1, R6
from tests.exposure.assembled import array, assembled, entry, leave, made, tail_call
from tests.exposure.shapes import caller, divided, filled, plain, sub
from tests.exposure.twins import TWINS

_CATALOG = shipped_catalog()
_INTERPRETED = caller()._replace(jited=False)
_DIVIDED = divided(True)
OF_SEVERAL_FACTS = {
    "interp-empty-slot-count": (
        filled(plain("entry", tail_calls=True, jited=False), slots={}),
        filled(plain("entry", tail_calls=True, jited=True), slots={}),
    ),
    "interp-fallback-tailcall-subprog": (filled(_INTERPRETED), filled(caller()._replace(jited=True))),
    "loongarch-arena-count-slot": (filled(caller()._replace(uses_arena=True)), filled(caller())),
    "loongarch-tailcall-jump-offset": (filled(caller(), slots={}), filled(caller(), plain("x"), slots={0: "x"})),
    "mixed-tailcall-subprog-null-deref": (
        filled(assembled(sub(leave(entry().mov(R1, R6).call("sub").set(7, 1)._add(0x3F, 6, 7))))),
        filled(assembled(sub(leave(entry().mov(R1, R6).call("sub").set(7, 1).alu_reg(6, "-", 7))))),
    ),
    "x86-count-offset": (filled(caller(stack=4)), filled(caller(stack=8))),
}
"""Defects whose condition joins several facts: a set that meets it, and its twin."""


def exposure_of(slug: str, programs: ProgramSet, *, closed: bool = True) -> Exposure:
    (found,) = expose(_CATALOG, [programs], closed=closed, defects=_CATALOG.find(slug))
    return found


def _twins_of(slug: str) -> tuple[ProgramSet, ProgramSet]:
    """The twins of a defect whose condition is one fact, or one of several."""
    if slug in OF_SEVERAL_FACTS:
        return OF_SEVERAL_FACTS[slug]
    (defect,) = _CATALOG.find(slug)
    twins = TWINS[list(leaves(defect.exposure))[-1]]
    return twins.met, twins.twin


@pytest.mark.parametrize("slug", [defect.slug for defect in _CATALOG.defects])
def test_every_defect_is_met_by_one_object_and_not_by_its_twin(slug: str) -> None:
    twins = _twins_of(slug)
    assert exposure_of(slug, twins[0]).state is State.MET
    assert exposure_of(slug, twins[1]).state is State.NOT_MET


def test_a_program_without_tail_calls_meets_nothing_in_a_closed_world() -> None:
    found = expose(_CATALOG, [made(plain("entry"))], closed=True)
    assert {item.defect for item in found if item.state is not State.NOT_MET} == set()
    assert {item.defect for item in found if item.refused is not State.NOT_MET} == set()


def test_a_refusal_has_the_error_and_the_words() -> None:
    found = exposure_of("tailcall-pkt-pointers", TWINS["packet-pointer-across-a-call-of-a-tail-caller"].met)
    assert [(item.commit, item.errno, item.words) for item in found.refusals] == [
        ("1a4607ffba35", "EACCES", "invalid mem access 'scalar'")
    ]
    assert found.refused is State.MET
    twin = exposure_of("tailcall-pkt-pointers", TWINS["packet-pointer-across-a-call-of-a-tail-caller"].twin)
    assert twin.refused is State.NOT_MET


@pytest.mark.parametrize(
    "change",
    [
        (commit.key, index)
        for commit in _CATALOG.commits.values()
        for index, change in enumerate(commit.changes)
        if change.refuses is not None
    ],
    ids=str,
)
def test_every_refusal_is_met_by_one_object_and_not_by_its_twin(change: tuple[str, int]) -> None:
    refuses = _CATALOG.commits[change[0]].changes[change[1]].refuses
    names = list(leaves(refuses))
    if len(names) > 1:
        twins = OF_SEVERAL_FACTS["interp-fallback-tailcall-subprog"]
    else:
        twins = TWINS[names[0]].met, TWINS[names[0]].twin
    slug = next(item.slug for item in _CATALOG.defects if change[0] in leaves(item.fixed))
    what = _CATALOG.commits[change[0]].changes[change[1]].what
    assert [item.finding.state for item in exposure_of(slug, twins[0]).refusals if item.what == what] == [State.MET]
    assert [item for item in exposure_of(slug, twins[1]).refusals if item.what == what] == []


def test_several_programs_are_as_much_as_the_surest_and_each_has_its_own_state() -> None:
    found = exposure_of("x86-hierarchy", filled(caller(2), plain("x")))
    assert found.state is State.MET
    assert [(item.program, item.state) for item in found.programs] == [("entry", State.MET), ("x", State.NOT_MET)]


def test_a_fact_that_this_version_does_not_know_is_possible() -> None:
    defect = _CATALOG.find("x86-hierarchy")[0]._replace(exposure=parse_expression("a-fact-of-next-year"))
    (found,) = expose(_CATALOG, [made(plain())], closed=True, defects=[defect])
    assert (found.state, "a-fact-of-next-year" in found.finding.reason) == (State.POSSIBLE, True)


def test_a_defect_without_a_condition_is_possible() -> None:
    defect = _CATALOG.find("x86-hierarchy")[0]._replace(exposure=None)
    (found,) = expose(_CATALOG, [made(plain())], closed=True, defects=[defect])
    assert found.state is State.POSSIBLE


def test_sets_without_programs_have_no_exposure() -> None:
    with pytest.raises(ValueError, match="no program"):
        expose(_CATALOG, [made()])


_FINDINGS = {"yes": met("yes"), "perhaps": possible("perhaps", settle="look"), "no": not_met("no")}


@pytest.mark.parametrize(
    ("data", "state", "reason"),
    [
        ("yes", State.MET, "yes"),
        ({"all": ["yes", "perhaps"]}, State.POSSIBLE, "perhaps; yes"),
        ({"all": ["yes", "no", "perhaps"]}, State.NOT_MET, "no"),
        ({"any": ["no", "perhaps"]}, State.POSSIBLE, "perhaps"),
        ({"any": ["no", "perhaps", "yes"]}, State.MET, "yes"),
        ({"not": "yes"}, State.NOT_MET, "yes"),
        ({"not": "perhaps"}, State.POSSIBLE, "perhaps"),
        ({"not": {"all": ["no", "yes"]}}, State.MET, "no"),
    ],
)
def test_an_expression_of_findings(data: object, state: State, reason: str) -> None:
    found: Finding = finding_of(parse_expression(data), _FINDINGS.__getitem__)
    assert (found.state, found.reason) == (state, reason)


def test_the_stack_of_a_function_that_calls_no_tail_caller_does_not_matter() -> None:
    code = entry().store_imm(4, FP, -4, 0)
    assert exposure_of("x86-count-offset", filled(assembled(leave(tail_call(code))))).state is State.NOT_MET


@pytest.mark.parametrize("closed", [False, True])
def test_a_program_whose_instructions_were_not_read_may_do_anything(closed: bool) -> None:
    unread = plain("entry")._replace(functions=())
    assert {item.state for item in expose(_CATALOG, [made(unread)], closed=closed)} == {State.POSSIBLE}


def test_beside_an_unread_program_the_world_is_open() -> None:
    read = filled(caller(), slots={})
    unread = plain("unread")._replace(functions=())
    beside = read._replace(programs=(*read.programs, unread))
    assert World([read], closed=True).closed
    assert not World([beside], closed=True).closed


_SEVERAL = {
    "user space fills the prog array": filled(caller(2))._replace(maps=(array(complete=False),)),
    "a program in it was not read": filled(caller(2), plain("unread")._replace(functions=())),
}


@pytest.mark.parametrize("programs", _SEVERAL.values(), ids=_SEVERAL)
def test_nothing_advises_a_statement_that_is_made(programs: ProgramSet) -> None:
    for closed in (False, True):
        found = expose(_CATALOG, [programs], closed=closed)
        advice = {item.finding.settle or "" for item in found if item.state is State.POSSIBLE}
        assert any("--loaded" in text for text in advice)
        assert any("--closed" in text for text in advice) != closed
