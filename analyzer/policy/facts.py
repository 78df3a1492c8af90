"""What is known of one target: the evidence by commit, and what was decided before for targets with the same evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.evidence import OptionSeen
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Verdict
from tailcall_audit.analyzer.policy.weigh import Weighed, weigh

if TYPE_CHECKING:
    from tailcall_audit.analyzer.policy.shapes import Shaped, Shapes

__all__ = ["MEMORY", "Facts", "both_ways"]

_MOST_SEEN = 50_000
"""Different pieces of evidence that are kept: a thousand kernels have some ten thousand."""


class _Numbers:
    """Numbers evidence: equal pieces have equal numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Evidence, int] = {}
        self._by_identity: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, item: Evidence) -> int:
        """Returns the number of a piece of evidence; a new one gets the next number."""
        number = self._by_identity.get(id(item))
        if number is None:
            count = len(self._numbers)
            number = self._numbers.setdefault(item, count)
            if number == count:  # it is kept as a key, so no other piece gets its identity
                self._by_identity[id(item)] = number
        return number


class _Remembered:
    """Earlier decisions. The kernels of a fleet share most of their evidence, so that each case is decided once.

    Each piece of evidence has a number. The keys of `weighed` and `shaped` are the numbers of the evidence about one
    name, those of `verdicts` the numbers of all evidence that a defect depends on.
    """

    def __init__(self) -> None:
        self.numbers = _Numbers()
        self.weighed: dict[tuple[object, ...], tuple[list[Evidence], Weighed, Weighed]] = {}
        self.verdicts: dict[tuple[object, ...], tuple[Defect, tuple[Verdict, ...]]] = {}
        self.shaped: dict[tuple[str, tuple[int, ...]], Shaped] = {}
        self.picks: dict[str, tuple[Defect, Callable[[_Marks], object]]] = {}
        """Functions that pick the numbers that a defect depends on, by its name."""
        self.targets = 0
        """The number of targets that were judged. Shapes are worth their cost only for many."""

    @cached_property
    def shapes(self) -> Shapes:
        """The shapes of evidence so far. Their module is loaded only if there are many targets."""
        from tailcall_audit.analyzer.policy.shapes import Shapes

        return Shapes()


class _Memory:
    """Keeps the decisions that were made with one catalogue; forgets them all above `_MOST_SEEN`."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._known = _Remembered()

    def of(self, catalog: Catalog) -> _Remembered:
        if self._catalog is not catalog or len(self._known.numbers) > _MOST_SEEN:
            self._catalog, self._known = catalog, _Remembered()
        return self._known


MEMORY = _Memory()


class _Marks(dict[str, tuple[int, ...]]):
    """The numbers of the evidence about each commit and capability, which are made when they are first asked for."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def __missing__(self, name: str) -> tuple[int, ...]:
        found = self[name] = self._facts.numbered(name)
        return found


def _nothing(_: _Marks) -> tuple[int, ...]:
    return ()


