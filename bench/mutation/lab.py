"""Fills the tables of the mutation lab: what guests show of mutants, and the verdicts of judges."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.mutation.frozen import Frozen, PatchedError, freeze
from bench.mutation.guest import boot_elf
from bench.mutation.judges import SLUGS, Judge
from bench.mutation.plan import plan, slugs_of
from bench.mutation.reach import matters
from bench.mutation.records import Key, Seen, Table
from bench.mutation.subject import Mutation, Subject
from tailcall_audit.analyzer.model import State
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, Result

__all__ = ["UNTOUCHED", "Lab", "Work"]

_ROOT = Path(__file__).resolve().parents[2]
UNCHANGED = "unchanged"
UNTOUCHED = "what is changed does not run"
"""The remark for a mutant that gets the results of the unchanged kernel."""
_PATCHED = "the kernel patches this place while it boots"
_ONE_IN = 20
"""One in this many of the mutants without a new defect is judged."""


class Work(NamedTuple):
    """The options of a run. `limit` is the most flips for each function. `functions` are the functions to change
    (empty: all that signatures read). `boots` is True if each mutant is booted. `patience` is the seconds that a booted
    guest may be silent. No mutant is started after `end`, a time of time.monotonic().
    """

    limit: int | None = None
    functions: tuple[str, ...] = ()
    boots: bool = False
    patience: float = 120.0
    end: float | None = None

    def is_over(self) -> bool:
        """Returns True if the time is up."""
        return self.end is not None and time.monotonic() > self.end


class _Mutant(NamedTuple):
    key: Key
    mutation: Mutation | None


def _seen(result: Result) -> Seen:
    if result.state == ABSENT and not result.conclusive:
        return Seen.UNREACHED
    return Seen(result.state)


def _states(results: Mapping[str, Result]) -> dict[str, Seen]:
    return {slug: _seen(results[slug]) if slug in results else Seen.NOT_ASKED for slug in SLUGS}


def _failure(results: Mapping[str, Result]) -> str:
    return next((result.detail for result in results.values() if result.state == COULD_NOT_RUN), "")


def _mutants(subject: Subject, work: Work) -> list[_Mutant]:
    release = subject.banner.removeprefix("Linux version ").partition(" ")[0]
    digest = hashlib.sha256(subject.elf).hexdigest()[:12]
    found = [_Mutant(Key(release, digest, "", "", UNCHANGED), None)]
    for item in plan(subject, work.limit, work.functions):
        found.append(_Mutant(Key(release, digest, item.function, f"{item.address:#x}", item.undoes), item))
    return found


def _by_probes(mutants: Sequence[_Mutant]) -> dict[tuple[str, ...], list[_Mutant]]:
    """Returns the mutants by the defects whose probes are to run: all defects for the unchanged kernel."""
    found: dict[tuple[str, ...], list[_Mutant]] = {}
    for mutant in mutants:
        slugs = SLUGS if mutant.mutation is None else slugs_of(mutant.mutation.function)
        found.setdefault(slugs, []).append(mutant)
    return found


class Lab:
    """Fills the tables in a folder. `booted` has the results of guests that were booted from the start, `frozen` of
    those that started from the frozen guest. A judge's table has the version of the tool in its name: an older tool's
    answers say nothing about this one.
    """

    def __init__(self, folder: Path, judges: Sequence[Judge], *, again: bool = False) -> None:
        self.booted = Table(folder / "guests.tsv", SLUGS, Seen)
        self.frozen = Table(folder / "frozen.tsv", SLUGS, Seen)
        self.verdicts: dict[str, Table[State]] = {}
        version = _version_of_tool() if judges else ""
        for judge in judges:
            path = folder / f"judge-{judge.name}-{version}.tsv"
            if again:
                path.unlink(missing_ok=True)
            self.verdicts[judge.name] = Table(path, SLUGS, State)
        self._judges = judges
        self._again = again

    def run(self, subject: Subject, work: Work) -> None:
        """Runs the mutants of a kernel that have no results yet, then lets the judges judge those that are worth it."""
        mutants = _mutants(subject, work)
        if not self._again:
            (self._boot if work.boots else self._thaw)(subject, work, mutants)
        for mutant in mutants:
            self._judge(subject, mutant, work)

    def _boot(self, subject: Subject, work: Work, mutants: Sequence[_Mutant]) -> None:
        for key, mutation in mutants:
            if key in self.booted.rows or work.is_over():
                continue
            elf = subject.elf if mutation is None else subject.mutant(mutation)

            def show(elf: bytes = elf, key: Key = key) -> Mapping[str, Result]:
                return boot_elf(elf, " ".join(key), SLUGS, work.patience).results

            _keep(self.booted, key, show)

    def _thaw(self, subject: Subject, work: Work, mutants: Sequence[_Mutant]) -> None:
        waiting = [mutant for mutant in mutants if mutant.key not in self.frozen.rows]
        names = {item.mutation.function.removesuffix(".part") for item in waiting if item.mutation is not None}
        functions = subject.functions(names)
        if not waiting or work.is_over():
            return
        with freeze(subject, SLUGS, tuple(functions.values())) as guest:
            to_run: list[tuple[tuple[str, ...], Key, Mutation]] = []
            for slugs, mutants_of_it in _by_probes(waiting).items():
                reached = guest.reached(functions.values(), slugs) if len(mutants_of_it) > 1 else frozenset()
                itself = guest.run((), slugs)
                for key, mutation in mutants_of_it:
                    if mutation is not None and matters(mutation, functions[mutation.function], reached):
                        to_run.append((slugs, key, mutation))
                    else:
                        self.frozen.add(key, _states(itself), UNTOUCHED if mutation else _failure(itself))
            for slugs, key, mutation in to_run:
                if work.is_over():
                    return
                self._run_one(guest, key, mutation, slugs)

    def _run_one(self, guest: Frozen, key: Key, mutation: Mutation, slugs: Sequence[str]) -> None:
        try:
            _keep(self.frozen, key, lambda: guest.run(mutation.edits, slugs))
        except PatchedError:
            self.frozen.add(key, dict.fromkeys(SLUGS, Seen.COULD_NOT_RUN), _PATCHED)

    def _judge(self, subject: Subject, mutant: _Mutant, work: Work) -> None:
        key, mutation = mutant
        shown = self.booted.rows.get(key) or self.frozen.rows.get(key)
        elf: bytes | None = None
        for judge in self._judges:
            table = self.verdicts[judge.name]
            if shown is None or key in table.rows or work.is_over() or not self._is_worth_judging(key, shown):
                continue
            if elf is None:
                elf = subject.elf if mutation is None else subject.mutant(mutation)
            table.add(key, judge.judge(elf, key.kernel))

    def _is_worth_judging(self, key: Key, shown: Mapping[str, Seen]) -> bool:
        if key.change == UNCHANGED or key in self.booted.rows:
            return True
        itself = self.frozen.rows.get(key._replace(function="", address="", change=UNCHANGED), {})
        has_new = any(
            shown[slug] is Seen.PRESENT and itself.get(slug) is not Seen.PRESENT for slug in slugs_of(key.function)
        )
        return has_new or int(hashlib.sha256("\0".join(key).encode()).hexdigest(), 16) % _ONE_IN == 0


def _version_of_tool() -> str:
    """Returns a digest of the analyzer's modules and of its facts."""
    digest = hashlib.sha256()
    for path in (*sorted((_ROOT / "analyzer").rglob("*.py")), _ROOT / "commits.json"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _keep(table: Table[Seen], key: Key, show: Callable[[], Mapping[str, Result]]) -> None:
    start = time.monotonic()
    results = show()
    found = _states(results)
    table.add(key, found, _failure(results))
    present = [slug for slug, state in found.items() if state is Seen.PRESENT]
    said = ", ".join(present) or _failure(results) or "no defect"
    print(f"{time.monotonic() - start:5.1f}s {' '.join(key[:1] + key[2:])}: {said[:150]}", flush=True)
