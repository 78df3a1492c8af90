"""The answers of exposure: of a fact about a program, of a condition, of a program and of a set of programs."""

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
    """How much of a condition is there. The order is that of an expression: "and" is the least, "or" the most."""

    NOT_MET = 0
    POSSIBLE = 1
    MET = 2

    @property
    def label(self) -> str:
        """The name that reports have."""
        return self.name.lower().replace("_", "-")

    @property
    def refused(self) -> str:
        """The answer to "does a fix refuse it?": yes, possible or no."""
        return ("no", "possible", "yes")[self]


class Place(NamedTuple):
    """Where a program does it: the file or host, the program, the function, the instruction (an index) and the source
    line ("prog.c:12"). None where it is not in one.
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
    """The answer of a fact or a condition about one program.

    `reason` is a sentence without its full stop, `chain` the steps that make a loop ("entry calls sub", "sub tail-calls
    jmp[0], which is entry"), `settle` what would decide a "possible".
    """

    state: State
    reason: str
    where: tuple[Place, ...] = ()
    chain: tuple[str, ...] = ()
    settle: str | None = None


def _joined(state: State, parts: tuple[Finding, ...]) -> Finding:
    """One finding that says what each of the parts says, each thing once."""
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
    """Returns the least of the findings, with the reasons of those that decide: a "possible" keeps what is met."""
    state = min(part.state for part in parts)
    if state is State.NOT_MET:
        return _joined(state, tuple(part for part in parts if part.state is state)[:1])
    return _joined(state, tuple(sorted(parts, key=lambda part: part.state)))


def any_of(parts: tuple[Finding, ...]) -> Finding:
    """Returns the most of the findings, with the reasons of those that have it."""
    state = max(part.state for part in parts)
    return _joined(state, tuple(part for part in parts if part.state is state))


def opposite_of(part: Finding) -> Finding:
    """Returns the opposite of a finding: met for not-met, and possible for possible."""
    return part._replace(state=State(State.MET - part.state))


class ProgramState(NamedTuple):
    """The state of one program of the set."""

    object: str
    program: str
    state: State
    refused: State


class Refusal(NamedTuple):
    """What a fix refuses, and the programs: the commit, what it changes, the error and the verifier's words to expect.

    `programs` has how sure it is of each program, in their order.
    """

    commit: str
    what: str
    errno: str
    words: str | None
    finding: Finding
    programs: tuple[State, ...]


class Exposure(NamedTuple):
    """What the programs do of what a defect needs.

    `refusals` are those of its fixes that are not "no", `programs` the state of each program.
    """

    defect: str
    finding: Finding
    refusals: tuple[Refusal, ...]
    programs: tuple[ProgramState, ...]

    @property
    def state(self) -> State:
        """The state of the set: the most of its programs."""
        return self.finding.state

    @property
    def refused(self) -> State:
        """How sure it is that a fix of it refuses one of the programs."""
        return max((item.finding.state for item in self.refusals), default=State.NOT_MET)


class Exposed(NamedTuple):
    """What programs mean for one verdict about a kernel.

    `hit`: the kernel has the defect and the programs meet it (None: perhaps). `refused`: how sure it is that this
    kernel refuses one of them, for a fix of the defect. `hits` and `refusals` say the same of each program, in their
    order.
    """

    exposure: Exposure
    hit: bool | None
    refused: State
    hits: tuple[bool | None, ...]
    refusals: tuple[State, ...]
