"""Lists the tail calls in one program's functions, and the calls that lead to them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.flow import Flow
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.programs.types import CallSite, Function, Program, Reach, TailCall

__all__ = ["Code", "Event", "Spot", "state_of"]


def state_of(reach: Reach) -> State:
    """Returns how sure it is that the verifier keeps an instruction."""
    return State.MET if reach is Reach.LIVE else State.POSSIBLE


def _leaving(function: Function) -> Iterator[tuple[str, Reach]]:
    """Yields the functions that a function calls, or passes to a helper as a callback."""
    yield from ((site.callee, site.reach) for site in function.calls)
    yield from ((site.callee, site.reach) for site in function.callbacks)


class Spot(NamedTuple):
    """A tail call and the function that it is in. `state` says how sure it is that it can be reached."""

    function: Function
    call: TailCall
    state: State


class Event(NamedTuple):
    """An instruction of a function where a tail call may happen: the tail call itself, or a call of a subprogram that
    makes one.
    """

    instruction: int
    callee: str | None
    state: State


class Code:
    """The functions of a program. Everything here is derived from the program alone."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.flow = Flow(program)
        self.functions = {function.name: function for function in program.functions}
        self.main = program.functions[0] if program.functions else None
        self.reached = self._reached()
        self._below: dict[str, frozenset[str]] = {}
        self.tail_calling = self._tail_calling()
        """Function name to how sure it is that the function, or one that it calls, makes a tail call. Functions that
        make none are left out.
        """

    def _reached(self) -> dict[str, State]:
        """Returns how sure it is that each function is called, by its name."""
        if self.main is None:
            return {}
        found = {self.main.name: State.MET}
        open_ends = [self.main.name]
        while open_ends:
            name = open_ends.pop()
            for callee, reach in _leaving(self.functions[name]):
                state = min(found[name], state_of(reach))
                if callee in self.functions and found.get(callee, State.NOT_MET) < state:
                    found[callee] = state
                    open_ends.append(callee)
        return found

    def _tail_calling(self) -> dict[str, State]:
        found = {
            name: max(state_of(call.reach) for call in function.tail_calls)
            for name, function in self.functions.items()
            if function.tail_calls
        }
        callers: dict[str, list[tuple[str, CallSite]]] = {}
        for name, function in self.functions.items():
            for site in function.calls:
                callers.setdefault(site.callee, []).append((name, site))
        open_ends = list(found)
        while open_ends:
            callee = open_ends.pop()
            for name, site in callers.get(callee, ()):
                state = min(found[callee], state_of(site.reach))
                if found.get(name, State.NOT_MET) < state:
                    found[name] = state
                    open_ends.append(name)
        return found

    def called(self) -> Iterator[tuple[Function, State]]:
        """Yields the functions that are called, the main program first, each with how sure the call is."""
        for function in self.program.functions:
            if function.name in self.reached:
                yield function, self.reached[function.name]

    def spots(self) -> tuple[Spot, ...]:
        """Returns every tail call that may be reached."""
        return self._spots

    @cached_property
    def _spots(self) -> tuple[Spot, ...]:
        return tuple(
            Spot(function, call, min(state, state_of(call.reach)))
            for function, state in self.called()
            for call in function.tail_calls
        )

    @cached_property
    def surest(self) -> State:
        """How sure it is that the program makes a tail call."""
        return max((spot.state for spot in self._spots), default=State.NOT_MET)

    @cached_property
    def kfuncs(self) -> frozenset[str]:
        """The kernel functions that the program calls, by their names."""
        calls = (call.kfunc for function in self.program.functions for call in function.helpers)
        return frozenset(name.partition("___")[0] for name in calls if name)

    def calls_of_tail_callers(self) -> Iterator[tuple[Function, CallSite, State]]:
        """Yields the calls of subprograms that make a tail call, directly or in a function that they call, each with
        the calling function.
        """
        for function, state in self.called():
            for site in function.calls:
                if site.callee in self.tail_calling:
                    yield function, site, min(state, state_of(site.reach), self.tail_calling[site.callee])

    def events(self, function: Function) -> Iterator[Event]:
        """Yields the instructions where a function may make a tail call, directly or in a subprogram."""
        for site in function.calls:
            if site.callee in self.tail_calling:
                yield Event(site.instruction, site.callee, min(state_of(site.reach), self.tail_calling[site.callee]))
        for call in function.tail_calls:
            yield Event(call.instruction, None, state_of(call.reach))

    def callbacks_that_tail_call(self, function: Function) -> Iterator[Event]:
        """Yields the instructions that pass on a callback that makes a tail call, directly or in a function that it
        calls. A helper may call the callback many times.
        """
        for site in function.callbacks:
            if site.callee in self.tail_calling:
                yield Event(site.instruction, site.callee, State.POSSIBLE)

    def below(self, name: str) -> frozenset[str]:
        """Returns the functions that a function may call, including itself. Callbacks are not followed."""
        if name not in self._below:
            self._below[name] = self._find_below(name)
        return self._below[name]

    def _find_below(self, name: str) -> frozenset[str]:
        seen: set[str] = set()
        open_ends = [name]
        while open_ends:
            found = open_ends.pop()
            if found in seen or found not in self.functions:
                continue
            seen.add(found)
            open_ends.extend(site.callee for site in self.functions[found].calls)
        return frozenset(seen)

    def path_to(self, name: str) -> tuple[str, ...]:
        """Returns the call path from the main program to a function, both included; empty if there is none."""
        return self._paths.get(name, ())

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        paths: dict[str, tuple[str, ...]] = {self.main.name: (self.main.name,)} if self.main is not None else {}
        open_ends = list(paths)
        for found in open_ends:
            for callee, _ in _leaving(self.functions[found]):
                if callee in self.functions and callee not in paths:
                    paths[callee] = (*paths[found], callee)
                    open_ends.append(callee)
        return paths
