"""Verdicts with marks in place of a kernel's own words, and the verdicts on a kernel that are made of them.

No rule looks at the words of evidence, only at whether there are any. Kernels whose evidence differs only in their
names have the same verdicts, in which those names replace the marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from tailcall_audit.analyzer.model import Disagreement, Evidence, Verdict

__all__ = ["Template", "Templates"]

_Words = Sequence[str]


class _Slot(NamedTuple):
    """A text with marks: the place of its field, and each mark with the place of the word that it stands for."""

    field: int
    text: str
    marks: tuple[tuple[str, int], ...]


def _fill(values: list[Any], slots: Iterable[_Slot], words: _Words) -> None:
    """Writes the texts of the slots, with the words in place of the marks, into the fields."""
    for field, marked, marks in slots:
        text = marked
        for mark, place in marks:
            text = text.replace(mark, words[place])
        values[field] = text


class _Statement(NamedTuple):
    """A piece of evidence with marks in some of its texts."""

    item: Evidence
    slots: tuple[_Slot, ...]

    def of(self, words: _Words) -> Evidence:
        values = list(self.item)
        _fill(values, self.slots, words)
        return tuple.__new__(Evidence, values)  # half the time of _make()


class _Answer(NamedTuple):
    """A verdict with marks in it or in its evidence, and what picks its evidence from all evidence of the template.

    The fields of the slots of `disagreements` are their places.
    """

    item: Verdict
    slots: tuple[_Slot, ...]
    evidence: Callable[[Sequence[Evidence]], tuple[Evidence, ...]]
    disagreements: tuple[_Slot, ...]

    def of(self, words: _Words, evidence: Sequence[Evidence]) -> Verdict:
        values = list(self.item)
        _fill(values, self.slots, words)
        values[_EVIDENCE] = self.evidence(evidence)
        if self.disagreements:
            texts = [entry.text for entry in self.item.disagreements]
            _fill(texts, self.disagreements, words)
            pairs = zip(self.item.disagreements, texts, strict=True)
            values[_DISAGREEMENTS] = tuple(Disagreement(entry.commit, text) for entry, text in pairs)
        return tuple.__new__(Verdict, values)


_TEXTS = tuple(Evidence._fields.index(name) for name in ("citation", "detail", "settle"))
_OWN_TEXTS = tuple(Verdict._fields.index(name) for name in ("reason", "settle"))
_EVIDENCE, _DISAGREEMENTS = (Verdict._fields.index(name) for name in ("evidence", "disagreements"))


class _Made(NamedTuple):
    """A verdict on which marks were looked for: the slots of its texts, and its evidence."""

    item: Verdict
    evidence: tuple[Evidence | _Statement, ...]
    slots: tuple[_Slot, ...]
    disagreements: tuple[_Slot, ...]
    is_marked: bool


class Template(NamedTuple):
    """The verdicts on all kernels with the same evidence. A verdict without marks is one object for all of them."""

    statements: tuple[Evidence | _Statement, ...]
    answers: tuple[Verdict | _Answer, ...]

    def of(self, words: _Words) -> tuple[Verdict, ...]:
        """Returns the verdicts on a kernel with these words."""
        evidence = [item if isinstance(item, Evidence) else item.of(words) for item in self.statements]
        return tuple([item if isinstance(item, Verdict) else item.of(words, evidence) for item in self.answers])


class Templates:
    """Makes templates. `mark` is what each mark begins with; a digit follows, the place of the word.

    Evidence and verdicts that templates share are looked at once.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._marks = tuple((f"{mark}{place}", place) for place in range(10))
        self._statements: dict[int, tuple[Evidence, Evidence | _Statement]] = {}
        """Statements by the id() of their evidence. The evidence is kept, so that no other object gets the same id()."""
        self._verdicts: dict[int, _Made] = {}

    def template(self, verdicts: Iterable[Verdict]) -> Template:
        """Returns the template of the verdicts on one kernel whose words are marks."""
        places: dict[int, int] = {}
        statements: list[Evidence | _Statement] = []
        answers: list[Verdict | _Answer] = []
        for item in verdicts:
            made = self._made(item)
            if not made.is_marked:
                answers.append(item)
                continue
            for entry in made.evidence:
                if id(entry) not in places:
                    places[id(entry)] = len(statements)
                    statements.append(entry)
            pick = _picker([places[id(entry)] for entry in made.evidence])
            answers.append(_Answer(item, made.slots, pick, made.disagreements))
        return Template(tuple(statements), tuple(answers))

    def _made(self, item: Verdict) -> _Made:
        known = self._verdicts.get(id(item))
        if known is None:
            evidence = tuple(self._statement(entry) for entry in item.evidence)
            slots = self._slots(zip(_OWN_TEXTS, (item.reason, item.settle), strict=True))
            disagreements = self._slots((place, entry.text) for place, entry in enumerate(item.disagreements))
            marked = bool(slots or disagreements) or any(isinstance(entry, _Statement) for entry in evidence)
            known = self._verdicts[id(item)] = _Made(item, evidence, slots, disagreements, marked)
        return known

    def _slots(self, texts: Iterable[tuple[int, str | None]]) -> tuple[_Slot, ...]:
        """Returns the slots of the texts that have marks, from each text and the place of its field."""
        found = []
        for field, text in texts:
            if text is not None and self._mark in text:
                there = tuple((mark, place) for mark, place in self._marks if mark in text)
                found.append(_Slot(field, text, there))
        return tuple(found)

    def _statement(self, item: Evidence) -> Evidence | _Statement:
        known = self._statements.get(id(item))
        if known is None:
            slots = self._slots(zip(_TEXTS, (item.citation, item.detail, item.settle), strict=True))
            known = self._statements[id(item)] = (item, _Statement(item, slots) if slots else item)
        return known[1]


def _picker(places: Sequence[int]) -> Callable[[Sequence[Evidence]], tuple[Evidence, ...]]:
    """Returns a function that picks the evidence at these places."""
    if len(places) > 1:
        pick: Callable[[Sequence[Evidence]], tuple[Evidence, ...]] = itemgetter(*places)
        return pick
    return lambda evidence: tuple([evidence[place] for place in places])
