"""Puts together what the boots of one guest reported: a result for each probe, or the reason why there is none.

An absence counts only if its boot ended in order, or by the defect of the probe that was running then. The kernel frees
what a probe made later than the probe's result, so an oops of one probe may fall into the next one, or come after the
last one. After any other end the probes that saw no defect run once more, in another boot; if that one ends badly as
well, they have no result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.console import ending, oops, panicked, why_not
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result

__all__ = ["Boot", "GuestRun", "Reported", "Results", "read_frames"]

_FACTS = ("jit", "btf", "lockdown", "jit_at_boot", "page_size")
"""Facts that a guest reports about its kernel: net.core.bpf_jit_enable, "1" if it has BTF, its lockdown, the setting of
the JIT that it booted with, and the bytes of a page.
"""
_STATES = (PRESENT, ABSENT, COULD_NOT_RUN)


class GuestRun(NamedTuple):
    """What a guest reported: the kernel's release, version and facts about it, each probe's result by slug, the
    consoles of its boots, and why it never began, if so. `seconds` is what the probes took in the last boot, `left`
    what they left behind in the kernel.
    """

    release: str
    version: str
    facts: dict[str, str]
    results: dict[str, Result]
    consoles: tuple[str, ...]
    failure: str | None
    boots: int
    seconds: float | None
    left: tuple[str, ...]


class Boot(NamedTuple):
    """The output of one boot: the fields of its frames, its console, what QEMU said, and after how many seconds of
    silence it was given up (None if it ended by itself).
    """

    frames: list[list[str]]
    console: str
    stderr: str
    silent_for: float | None


class Reported(NamedTuple):
    """The content of a boot's frames: the kernel, the results, the probe that was started last and has none, the one
    with the last result, and the end: the seconds that the probes took, and what they left in the kernel.
    """

    hello: list[str] | None
    results: dict[str, Result]
    started: str | None
    last: str | None
    end: tuple[float | None, tuple[str, ...]] | None
    error: str | None


def read_frames(frames: Sequence[Sequence[str]], known: set[str]) -> Reported:
    """Reads frames; skips those that are of no form that a guest of ours sends, or of a probe that was not asked for."""
    hello: list[str] | None = None
    results: dict[str, Result] = {}
    started: str | None = None
    last: str | None = None
    end: tuple[float | None, tuple[str, ...]] | None = None
    error: str | None = None
    for kind, *fields in frames:
        if kind == "hello" and len(fields) == 2 + len(_FACTS):
            hello = fields
        elif kind == "start" and len(fields) == 1 and fields[0] in known:
            started = fields[0]
        elif kind == "result" and len(fields) == 5 and fields[0] in known and fields[1] in _STATES:
            results[fields[0]] = Result(fields[1], fields[2], bool(fields[3]), fields[4])
            started, last = None, fields[0]
        elif kind == "end" and len(fields) == 2:
            seconds = float(fields[0]) if re.fullmatch(r"\d{1,6}\.\d{1,6}", fields[0], re.ASCII) else None
            end = seconds, tuple(name for name in fields[1].split(",") if name)
        elif kind == "error" and fields:
            error = f"the guest's first process failed: {fields[0]}"
    return Reported(hello, results, started, last, end, error)


class Results:
    """The results of one guest's boots. `waiting` are the probes to run in the next one, `failure` says why there is
    none.
    """

    def __init__(self, slugs: Sequence[str] | None) -> None:
        self._asked = {probe.slug: probe for probe in PROBES if slugs is None or probe.slug in slugs}
        self.waiting = list(self._asked.values())
        self.failure: str | None = None
        self._results: dict[str, Result] = {}
        self._doubted: set[str] = set()
        self._consoles: list[str] = []
        self._hello = ["", "", *("" for _ in _FACTS)]
        self._seconds: float | None = None
        self._left: tuple[str, ...] = ()

    def add(self, boot: Boot) -> None:
        """Adds the results of a boot."""
        self._consoles.append(boot.console)
        reported = read_frames(boot.frames, {probe.slug for probe in self.waiting})
        self.failure = reported.error
        if reported.hello is None:
            self.failure = self.failure or why_not(boot.console, boot.stderr, boot.silent_for)
        else:
            self._hello = reported.hello
            self._results |= reported.results
            self._add_end(boot, reported)
        self.waiting = [probe for probe in self.waiting if probe.slug not in self._results]
        if reported.end is not None:
            self._seconds, self._left = reported.end
            if any(probe.slug not in reported.results for probe in self.waiting):
                self.give_up("the guest did not report every probe")

    def _add_end(self, boot: Boot, reported: Reported) -> None:
        """Adds what the end of a boot shows about the probe that ran last, and about those before it."""
        if reported.started is not None:
            self._results[reported.started] = oops(self._asked[reported.started], boot.console, boot.silent_for)
            if self._results[reported.started].state == PRESENT or reported.error is not None:
                return
            when = f"in the middle of {reported.started}"
        elif reported.error is not None or (reported.end is not None and not panicked(boot.console)):
            return
        elif reported.last is None:
            self.give_up("the guest ended before its first probe")
            return
        else:
            when = "between two probes" if reported.end is None else "after the last probe"
            self._attribute(reported.last, boot)
        self._doubt(reported, f"{ending(boot.console, boot.silent_for)} {when}")

    def _attribute(self, slug: str, boot: Boot) -> None:
        """Takes an oops after a probe's result for its defect, if it is in that probe's own functions: no other probe
        was running.
        """
        later = oops(self._asked[slug], boot.console, boot.silent_for)
        if self._results[slug].state == ABSENT and later.state == PRESENT:
            self._results[slug] = later._replace(detail=f"{later.detail} (after the probe's result)")

    def _doubt(self, reported: Reported, ended: str) -> None:
        """Takes back the absences of a boot: the oops that ended it may come from what any of its probes made. Each
        probe gets a second boot, and has no result if that one is in doubt, too.
        """
        for slug in reported.results:
            if self._results[slug].state != ABSENT:
                continue
            if slug in self._doubted:
                detail = (
                    f"it saw no defect, but {ended}, in a second boot as well: what this probe made may be the cause"
                )
                self._results[slug] = Result(COULD_NOT_RUN, detail, False)
            else:
                self._doubted.add(slug)
                del self._results[slug]

    def give_up(self, reason: str) -> None:
        """Notes why no other boot follows, if nothing is noted yet."""
        self.failure = self.failure or reason

    def outcome(self) -> GuestRun:
        """Returns the results of all boots."""
        for probe in self.waiting:
            self._results[probe.slug] = Result(COULD_NOT_RUN, self.failure or "the guest did not run it", False)
        release, version, *facts = self._hello
        named = dict(zip(_FACTS, facts, strict=True)) if release else {}
        consoles = tuple(self._consoles)
        return GuestRun(
            release, version, named, self._results, consoles, self.failure, len(consoles), self._seconds, self._left
        )
