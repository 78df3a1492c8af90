"""From what the cases come to, to evidence: the child's answer is checked, and each condition of the catalogue counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence, TargetKind
from tailcall_audit.analyzer.readers.emulation import read, reader, registry, scene, stage
from tailcall_audit.analyzer.readers.emulation.read import CaseResult, Emulation, emulate, evidence_of, wanted_cases
from tailcall_audit.analyzer.readers.emulation.stage import Answer, Finding, Outcome
from tailcall_audit.analyzer.subjects.subject import Parts, Request, make_subject

LOOP, CLEAR, BRANCH_ONLY, ARM = "d6083f040d5d", "4406942e65ca", "c04992612ed4", "66ff4d61dc12"
CASES = ("prog-array/extended-then-put", "prog-array/put-then-extended", "prog-array/taken-then-extended")
BINARY: Any = SimpleNamespace()


def result(case: str, outcome: str | None, *, sites: int | None = 3, misbehaves: bool = False) -> CaseResult:
    return CaseResult(case, outcome, f"story of {case}", sites, misbehaves)


def said(catalog: Catalog, *results: CaseResult, commit: str = LOOP) -> Evidence | None:
    found = list(
        evidence_of(
            catalog, Emulation({item.case: item for item in results}), "x86_64", "vmlinuz", frozenset((commit,))
        )
    )
    assert len(found) <= 1
    return found[0] if found else None


def test_all_conditions_together_show_the_fix(catalog: Catalog) -> None:
    item = said(catalog, *(result(case, "busy") for case in CASES))
    assert item is not None
    assert (item.kind, item.commit, item.presence) == (EvidenceKind.EMULATION, LOOP, Presence.PRESENT)
    assert (item.confidence, item.architecture, item.unreadable, item.settle) == (
        Confidence.HIGH,
        "x86_64",
        False,
        None,
    )
    assert item.citation == "vmlinuz, run in an emulator"
    assert item.detail == f"{'; '.join(f'story of {case}' for case in CASES)} (vmlinuz, run in an emulator)"
    assert item.steps == ("vmlinuz, run in an emulator:", *(f"story of {case}" for case in CASES))


@pytest.mark.parametrize("bad", CASES)
def test_one_condition_shows_that_it_is_absent_whatever_the_others_show(catalog: Catalog, bad: str) -> None:
    for others in ("busy", None):
        item = said(catalog, *(result(case, "accepted" if case == bad else others) for case in CASES))
        assert item is not None
        assert item.presence is Presence.ABSENT
        assert f"story of {bad}" in item.detail


@pytest.mark.parametrize("lost", CASES)
def test_a_case_without_an_answer_leaves_it_open(catalog: Catalog, lost: str) -> None:
    item = said(catalog, *(result(case, None if case == lost else "busy") for case in CASES))
    assert item is not None
    assert (item.presence, item.unreadable, item.settle) == (Presence.UNKNOWN, True, None)
    assert item.detail == f"running it gives no answer: {lost}: story of {lost}"


@pytest.mark.parametrize("lost", CASES)
def test_a_failed_control_is_more_than_no_answer(catalog: Catalog, lost: str) -> None:
    results = (result(case, None if case == lost else "busy", misbehaves=case == lost) for case in CASES)
    item = said(catalog, *results)
    assert item is not None
    assert (item.presence, item.unreadable) == (Presence.UNKNOWN, False)
    assert item.settle == "tailcall-audit --image vmlinuz --confirm=vm"


def test_a_case_that_was_not_run_shows_nothing(catalog: Catalog) -> None:
    assert said(catalog, *(result(case, "busy") for case in CASES[1:])) is None
    assert said(catalog) is None


def test_outcomes_that_no_condition_names_show_nothing(catalog: Catalog) -> None:
    assert said(catalog, *(result(case, "refused") for case in CASES)) is None


@pytest.mark.parametrize("outcome", ["busy", "accepted"])
def test_code_that_was_run_in_its_first_state_only_has_less_confidence(catalog: Catalog, outcome: str) -> None:
    item = said(catalog, *(result(case, outcome, sites=None) for case in CASES))
    assert item is not None
    assert item.confidence is Confidence.MEDIUM
    assert "code that is patched at boot in its first state only" in item.detail
    # One of several is enough for less.
    item = said(catalog, *(result(case, "busy", sites=None if case == CASES[2] else 0) for case in CASES))
    assert item is not None
    assert item.confidence is Confidence.MEDIUM


def test_a_commit_of_another_architecture_is_not_judged(catalog: Catalog) -> None:
    results = Emulation({"jit/hierarchy": result("jit/hierarchy", "stops")})
    assert {item.commit for item in evidence_of(catalog, results, "arm64", "it")} == {ARM}
    assert ARM not in {item.commit for item in evidence_of(catalog, results, "x86_64", "it")}
    assert set(wanted_cases(catalog, "arm64", frozenset((ARM,)))) == {"jit/hierarchy"}
    assert wanted_cases(catalog, "x86_64", frozenset((ARM,))) == ()


def test_a_reason_for_all_is_no_evidence(catalog: Catalog) -> None:
    results = {case: result(case, "busy") for case in CASES}
    assert list(evidence_of(catalog, Emulation(results, EmulationError(Why.CRASHED, "it")), "x86_64", "it")) == []


Child = Callable[[Callable[[], bytes], object], bytes]


def run(
    monkeypatch: pytest.MonkeyPatch,
    child: Child,
    cases: Sequence[str] = CASES,
    answer: Answer | None = None,
    known: bool = True,
) -> Emulation:
    """Runs `emulate` with a child of its own: nothing is read or emulated."""
    image = SimpleNamespace(btf=None, learn=lambda _: None)
    monkeypatch.setattr(read, "KernelImage", lambda *_: image)
    monkeypatch.setattr(scene, "Bench", lambda *_, **__: SimpleNamespace(sites=SimpleNamespace(are_known=known)))
    monkeypatch.setattr(stage, "run_case", lambda *_: answer)
    monkeypatch.setattr(read, "run_bounded", child)
    return emulate(BINARY, "x86_64", cases)


def test_what_the_child_writes_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Answer("it", Finding(Outcome.BUSY, "a story"), sites=4)
    found = run(monkeypatch, lambda work, _: work(), answer=finding)
    assert found == Emulation({case: CaseResult(case, "busy", "a story", 4) for case in CASES})
    found = run(monkeypatch, lambda work, _: work(), answer=finding, known=False)
    assert {item.sites for item in found.results.values()} == {None}


@pytest.mark.parametrize("why", Why)
def test_only_a_failed_control_misbehaves(monkeypatch: pytest.MonkeyPatch, why: Why) -> None:
    found = run(monkeypatch, lambda work, _: work(), answer=Answer("it", None, EmulationError(why, "a detail")))
    expected = CaseResult("it", None, f"{why.value}: a detail", 0, why is Why.CONTROL)
    assert list(found.results.values()) == [expected._replace(case=case) for case in CASES]


GOOD = [CASES[0], "busy", "a story", 0, False]


@pytest.mark.parametrize(
    "rows",
    [
        [["another/case", *GOOD[1:]]],
        [[CASES[0], "fine", *GOOD[2:]]],
        [[*GOOD[:3], "0", False]],
        [[*GOOD[:4], 0]],
        [[*GOOD[:4], None]],
        [GOOD[:4]],
        [[*GOOD, 1]],
        [GOOD, 7],
        7,
        {"a": 1},
    ],
)
def test_an_answer_that_does_not_fit_is_none_at_all(monkeypatch: pytest.MonkeyPatch, rows: object) -> None:
    """The child ran code of the image: what it writes is believed only if it is one of the answers that there are."""
    found = run(monkeypatch, lambda *_: json.dumps(rows).encode())
    assert found.results == {}
    assert found.why is not None
    assert found.why.why is Why.CRASHED


def test_an_answer_that_is_no_json_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, lambda *_: b"\xff{")
    assert found.why is not None
    assert found.why.why is Why.CRASHED


def test_a_story_is_cut_and_has_no_bytes_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    story = "\x1b[31m" + "x" * 700
    found = run(monkeypatch, lambda *_: json.dumps([[CASES[0], "busy", story, None, False]]).encode())
    text = found.results[CASES[0]].story
    assert len(text) == 600
    assert "\x1b" not in text
    assert found.results[CASES[0]].sites is None


def test_a_case_of_a_later_catalogue_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, lambda *_: json.dumps([GOOD]).encode(), cases=(CASES[0], "new/case"))
    assert found.results["new/case"] == CaseResult("new/case", None, "no case of this name in this version")
    assert "new/case" not in registry.CASES
    assert found.results[CASES[0]].outcome == "busy"


def _read(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, emulation: Emulation, **image: Any
) -> tuple[set[str], tuple[str, ...]]:
    release = SimpleNamespace(version=SimpleNamespace(branch=image.pop("branch", (6, 1))))
    known: dict[str, Any] = {"name": "vmlinuz", "binary": BINARY, "architecture": "x86_64", "release": release}
    request = Request(catalog, catalog.defects, emulate=image.pop("emulate", True))
    opened: Any = SimpleNamespace(**known | image)
    subject = make_subject(request, TargetKind.IMAGE, "vmlinuz", release=None, parts=Parts(image=opened))
    monkeypatch.setattr(reader, "emulate", lambda *_: emulation)
    found = reader.read(subject, request)
    return {item.commit for item in found.evidence}, found.notes


def test_a_fix_of_one_branch_is_no_fix_of_another(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """c04992612ed4 is in 5.15.y only, and its check behaves like others' there."""
    branch = catalog.commits[BRANCH_ONLY].only_on_branch
    assert branch is not None
    names = ("owner-check/extension", "owner-check/tracer")
    emulation = Emulation({name: result(name, "accepted") for name in names})
    assert BRANCH_ONLY not in _read(catalog, monkeypatch, emulation)[0]
    assert BRANCH_ONLY in _read(catalog, monkeypatch, emulation, branch=branch)[0]


