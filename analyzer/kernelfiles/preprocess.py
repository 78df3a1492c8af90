"""The text of a C file as the compiler's first phases see it, with every conditional kept as alternatives.

Lines are spliced, comments are blanked, and ``#if`` groups are read as a tree. Nothing is included and no macro is
expanded. Line numbers stay the same, so that a citation names the right line. `pcpp` does more and takes 1.2 s for
verifier.c, which is more than the rest of an audit.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator
from functools import cached_property

from tailcall_audit.analyzer.kernelfiles.cconstant import Named
from tailcall_audit.analyzer.kernelfiles.clines import Directive, directives, splice, uncommented
from tailcall_audit.analyzer.kernelfiles.conditionals import Assumptions, Branch, Group, Macro, blank

__all__ = ["CText"]

_DEFINE = re.compile(rb"[ \t]*([A-Za-z_]\w*)(\([^)\n]*\))?")
_ODD = re.compile(rb"\bR\"|<%|%>|<:|%:|\?\?[=/'()!<>-]")
_ODD_PARTS = (b'R"', b"<%", b"%>", b"<:", b"%:", b"??")
"""Anything that `_ODD` and `_RAW_STRING` match contains one of these; looking for them first takes a tenth of the time.
"""
_RAW_STRING = re.compile(rb"\b(?:u8|[uUL])?R\"")
_ODD_PRAGMA = re.compile(rb"\s*(?:weak|redefine_extname|push_macro|pop_macro)\b|.*\bpoison\b")
_BLOCK = 1 << 13
_MAX_DIRECTIVES = 30_000
_MAX_NESTING = 60


class CText:
    """One C file after splicing and without comments. `oddities` has the reasons if the file cannot be followed."""

    def __init__(self, data: bytes) -> None:
        text = splice(data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n"))
        self.oddities: list[str] = []
        self.text, self.skeleton = uncommented(text)
        if any(part in text for part in _ODD_PARTS) and (_ODD.search(self.skeleton) or _RAW_STRING.search(self.text)):
            self.oddities.append("digraphs, trigraphs or raw strings")
        self.groups: list[Group] = []
        self.macros: dict[str, list[Macro]] = {}
        self.undefined: set[str] = set()
        self.includes: list[int] = []
        self._directives: list[tuple[int, int]] = []
        self._read_directives()

    def _read_directives(self) -> None:
        stack: list[Group] = []
        first = True
        guard: Group | None = None
        guard_name: list[bytes] = []
        for number, line in enumerate(directives(self.text)):
            if number >= _MAX_DIRECTIVES:
                self.oddities.append(f"more than {_MAX_DIRECTIVES} preprocessor lines")
                break
            word, rest = line.word, line.rest.strip()
            self._directives.append((line.start, line.end))
            if guard is not None and number == 1 and not (word == b"define" and rest.split()[:1] == guard_name):
                guard = None
            if word in (b"if", b"ifdef", b"ifndef"):
                self._open(stack, word, rest, line)
                if first and word == b"ifndef" and stack and not self.text[: line.start].strip():
                    guard, guard_name = stack[0], rest.split()[:1]
            elif word in (b"elif", b"elifdef", b"elifndef", b"else", b"endif"):
                self._next(stack, word, rest, line)
            else:
                self._other(line)
            first = False
        if stack:
            self.oddities.append("an #if without its #endif")
            for group in stack:
                group.end = group.branches[-1].end = len(self.text)
        if guard is not None and len(guard.branches) == 1 and not self.text[guard.end :].strip():
            guard.guard = True

    def _open(self, stack: list[Group], word: bytes, rest: bytes, line: Directive) -> None:
        if len(stack) >= _MAX_NESTING:
            self.oddities.append(f"conditionals nested more than {_MAX_NESTING} deep")
            return
        group = Group(line.start, stack[-1] if stack else None, [Branch(word, rest, line.end)])
        (stack[-1].branches[-1].groups if stack else self.groups).append(group)
        stack.append(group)

    def _next(self, stack: list[Group], word: bytes, rest: bytes, line: Directive) -> None:
        if not stack or (word != b"endif" and stack[-1].branches[-1].word == b"else"):
            self.oddities.append(f"an #{word.decode('ascii', 'replace')} without its #if")
            return
        group = stack[-1]
        group.branches[-1].end = line.start
        if word == b"endif":
            group.end = line.end
            stack.pop()
        else:
            group.branches.append(Branch(word, rest, line.end))

    def _other(self, line: Directive) -> None:
        word = line.word
        if word == b"define":
            head = _DEFINE.match(line.rest)
            if head is not None:
                name = head.group(1).decode("ascii", "replace")
                body = line.rest[head.end() :]
                macro = Macro(name, body, line.start, head.group(2) is not None)
                self.macros.setdefault(name, []).append(macro)
        elif word == b"undef":
            self.undefined.add(line.rest.strip().decode("ascii", "replace"))
        elif word in (b"include", b"include_next", b"import"):
            self.includes.append(line.start)
        elif word == b"pragma" and _ODD_PRAGMA.match(line.rest):
            self.oddities.append("a #pragma that changes names")

    @cached_property
    def own_names(self) -> frozenset[str]:
        """The names that the file defines or undefines."""
        return frozenset(self.macros) | frozenset(self.undefined)

    @cached_property
    def plain(self) -> bytes:
        """The text with its preprocessor lines blanked, of all branches."""
        return self._without_directives(0, len(self.text))

    def _without_directives(self, start: int, end: int) -> bytes:
        out = []
        position = start
        for index in range(bisect.bisect_left(self._directives, (start, 0)), len(self._directives)):
            left, right = self._directives[index]
            if left >= end:
                break
            out += [self.text[position:left], blank(self.text[left : min(right, end)])]
            position = min(right, end)
        out.append(self.text[position:end])
        return b"".join(out)

    def line(self, position: int) -> int:
        """Returns the line of a position, from 1."""
        block = position // _BLOCK
        return self._lines[block] + self.text.count(b"\n", block * _BLOCK, position) + 1

    @cached_property
    def _lines(self) -> list[int]:
        """The line breaks before each block of the text: a citation of every definition asks for its line."""
        starts = range(0, len(self.text) + 1, _BLOCK)
        return [0, *itertools.accumulate(self.text.count(b"\n", start, start + _BLOCK) for start in starts)]

    def _around(self, position: int) -> Iterator[tuple[Group, Branch | None]]:
        """Yields the conditionals around a position, outermost first, and the branch that holds it."""
        groups = self.groups
        while True:
            index = bisect.bisect_right(groups, position, key=lambda group: group.start) - 1
            if index < 0 or position >= groups[index].end:
                return
            group = groups[index]
            branch = next((item for item in group.branches if item.start <= position < item.end), None)
            yield group, branch
            if branch is None:
                return
            groups = branch.groups

    def compiled(self, position: int, assumptions: Assumptions) -> bool | None:
        """Returns True if the text at a position is compiled, False if it is not, None if that depends on something
        unknown.
        """
        named = assumptions.without(self.own_names).named
        answer: bool | None = True
        for group, branch in self._around(position):
            options = group.options(named)
            if branch not in options:
                return False
            if len(options) > 1:
                answer = None
        return answer

    def covered(self, positions: list[int], assumptions: Assumptions) -> bool:
        """Returns True if one of some positions is compiled, whatever the conditionals around them are."""
        named = assumptions.without(self.own_names).named

        def within(start: int, end: int, groups: list[Group]) -> bool:
            inner = [group for group in groups if any(group.start <= item < group.end for item in positions)]
            if any(
                start <= item < end and not any(group.start <= item < group.end for group in inner)
                for item in positions
            ):
                return True
            return any(
                all(
                    branch is not None and within(branch.start, branch.end, branch.groups)
                    for branch in group.options(named)
                )
                for group in inner
            )

        return within(0, len(self.text), self.groups)

    def groups_within(self, start: int, end: int) -> list[Group]:
        """Returns the outermost conditionals that are completely between two positions of one branch."""
        groups = self.groups
        for _, branch in self._around(start):
            if branch is None:
                break
            groups = branch.groups
        first = bisect.bisect_left(groups, start, key=lambda group: group.start)
        last = bisect.bisect_left(groups, end, key=lambda group: group.start)
        return groups[first:last]

    def is_crossed(self, start: int, brace: int, end: int) -> bool:
        """Returns True if a conditional is partly in a definition and partly outside of it. `brace` is the start of the
        definition's body.
        """
        around = [branch for _, branch in self._around(brace) if branch is not None]
        return any(branch.end < end for branch in around) or any(
            group.end > end for group in self.groups_within(start, end)
        )

    def variants(self, start: int, end: int, assumptions: Assumptions, limit: int) -> list[bytes] | None:
        """Returns the texts that the compiler may see between two positions; None if they are more than `limit`."""
        named = assumptions.without(self.own_names).named
        return self._combined(start, end, self.groups_within(start, end), named, limit)

    def _combined(self, start: int, end: int, groups: list[Group], named: Named, limit: int) -> list[bytes] | None:
        texts = [b""]
        position = start
        for group in groups:
            head = self._without_directives(position, group.start)
            choices = self._of_group(group, named, limit)
            if choices is None or len(texts) * len(choices) > limit:
                return None
            texts = [text + head + choice for text in texts for choice in choices]
            position = group.end
        tail = self._without_directives(position, end)
        return [text + tail for text in texts]

    def _of_group(self, group: Group, named: Named, limit: int) -> list[bytes] | None:
        choices: list[bytes] = []
        for branch in group.options(named):
            if branch is None:
                choices.append(blank(self.text[group.start : group.end]))
                continue
            inner = self._combined(branch.start, branch.end, branch.groups, named, limit)
            if inner is None or len(choices) + len(inner) > limit:
                return None
            before, after = blank(self.text[group.start : branch.start]), blank(self.text[branch.end : group.end])
            choices += [before + text + after for text in inner]
        return choices
