"""Short constructors for findings."""

from __future__ import annotations

from collections.abc import Iterable

from tailcall_audit.analyzer.exposure.types import Finding, Place, State

__all__ = ["AT_LOAD_TIME", "met", "not_met", "possible", "seen", "strongest"]

AT_LOAD_TIME = "the verifier may remove it: it is behind a value that is constant at load time"
_SET_AT_LOAD = "bpftool prog dump xlated on the loaded program shows whether it is left"


def met(reason: str, *where: Place, chain: tuple[str, ...] = ()) -> Finding:
    """Returns the finding that the program meets the condition."""
    return Finding(State.MET, reason, where, chain)


def possible(reason: str, *where: Place, settle: str | None = None, chain: tuple[str, ...] = ()) -> Finding:
    """Returns the finding that the program may meet the condition, or may take part in meeting it."""
    return Finding(State.POSSIBLE, reason, where, chain, settle)


def not_met(reason: str) -> Finding:
    """Returns the finding that the program does not meet the condition and cannot be made to."""
    return Finding(State.NOT_MET, reason)


def seen(state: State, reason: str, *where: Place, chain: tuple[str, ...] = ()) -> Finding:
    """Returns a finding about an instruction. `state` says how sure it is that the verifier keeps that instruction."""
    if state is State.POSSIBLE:
        return Finding(state, f"{reason}; {AT_LOAD_TIME}", where, chain, _SET_AT_LOAD)
    return Finding(state, reason, where, chain)


def strongest(findings: Iterable[Finding], otherwise: str) -> Finding:
    """Returns the surest finding, with the places of all findings that are as sure. Without findings, returns not met
    with the reason `otherwise`.
    """
    found = list(findings)
    state = max((item.state for item in found), default=State.NOT_MET)
    best = [item for item in found if item.state is state]
    if not best:
        return not_met(otherwise)
    where = tuple(dict.fromkeys(place for item in best for place in item.where))
    first = max(best, key=lambda item: len(item.chain))
    return first._replace(where=where)
