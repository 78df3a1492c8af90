"""Preprocessor conditionals and macros of a C file, and the configuration options that an audit assumes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tailcall_audit.analyzer.kernelfiles.cconstant import Named, condition_value

__all__ = ["NO_ASSUMPTIONS", "Assumptions", "Branch", "Group", "Macro", "blank"]


def blank(text: bytes) -> bytes:
    """Returns blanks of the same length, with the same line breaks, so that positions stay valid."""
    return b"\n".join([b" " * len(line) for line in text.split(b"\n")])


@dataclass(frozen=True)
class Assumptions:
    """Configuration options (``CONFIG_X``) that an audit assumes to be set or not set, because the defect cannot be
    reached otherwise.
    """

    on: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()

    def without(self, names: frozenset[str]) -> Assumptions:
        """Returns the assumptions without the options that a file itself defines or undefines."""
        return Assumptions(self.on - names, self.off - names)

    def named(self, name: str) -> bool | None:
        """Returns True if a macro is defined, False if it is not, None if that is unknown."""
        return True if name in self.on else False if name in self.off else None


NO_ASSUMPTIONS = Assumptions()


@dataclass
class Branch:
    """One branch of a conditional: the text between two directives, and the condition as written."""

    word: bytes
    condition: bytes
    start: int
    end: int = -1
    groups: list[Group] = field(default_factory=list)


@dataclass
class Group:
    """A conditional from its ``#if`` to its ``#endif``. `guard` is True for the include guard of the file."""

    start: int
    parent: Group | None
    branches: list[Branch]
    end: int = -1
    guard: bool = False

    def options(self, named: Named) -> list[Branch | None]:
        """Returns the branches that may be compiled, and also None if possibly none of them is."""
        found: list[Branch | None] = []
        for branch in self.branches:
            value = self._value(branch, named)
            if value is not False:
                found.append(branch)
            if value is True:
                return found
        return [*found, None]

    def _value(self, branch: Branch, named: Named) -> bool | None:
        if branch.word == b"else" or self.guard:
            return True
        if branch.word in (b"if", b"elif"):
            return condition_value(branch.condition, named)
        name = re.match(rb"\w+", branch.condition)
        value = named(name.group().decode("ascii", "replace")) if name is not None else None
        return value if branch.word in (b"ifdef", b"elifdef") or value is None else not value


@dataclass(frozen=True)
class Macro:
    """A ``#define``: its name, body and position. `takes_parameters` is True for a function-like macro."""

    name: str
    body: bytes
    position: int
    takes_parameters: bool
