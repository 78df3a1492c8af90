"""Makes claims of the builds of a series: which build has a commit first, and which lacks it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Distribution
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.readers.series import line_of
from tailcall_audit.analyzer.survey.types import Claim, Series, State, shortened
from tailcall_audit.analyzer.version import build_key

__all__ = ["Build", "claims_of", "only_fixes"]


class Build(NamedTuple):
    """One version of a series, and the state of every commit that its changelog decides. `reverted` are the commits that
    an entry takes back.
    """

    version: str
    states: dict[str, bool]
    sources: dict[str, str]
    reverted: frozenset[str]


def claims_of(
    series: Series, builds: Sequence[Build], distribution: Distribution, prefix: str, dated: Container[str]
) -> Iterator[Claim]:
    """Yields the claims about the builds of a series, line by line. A z-stream starts with the state of the main line
    at the point where it branches off. `dated` are the commits that are absent before the build that lists them first.
    """
    lines: dict[tuple[int, ...], list[Build]] = {}
    for build in sorted(builds, key=lambda item: build_key(item.version)):
        key = build_key(build.version)
        line = line_of(key, distribution.zero_is_main) if distribution.z_streams else ()
        lines.setdefault(line, []).append(build)
    for commit in dict.fromkeys(key for build in builds for key in build.states):
        for line, members in lines.items():
            before = _inherited(lines.get((), []), line, commit) if line else _UNKNOWN
            if before.there is None and commit in dated:
                yield from _before_it_was_listed(series, commit, members, prefix)
            yield from _line_claims(series, commit, members, before, prefix)


def _before_it_was_listed(series: Series, commit: str, builds: Sequence[Build], prefix: str) -> Iterator[Claim]:
    """Yields the claim that the builds before the one that lists a commit first lack it."""
    states = [build.states.get(commit) for build in builds]
    first = next((place for place, state in enumerate(states) if state is not None), 0)
    if first and states[first]:
        words = shortened(f"{prefix}entry {builds[first].version} lists it, and none before it that was read")
        yield Claim(commit, State.ABSENT_THROUGH, builds[first - 1].version, words, series=str(series))


class _State(NamedTuple):
    """A build's state of a commit: present, absent or not known, and True in `reverted` if an entry takes it back."""

    there: bool | None
    reverted: bool = False


_UNKNOWN = _State(None)


def _state(build: Build, commit: str) -> _State:
    return _State(build.states.get(commit), commit in build.reverted)


def _inherited(main: Sequence[Build], line: tuple[int, ...], commit: str) -> _State:
    """Returns the main line's state of a commit at the point where a z-stream branches off."""
    found = _UNKNOWN
    for build in main:
        if build_key(build.version) <= line:
            found = _state(build, commit)
    return found


def _line_claims(series: Series, commit: str, builds: Sequence[Build], before: _State, prefix: str) -> Iterator[Claim]:
    """Yields the claims about the builds of one line, whose state before the first of them is `before`.

    An entry that takes a commit back shows that earlier builds may have had it, listed or not: the base release may
    have brought it. Such an absence says nothing about earlier builds.
    """
    absent: Build | None = None
    for build in builds:
        state = _state(build, commit)
        begins = state.there is True and before.there is not True
        ends = state.there is False and (before.there is True or (state.reverted and not before.reverted))
        if begins or ends:
            if absent is not None:
                yield _absent_through(series, commit, absent, prefix)
            word = State.PRESENT_FROM if begins else State.REVERTED_IN
            yield Claim(commit, word, build.version, shortened(f"{prefix}{build.sources[commit]}"), series=str(series))
            absent = None
        elif state.there is None:
            absent = None
        elif not state.there and not state.reverted:
            absent = build
        before = state
    if absent is not None:
        yield _absent_through(series, commit, absent, prefix)


def _absent_through(series: Series, commit: str, build: Build, prefix: str) -> Claim:
    words = shortened(f"{prefix}{build.sources[commit]}")
    return Claim(commit, State.ABSENT_THROUGH, build.version, words, series=str(series))


def only_fixes(catalog: Catalog) -> frozenset[str]:
    """Returns the fixes that no defect needs to be reachable: their absence makes no kernel safe."""
    needed = {key for defect in catalog.defects for key in leaves(defect.reachable)}
    return frozenset(key for defect in catalog.defects for key in leaves(defect.fixed)) - needed
