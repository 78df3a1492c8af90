"""Findings as the facts make them."""

from __future__ import annotations

from collections.abc import Iterable

from tailcall_audit.analyzer.exposure.types import Finding, Place, State

__all__ = ["AT_LOAD_TIME", "met", "not_met", "possible", "seen", "strongest"]

AT_LOAD_TIME = "the verifier may remove it: it is behind a value that is constant at load time"
_SET_AT_LOAD = "bpftool prog dump xlated on the loaded program shows whether it is left"


def met(reason: str, *where: Place, chain: tuple[str, ...] = ()) -> Finding:
    """The program does it."""
    return Finding(State.MET, reason, where, chain)


def possible(reason: str, *where: Place, settle: str | None = None, chain: tuple[str, ...] = ()) -> Finding:
    """The program may do it, or take part in it."""
    return Finding(State.POSSIBLE, reason, where, chain, settle)


def not_met(reason: str) -> Finding:
    """The program does not do it, and nothing can make it."""
    return Finding(State.NOT_MET, reason)


def seen(state: State, reason: str, *where: Place, chain: tuple[str, ...] = ()) -> Finding:
    """What is in the code, as surely as the verifier keeps it."""
    if state is State.POSSIBLE:
        return Finding(state, f"{reason}; {AT_LOAD_TIME}", where, chain, _SET_AT_LOAD)
    return Finding(state, reason, where, chain)


def strongest(findings: Iterable[Finding], otherwise: str) -> Finding:
    """Returns what is surest, with every place of that kind; not met, for the reason `otherwise`, where there is
    nothing.
    """
    found = list(findings)
    state = max((item.state for item in found), default=State.NOT_MET)
    best = [item for item in found if item.state is state]
    if not best:
        return not_met(otherwise)
    where = tuple(dict.fromkeys(place for item in best for place in item.where))
    first = max(best, key=lambda item: len(item.chain))
    return first._replace(where=where)