def test_the_note_counts_the_cases_with_an_answer(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {case: result(case, "busy") for case in CASES[:2]}
    emulation = Emulation({**shown, CASES[2]: result(CASES[2], None)})
    wanted = len(wanted_cases(catalog, "x86_64"))
    _, notes = _read(catalog, monkeypatch, emulation)
    assert notes == (f"2 of {wanted} cases of its functions, run in an emulator, have an answer",)


@pytest.mark.parametrize(
    ("why", "note"),
    [
        (Why.NO_MACHINE, None),
        (Why.NO_EMULATOR, "pip install 'tailcall-audit[emulation]'"),
        (Why.NO_BTF, "its functions were not run: no type data to lay out objects by: it"),
    ],
)
def test_why_nothing_was_run_is_a_note_where_it_helps(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, why: Why, note: str | None
) -> None:
    commits, notes = _read(catalog, monkeypatch, Emulation({}, EmulationError(why, "it")))
    assert commits == set()
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_an_image_of_no_architecture_is_not_run(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    emulation = Emulation({CASES[0]: result(CASES[0], "accepted")})
    assert _read(catalog, monkeypatch, emulation, architecture=None) == (set(), ())
    assert _read(catalog, monkeypatch, emulation, emulate=False) == (set(), ())
    assert LOOP in _read(catalog, monkeypatch, emulation)[0]
