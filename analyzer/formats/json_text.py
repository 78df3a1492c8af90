"""JSON text of the parts of a report that thousands of kernels have: verdicts, details and evidence.

The text is put together from parts that are encoded once. It is what `json.dumps` writes of the same data
(`tailcall_audit.analyzer.formats.json_parts`), in a third of the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.formats.json_parts import (
    changes_as_data,
    defect_as_data,
    exposed_as_data,
    observation_as_data,
    waiver_as_data,
)
from tailcall_audit.analyzer.model import Confidence, Evidence, State, Verdict

__all__ = ["Shared", "Texts", "compact"]

compact = json.JSONEncoder(separators=(",", ":")).encode
"""Encodes data without spaces. Everything beyond ASCII is escaped."""


def _more(data: dict[str, Any]) -> str:
    """Returns the members of an object, with a comma before them if there are any."""
    return f",{compact(data)[1:-1]}" if data else ""


class Texts:
    """Encodes verdicts and evidence. What they have in common is encoded once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._defects: dict[str, tuple[Defect, str]] = {}
        self._answers: dict[tuple[State, Confidence, tuple[str, ...]], str] = {}
        self._heads: dict[tuple[str, str], str] = {}
        self._citations: dict[str, str] = {}
        self._kinds: dict[tuple[str, str, str], str] = {}
        self._places: dict[tuple[Confidence, str | None], str] = {}
        self._changes: dict[tuple[str, ...], str] = {}

    def whole(self, item: Verdict) -> str:
        """Returns a verdict with all that it rests on, as an object."""
        about = f'"defect":"{item.defect.slug}",{self.defect(item.defect)},{self.answer(item)}'
        exposed = "" if item.exposed is None else _more(exposed_as_data(item.exposed))
        evidence = ",".join(map(self.evidence, item.evidence))
        return f"{{{about}{exposed},{self.detail(item, evidence)}}}"

    def answer(self, item: Verdict) -> str:
        """Returns the members "verdict", "confidence" and "architectures"."""
        key = (item.state, item.confidence, item.architectures)
        text = self._answers.get(key)
        if text is None:
            known = {"verdict": item.state.value, "confidence": item.confidence.label}
            text = self._answers[key] = compact({**known, "architectures": list(item.architectures)})[1:-1]
        return text

    def defect(self, defect: Defect) -> str:
        """Returns the members that describe a defect."""
        known = self._defects.get(defect.slug)
        if known is None or known[0] is not defect:
            known = self._defects[defect.slug] = (defect, compact(defect_as_data(defect))[1:-1])
        return known[1]

    def detail(self, item: Verdict, evidence: str) -> str:
        """Returns the members from "rule" on; `evidence` is what the array of the evidence has in it."""
        key = (item.rule.value, item.brief)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = f"{compact({'rule': item.rule.value, 'brief': item.brief})[1:-1]},"
        settle = "null" if item.settle is None else compact(item.settle)
        return f'{head}"reason":{compact(item.reason)},"settle":{settle},"evidence":[{evidence}],{self._rest(item)}'

    def _rest(self, item: Verdict) -> str:
        """Returns the members of a detail behind the evidence."""
        plain = not item.disagreements and item.observation is None and item.waiver is None
        changes = item.fixed_by if item.state is State.FIXED else ()
        text = self._changes.get(changes) if plain else None
        if text is None:
            rest = {
                "disagreements": [str(entry) for entry in item.disagreements],
                "observation": observation_as_data(item.observation),
                "changes_for_programs": changes_as_data(item, self._catalog),
                "waiver": waiver_as_data(item.waiver),
            }
            text = compact(rest)[1:-1]
            if plain:
                self._changes[changes] = text
        return text

    def evidence(self, item: Evidence) -> str:
        """Returns a piece of evidence as an object."""
        key = (item.kind.value, item.commit, item.presence.value)
        head = self._kinds.get(key)
        if head is None:
            kind = {"kind": item.kind.value, "commit": item.commit or None, "presence": item.presence.value}
            head = self._kinds[key] = compact(kind)[:-1]
        citation = self._citations.get(item.citation)
        if citation is None:
            citation = self._citations[item.citation] = compact(item.citation)
        where = (item.confidence, item.architecture)
        tail = self._places.get(where)
        if tail is None:
            known = {"confidence": item.confidence.label, "architecture": item.architecture}
            tail = self._places[where] = compact(known)[1:]
        return f'{head},"citation":{citation},"detail":{compact(item.detail)},{tail}'


class Shared:
    """What verdicts share: defects, details and evidence, each once and numbered in the order of the first use."""

    def __init__(self, catalog: Catalog) -> None:
        self._texts = Texts(catalog)
        self._by_verdict: dict[int, str] = {}
        """The text of each verdict by its identity, which no other one gets: the verdicts are kept."""
        self._verdicts: list[Verdict] = []
        self._numbers: dict[tuple[object, ...], str] = {}
        self._evidence: list[Evidence] = []
        self._by_evidence: dict[int, str] = {}
        """The number of each piece of evidence by its identity. The verdicts that are kept keep it."""

    def verdicts(self, items: Iterable[Verdict]) -> str:
        """Returns verdicts as objects with the numbers of their details, with commas between them."""
        known = self._by_verdict.get
        return ",".join([known(id(item)) or self._verdict(item) for item in items])

    def _verdict(self, item: Verdict) -> str:
        answer = f'"defect":"{item.defect.slug}",{self._texts.answer(item)}'
        more = "" if item.exposed is None else _more(exposed_as_data(item.exposed))
        text = self._by_verdict[id(item)] = f'{{{answer},"detail":{len(self._verdicts)}{more}}}'
        self._verdicts.append(item)
        return text

    def defects(self) -> dict[str, Any]:
        """Returns the defects that the verdicts so far are about."""
        found = {item.defect.slug: item.defect for item in self._verdicts}
        return {slug: defect_as_data(defect) for slug, defect in found.items()}

    def details(self) -> Iterator[str]:
        """Yields the details of the verdicts so far, each as an object."""
        known = self._by_evidence.get
        for item in self._verdicts:
            numbers = [known(id(entry)) or self._number(entry) for entry in item.evidence]
            yield f"{{{self._texts.detail(item, ','.join(numbers))}}}"

    def evidence(self) -> Iterator[str]:
        """Yields the evidence that the details so far name, each as an object."""
        return map(self._texts.evidence, self._evidence)

    def _number(self, entry: Evidence) -> str:
        # All that the text has, as values that hash fast: the members of an enum compute their hash in Python each time.
        kind, presence, confidence = id(entry.kind), id(entry.presence), id(entry.confidence)
        key = (entry.detail, entry.commit, entry.citation, entry.architecture, kind, presence, confidence)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = str(len(self._evidence))
            self._evidence.append(entry)
        self._by_evidence[id(entry)] = number
        return number
