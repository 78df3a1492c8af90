"""C source as scopes of tokens: the definitions of functions, structs and macros that may be compiled.

Tokens are compared, so white space, comments and line breaks do not matter. Every definition of a name counts, in every
branch of a conditional that may be compiled. A definition with conditionals in it has several texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from functools import cached_property

from tailcall_audit.analyzer.kernelfiles.cdefinitions import (
    function_starts,
    occurrences,
    struct_starts,
    written_functions,
)
from tailcall_audit.analyzer.kernelfiles.conditionals import NO_ASSUMPTIONS, Assumptions, Group, Macro
from tailcall_audit.analyzer.kernelfiles.cscope import Scope
from tailcall_audit.analyzer.kernelfiles.ctokens import tokenize
from tailcall_audit.analyzer.kernelfiles.preprocess import CText

__all__ = ["CSource"]

_BRACE = re.compile(rb"[{}]")
_MAX_FOLLOW = 3
_MAX_CALLEES = 300
_MAX_DEFINITIONS = 24
_MAX_VARIANTS = 64
_MAX_BODY = 1 << 20


class CSource:
    """One C file. Broken code gives fewer scopes, or scopes with an `oddity`, never an exception."""

    def __init__(self, data: bytes) -> None:
        self._file = CText(data)
        self._cache: dict[tuple[str, bool, Assumptions], list[Scope]] = {}
        self._wholes: dict[tuple[bytes, ...], Scope] = {}

    @property
    def macros(self) -> dict[str, list[Macro]]:
        """The macros that the file defines, by name, including those in code that is never compiled."""
        return self._file.macros

    @property
    def undefined(self) -> set[str]:
        """The names that the file undefines."""
        return self._file.undefined

    @property
    def oddities(self) -> list[str]:
        """The reasons why the file cannot be followed."""
        return self._file.oddities

    def live_macros(self, name: str, assumptions: Assumptions = NO_ASSUMPTIONS) -> list[Macro]:
        """Returns the definitions of a macro that may be compiled."""
        return [
            macro
            for macro in self._file.macros.get(name, ())
            if self._file.compiled(macro.position, assumptions) is not False
        ]

    def mentions(self, name: str) -> bool:
        """Returns True if a name occurs in the code, in any branch."""
        return next(occurrences(self._file.skeleton, name.encode()), None) is not None

    def whole(self, assumptions: Assumptions = NO_ASSUMPTIONS) -> Scope:
        """Returns the whole file as one scope with two texts: without, and with, the branches that may be compiled.

        The assumptions seldom make a difference, and the tokens of a scope are kept with it.
        """
        text = self._file.text
        pieces = [b"", b""]
        for start, end, state in self._spans(assumptions):
            for index, wanted in ((0, (True,)), (1, (True, None))):
                pieces[index] += text[start:end] if state in wanted else b" ; "
        texts = tuple(dict.fromkeys(pieces))
        if texts not in self._wholes:
            self._wholes[texts] = Scope("", 1, text, texts, True, self._oddity())
        return self._wholes[texts]

    def _oddity(self) -> str | None:
        return self._file.oddities[0] if self._file.oddities else None

    def _spans(self, assumptions: Assumptions) -> Iterator[tuple[int, int, bool | None]]:
        """Yields the text in order, in pieces that are compiled (True), not compiled (False), or may be (None)."""
        named = assumptions.without(self._file.own_names).named

        def inside(
            start: int, end: int, groups: Sequence[Group], state: bool | None
        ) -> Iterator[tuple[int, int, bool | None]]:
            position = start
            for group in groups:
                yield position, group.start, state
                options = group.options(named)
                for branch in group.branches:
                    if branch in options:
                        yield from inside(branch.start, branch.end, branch.groups, state if len(options) == 1 else None)
                position = group.end
            yield position, end, state

        yield from inside(0, len(self._file.text), self._file.groups, True)

    def functions(self, name: str, assumptions: Assumptions = NO_ASSUMPTIONS) -> list[Scope]:
        """Returns the definitions of a function that may be compiled: one, or several under different conditions."""
        return self._definitions(name, False, assumptions)

    def structs(self, name: str, assumptions: Assumptions = NO_ASSUMPTIONS) -> list[Scope]:
        """Returns the definitions of a struct that may be compiled."""
        return self._definitions(name, True, assumptions)

    def _definitions(self, name: str, is_struct: bool, assumptions: Assumptions) -> list[Scope]:
        key = name, is_struct, assumptions
        if key not in self._cache:
            starts = list((struct_starts if is_struct else function_starts)(self._file.skeleton, name))
            self._cache[key] = [
                scope
                for start, brace in starts[:_MAX_DEFINITIONS]
                if (scope := self._scope(name, start, brace, not is_struct, assumptions)) is not None
            ]
            if len(starts) > _MAX_DEFINITIONS:
                odd = f"more than {_MAX_DEFINITIONS} definitions"
                self._cache[key].append(Scope(name, 1, b"", None, False, odd))
        return self._cache[key]

    def _scope(self, name: str, start: int, brace: int, is_function: bool, assumptions: Assumptions) -> Scope | None:
        compiled = self._file.compiled(start, assumptions)
        if compiled is False:
            return None
        line = self._file.line(start)
        if brace < 0:
            return Scope(name, line, b"", None, False, "a definition of the oldest style, or too many calls to look at")
        end = self._end(brace, assumptions)
        if end < 0:
            return Scope(name, line, b"", None, False, "a body whose braces do not match")
        oddity = self._oddity()
        if any(start <= position < end for position in self._file.includes):
            oddity = oddity or "an #include in its body"
        if self._file.is_crossed(start, brace, end):
            oddity = oddity or "a conditional that is partly in its body and partly outside of it"
        texts = self._file.variants(start, end, assumptions, _MAX_VARIANTS)
        shown = self._file.text[start:end]
        return Scope(
            name, line, shown, None if texts is None else tuple(texts), compiled is True, oddity, is_function, start
        )

    def _end(self, brace: int, assumptions: Assumptions) -> int:
        """Returns the end of a body, by its braces; in a conditional, the first branch that may be compiled counts."""
        text = self._file.skeleton
        skipped = self._skipped(brace, assumptions)
        depth = 0
        for match in _BRACE.finditer(text, brace, min(len(text), brace + _MAX_BODY)):
            position = match.start()
            while skipped and skipped[-1][1] <= position:
                skipped.pop()
            if skipped and skipped[-1][0] <= position:
                continue
            depth += 1 if match.group() == b"{" else -1
            if depth == 0:
                return position + 1
        return -1

    def _skipped(self, brace: int, assumptions: Assumptions) -> list[tuple[int, int]]:
        """Returns the branches behind a brace that do not count for its end, last first."""
        named = assumptions.without(self._file.own_names).named
        found: list[tuple[int, int]] = []
        limit = min(len(self._file.text), brace + _MAX_BODY)
        stack = list(self._file.groups_within(brace, limit))
        while stack:
            group = stack.pop()
            options = [branch for branch in group.options(named) if branch is not None][:1]
            for branch in group.branches:
                if branch in options:
                    stack += branch.groups
                else:
                    found.append((branch.start, branch.end))
        return sorted(found, reverse=True)

    @cached_property
    def _written(self) -> set[str]:
        return written_functions(self._file.skeleton)

    def always_defined(self, scopes: list[Scope], assumptions: Assumptions = NO_ASSUMPTIONS) -> bool:
        """Returns True if one of these definitions is compiled, whatever the conditionals around them are."""
        if any(scope.certain for scope in scopes):
            return True
        return self._file.covered([scope.position for scope in scopes], assumptions)

    def with_callees(self, scope: Scope, assumptions: Assumptions = NO_ASSUMPTIONS) -> list[Scope]:
        """Returns a scope and the functions of the same file that it calls, up to three calls deep."""
        found = {scope.name: scope}
        edge = [scope]
        for _ in range(_MAX_FOLLOW):
            names = sorted(
                {name for item in edge for name in item.calls if name not in found and name in self._written}
            )[:_MAX_CALLEES]
            edge = [callee for name in names for callee in self.functions(name, assumptions)]
            found.update((callee.name, callee) for callee in edge)
        return list(found.values())

    def macro_bodies(
        self, tokens: Set[bytes], assumptions: Assumptions = NO_ASSUMPTIONS
    ) -> dict[str, list[list[bytes]]]:
        """Returns the bodies, as tokens, of the file's own macros that are used among `tokens`, and of those that they
        use.

        A macro that is defined in several branches has several; one that may not be defined has an empty one too.
        """
        found: dict[str, list[list[bytes]]] = {}
        macros = {name.encode() for name in self._file.macros}
        edge = set(tokens)
        for _ in range(_MAX_FOLLOW):
            names = {token.decode() for token in edge & macros}
            edge = set()
            for name in sorted(names - found.keys()):
                live = self.live_macros(name, assumptions)
                bodies = [tokenize(macro.body) for macro in live]
                edge |= {token for body in bodies for token in body}
                if not any(self._file.compiled(macro.position, assumptions) for macro in live):
                    bodies.append([])
                found[name] = bodies
        return found
