"""Verdicts on kernels whose evidence differs in words only: they are decided once, and the words are filled in.

No rule looks at the words of evidence, only at whether there are any. The kernels of a fleet have mostly the same
evidence, with their own names in its words. Such evidence has one shape: marks take the places of its details,
citations and commands. A shape is judged once, and the words of each kernel replace the marks in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.model import Disagreement, Evidence, Verdict

__all__ = ["Shape", "Shaped", "Shapes"]

_MARK = "\0"
"""The character around a mark. A text that is marked has no other use of it, because all words of readers are marked."""


class Shape(NamedTuple):
    """The evidence about one name with marks in place of its words. `number` stands for it in keys."""

    number: int
    items: tuple[Evidence, ...]


class Shaped(NamedTuple):
    """The evidence about one name of one kernel: its shape, and the words that the marks stand for."""

    shape: Shape
    items: tuple[Evidence, ...]
    words: tuple[str, ...]


_Part = tuple[str, int] | str
"""A piece of a verdict's text: a name and the number of a mark, or a text of the verdict's own."""


class _Filled(NamedTuple):
    """A verdict on a shape, and how its texts and its evidence are made of a kernel's."""

    verdict: Verdict
    reason: tuple[_Part, ...]
    settle: tuple[_Part, ...] | None
    disagreements: tuple[tuple[str, tuple[_Part, ...]], ...]
    evidence: tuple[tuple[str, int, bool], ...]
    """The name, the place among its evidence, and True for evidence that counts as a guess for this defect."""

    def of(self, about: Mapping[str, Shaped]) -> Verdict:
        """Returns the verdict on a kernel with this evidence."""
        return self.verdict._replace(
            reason=_text(self.reason, about),
            settle=None if self.settle is None else _text(self.settle, about),
            disagreements=tuple(Disagreement(name, _text(parts, about)) for name, parts in self.disagreements),
            evidence=tuple(
                [
                    about[name].items[place]._replace(guessed=True) if guessed else about[name].items[place]
                    for name, place, guessed in self.evidence
                ]
            ),
        )


def _text(parts: Sequence[_Part], about: Mapping[str, Shaped]) -> str:
    return "".join([part if isinstance(part, str) else about[part[0]].words[part[1]] for part in parts])


def _parts(text: str) -> tuple[_Part, ...]:
    """Splits a text at its marks, ``\\0NAME\\0NUMBER\\0``."""
    pieces = text.split(_MARK)
    found: list[_Part] = []
    for start in range(0, len(pieces) - 1, 3):
        found += [pieces[start], (pieces[start + 1], int(pieces[start + 2]))]
    return tuple(part for part in (*found, pieces[-1]) if part)


def _filled(verdict: Verdict, about: Mapping[str, Shaped]) -> _Filled:
    places: dict[Evidence, tuple[str, int, bool]] = {}
    for name, shaped in about.items():
        for place, item in enumerate(shaped.shape.items):
            places.setdefault(item._replace(guessed=True), (name, place, not item.guessed))
    for name, shaped in about.items():
        places.update({item: (name, place, False) for place, item in reversed([*enumerate(shaped.shape.items)])})
    return _Filled(
        verdict,
        _parts(verdict.reason),
        None if verdict.settle is None else _parts(verdict.settle),
        tuple((item.commit, _parts(item.text)) for item in verdict.disagreements),
        tuple(places[item] for item in verdict.evidence),
    )


class Shapes:
    """The shapes that were seen with one catalogue, and the verdicts on them."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[Evidence, ...], Shape] = {}
        self._verdicts: dict[tuple[object, ...], tuple[Defect, tuple[_Filled, ...]]] = {}

    def shaped(self, name: str, items: Sequence[Evidence]) -> Shaped:
        """Returns the evidence about a name with its shape. Equal words have equal marks."""
        numbers: dict[str, int] = {}
        start = f"{_MARK}{name}{_MARK}"

        def mark(words: str) -> str:
            return words and f"{start}{numbers.setdefault(words, len(numbers))}{_MARK}"

        marked = tuple(
            [
                item._replace(
                    citation=mark(item.citation),
                    detail=mark(item.detail),
                    settle=item.settle and mark(item.settle),
                )
                for item in items
            ]
        )
        shape = self._shapes.get(marked)
        if shape is None:
            shape = self._shapes[marked] = Shape(len(self._shapes), marked)
        return Shaped(shape, tuple(items), tuple(numbers))

    def verdicts(
        self,
        defect: Defect,
        key: tuple[object, ...],
        about: Mapping[str, Shaped],
        judge: Callable[[list[Evidence]], tuple[Verdict, ...]],
    ) -> tuple[Verdict, ...]:
        """Returns the verdicts on a defect. `about` is the evidence about every name that it depends on, `key` all else
        that decides. `judge` is called with the evidence of a shape that was not seen before.
        """
        whole = (defect.slug, *key, *[shaped.shape.number for shaped in about.values()])
        known = self._verdicts.get(whole)
        if known is None or known[0] is not defect:
            judged = judge([item for shaped in about.values() for item in shaped.shape.items])
            known = self._verdicts[whole] = (defect, tuple(_filled(item, about) for item in judged))
        return tuple([item.of(about) for item in known[1]])