class Facts:
    """What the readers saw of one target.

    `config_applies` is True if the configuration is of this kernel, so that options that are off can rule defects out.
    `live_patches` that are loaded, or of which nothing is known, leave no answer certain. `architecture` is None if it
    is not known. `newer_than` is the catalogue's newest mainline release if the target's release is later: a fix may
    have come since. `options` are those that the target's own functions show; one that contradicts the configuration is
    left out, and the configuration excludes nothing (`tailcall_audit.analyzer.policy.options`).
    """

    def __init__(
        self,
        evidence: Iterable[Evidence],
        architecture: str | None = None,
        config: KernelConfig | None = None,
        config_applies: bool = False,
        live_patches: LivePatches = LivePatches.NONE,
        newer_than: str | None = None,
        options: Iterable[OptionSeen] = (),
    ) -> None:
        self.architecture = architecture
        self.newer_than = newer_than
        self.config = config
        self.config_applies = config_applies
        self.options = {name: seen for seen in options for name in seen.options}
        self.live_patches = live_patches
        self._by_key: defaultdict[str, list[Evidence]] = defaultdict(list)
        self.every_mark = _Marks(self)
        self.known = _Remembered()
        """Earlier decisions with the same catalogue."""
        for item in evidence:
            self._by_key[item.commit].append(item)

    def marks_for(self, defect: Defect) -> object:
        """Returns the numbers of all evidence that a defect depends on."""
        known = self.known.picks.get(defect.slug)
        if known is None or known[0] is not defect:
            names = (*defect.commits, *defect.capabilities)
            pick: Callable[[_Marks], object] = itemgetter(*names) if names else _nothing
            known = self.known.picks[defect.slug] = (defect, pick)
        return known[1](self.every_mark)

    def marks(self, name: str) -> tuple[int, ...]:
        """Returns the numbers of the evidence about a commit or capability."""
        return self.every_mark[name]

    def numbered(self, name: str) -> tuple[int, ...]:
        """Numbers the evidence about a commit or capability."""
        number_of = self.known.numbers.of
        return tuple([number_of(item) for item in self._by_key.get(name, ())])

    def shaped(self, name: str) -> Shaped:
        """Returns the evidence about a commit or capability with its shape."""
        key = (name, self.marks(name))
        found = self.known.shaped.get(key)
        if found is None:
            found = self.known.shaped[key] = self.known.shapes.shaped(name, self._by_key.get(name, ()))
        return found

    def with_evidence(self, evidence: Iterable[Evidence]) -> Facts:
        """Returns other evidence about the same target, and remembers no decision."""
        known = (self.architecture, self.config, self.config_applies, self.live_patches, self.newer_than)
        return Facts(evidence, *known, dict.fromkeys(self.options.values()))

    def differs(self, name: str) -> bool:
        """Returns True if some evidence about a commit or capability holds for one architecture only."""
        return any(item.architecture is not None for item in self._by_key.get(name, ()))

    def about(self, key: str, architecture: str | None) -> list[Evidence]:
        """Returns the evidence about a commit or capability that holds for an architecture."""
        return [item for item in self._by_key.get(key, ()) if item.architecture in (None, architecture)]


def _proves_no_absence(item: Evidence) -> bool:
    """Returns True for evidence of absence that does not prove an introducing commit absent.

    A function that was run behaves the same if the defect was fixed and if it never came in. A build date may be that
    of the sources, which were patched afterwards: reproducible builds stamp so.
    """
    return item.kind in (EvidenceKind.EMULATION, EvidenceKind.BUILD_DATE) and item.presence is Presence.ABSENT


def _without_guess(item: Evidence, safe: Presence) -> Evidence:
    """Returns the statement. One that rests on an unverified release and would make a verdict safe (its presence is
    `safe`) becomes unknown.
    """
    if not item.guessed or item.presence is not safe:
        return item
    detail = f"{item.detail} (not verified)"
    return item._replace(presence=Presence.UNKNOWN, confidence=Confidence.LOW, detail=detail, unreadable=True)


def both_ways(
    facts: Facts, name: str, architecture: str | None, unproven: bool
) -> tuple[list[Evidence], Weighed, Weighed]:
    """Returns the evidence about a name, weighed as a fix and weighed as a commit that a defect needs."""
    key = (facts.marks(name), architecture if facts.differs(name) else None, unproven)
    found = facts.known.weighed.get(key)
    if found is None:
        items = facts.about(name, architecture)
        if unproven:
            items = [item._replace(guessed=True) for item in items]
        fixes = weigh([_without_guess(item, Presence.PRESENT) for item in items])
        needed = [item for item in items if not _proves_no_absence(item)]
        needs = weigh([_without_guess(item, Presence.ABSENT) for item in needed], Presence.ABSENT)
        found = facts.known.weighed[key] = (items, fixes, needs)
    return found
