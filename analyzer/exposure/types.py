"""The result types: the answer for a fact or condition, for a program and for a set of programs."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "Exposed",
    "Exposure",
    "Finding",
    "Place",
    "ProgramState",
    "Refusal",
    "State",
    "all_of",
    "any_of",
    "opposite_of",
]


class State(IntEnum):
    """How far a condition is met. In an expression, "and" takes the least state and "or" the greatest."""

    NOT_MET = 0
    POSSIBLE = 1
    MET = 2

    @property
    def label(self) -> str:
        """The name that reports use."""
        return self.name.lower().replace("_", "-")

    @property
    def is_met(self) -> bool:
        """True if the condition is met."""
        return self is State.MET

    @property
    def is_possible(self) -> bool:
        """True if it is open whether the condition is met."""
        return self is State.POSSIBLE

    @property
    def refused(self) -> str:
        """The answer to "does a fix refuse it?": yes, possible or no."""
        return ("no", "possible", "yes")[self]


class Place(NamedTuple):
    """The place where a program meets a condition: file or host, program, function, instruction (an index) and source
    line ("prog.c:12"). Parts that do not apply are None.
    """

    object: str
    program: str
    function: str | None = None
    instruction: int | None = None
    line: str | None = None

    def __str__(self) -> str:
        function = f" {self.function}()" if self.function is not None else ""
        instruction = f", instruction {self.instruction}" if self.instruction is not None else ""
        line = f" ({self.line})" if self.line is not None else ""
        return f"{self.object}: {self.program}{function}{instruction}{line}"


class Finding(NamedTuple):
    """The answer of a fact or a condition for one program.

    `reason` is a sentence without its full stop, `chain` the steps of a loop ("entry calls sub", "sub tail-calls
    jmp[0], which is entry"), `settle` what would decide a "possible".
    """

    state: State
    reason: str
    where: tuple[Place, ...] = ()
    chain: tuple[str, ...] = ()
    settle: str | None = None


def _joined(state: State, parts: tuple[Finding, ...]) -> Finding:
    """Returns one finding with the reasons, places and steps of all parts, without duplicates."""
    reasons = tuple(dict.fromkeys(part.reason for part in parts))
    settles = tuple(dict.fromkeys(part.settle for part in parts if part.settle))
    return Finding(
        state,
        "; ".join(reasons),
        tuple(dict.fromkeys(place for part in parts for place in part.where)),
        max((part.chain for part in parts), key=len, default=()),
        "; ".join(settles) or None,
    )


def all_of(parts: tuple[Finding, ...]) -> Finding:
    """Returns the finding for "and": the least state, with the reasons that decide it. A "possible" also keeps the
    reasons that are met.
    """
    state = min(part.state for part in parts)
    if state is State.NOT_MET:
        return _joined(state, tuple(part for part in parts if part.state is state)[:1])
    return _joined(state, tuple(sorted(parts, key=lambda part: part.state)))


def any_of(parts: tuple[Finding, ...]) -> Finding:
    """Returns the finding for "or": the greatest state, with the reasons of the findings that have it."""
    state = max(part.state for part in parts)
    return _joined(state, tuple(part for part in parts if part.state is state))


def opposite_of(part: Finding) -> Finding:
    """Returns the negated finding: met becomes not-met and not-met becomes met; possible stays possible."""
    return part._replace(state=State(State.MET - part.state))


class ProgramState(NamedTuple):
    """The state of one program of the set."""

    object: str
    program: str
    state: State
    refused: State


class Refusal(NamedTuple):
    """A commit that makes the kernel refuse programs: what it changes, and the error and the verifier message to
    expect.

    `programs` says for each program, in order, how sure the refusal is.
    """

    commit: str
    what: str
    errno: str
    words: str | None
    finding: Finding
    programs: tuple[State, ...]


class Exposure(NamedTuple):
    """The exposure of the programs to one defect.

    `refusals` lists the refusals by its fixes, except those that are "no". `programs` has the state of each program.
    """

    defect: str
    finding: Finding
    refusals: tuple[Refusal, ...]
    programs: tuple[ProgramState, ...]

    @property
    def state(self) -> State:
        """The state of the set: the greatest state of its programs."""
        return self.finding.state

    @property
    def refused(self) -> State:
        """How sure it is that a fix of the defect makes the kernel refuse one of the programs."""
        return max((item.finding.state for item in self.refusals), default=State.NOT_MET)


class Exposed(NamedTuple):
    """What the programs mean for one verdict about a kernel.

    `hit`: the kernel has the defect and the programs meet it (None: perhaps). `refused`: how sure it is that this
    kernel refuses one of them because of a fix. `hits` and `refusals` have the same for each program, in order.
    `refusal` is the surest refusal on this kernel (None: there is none).
    """

    exposure: Exposure
    hit: bool | None
    refused: State
    hits: tuple[bool | None, ...]
    refusals: tuple[State, ...]
    refusal: Refusal | None = None
