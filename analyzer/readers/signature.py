"""Matches the forms of a signature on the tokens of definitions, over everything that the compiler may see.

A fragment holds *surely* if every text of a definition has it, and *maybe* if one has it. A form is proven only if its
fragments hold surely and no fragment of the other form may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.cconstant import condition_value
from tailcall_audit.analyzer.kernelfiles.conditionals import Assumptions
from tailcall_audit.analyzer.kernelfiles.cscope import Scope
from tailcall_audit.analyzer.kernelfiles.csource import CSource
from tailcall_audit.analyzer.kernelfiles.ctokens import join_tokens, tokenize

__all__ = ["Forms", "Unit", "in_words", "match_forms", "standing_macro", "units"]

_TIMES = re.compile(r"([2-9])x ")
""""2x name (": at least twice in one definition."""
_KEYWORDS = frozenset(b"if else for while do switch case return goto break continue struct static inline".split())


@dataclass(frozen=True)
class Unit:
    """One name and the token streams that it may have: of several definitions or branches, one each.

    `main` marks the definition that the signature names, as against what it calls and the macros that it uses. `calls`
    are the names that it calls.
    """

    name: str
    streams: tuple[bytes, ...]
    main: bool
    calls: frozenset[str] = frozenset()


class Forms(NamedTuple):
    """The alternatives of a signature that surely hold, and those that may hold, by their index in the list."""

    sure: frozenset[int]
    maybe: frozenset[int]


def is_negated(fragment: str) -> bool:
    """Returns True if a fragment must not occur. "!" is also C's own operator: "! cookie" with a space is code, "!name"
    negates.
    """
    return fragment.startswith("!") and not fragment.startswith(("! ", "!="))


def is_body(fragment: str) -> bool:
    """Returns True if a fragment is the whole body of a function: "{ return x ; }"."""
    return fragment.startswith("{") and fragment.endswith("}")


@lru_cache(maxsize=4096)
def _needle(text: str) -> bytes:
    """Returns the tokens of a fragment as one string. The catalogue's own fragments are looked for in every tree."""
    return join_tokens(tokenize(text.encode()))


def _occurs(needle: bytes, stream: bytes, least: int) -> bool:
    if least == 1:
        return needle in stream
    # The separator between two tokens belongs to both neighbours.
    return stream.replace(b"\0", b"\0\0").count(needle.replace(b"\0", b"\0\0")[1:-1]) >= least


def _fragment(fragment: str, unit_list: Sequence[Unit]) -> tuple[bool, bool]:
    """Returns two truths about a fragment: it surely holds; it may hold."""
    if is_body(fragment):
        needle = _needle(fragment)
        hits = [stream.endswith(needle) for unit in unit_list if unit.main for stream in unit.streams]
        return bool(hits) and all(hits), any(hits)
    text = fragment.removeprefix("!") if is_negated(fragment) else fragment
    counted = _TIMES.match(text)
    least, text = (int(counted.group(1)), text[counted.end() :]) if counted is not None else (1, text)
    needle = _needle(text)
    found = [[_occurs(needle, stream, least) for stream in unit.streams] for unit in unit_list]
    surely, maybe = any(all(hits) for hits in found if hits), any(any(hits) for hits in found)
    return (not maybe, not surely) if is_negated(fragment) else (surely, maybe)


def match_forms(alternatives: Sequence[Sequence[str]], unit_list: Sequence[Unit]) -> Forms:
    """Returns which alternatives hold; each is a list of fragments that must all hold."""
    sure, maybe = set(), set()
    for index, fragments in enumerate(alternatives):
        answers = [_fragment(fragment, unit_list) for fragment in fragments]
        if all(answer[0] for answer in answers):
            sure.add(index)
        if all(answer[1] for answer in answers):
            maybe.add(index)
    return Forms(frozenset(sure), frozenset(maybe))


def in_words(alternative: Sequence[str]) -> str:
    """Returns what an alternative asks for: "has bpf_prog_get (, no is_extended"."""
    words = [f"no {fragment[1:]}" if is_negated(fragment) else f"has {fragment}" for fragment in alternative]
    return ", ".join(sorted(words))


def _streams(scopes: Iterable[Scope]) -> tuple[bytes, ...]:
    found = [text for scope in scopes for text in scope.joined]
    # If there are more conditionals than can be tried, a fragment may hold.
    if any(not scope.certain or scope.texts is None for scope in scopes):
        found.append(b"")
    return tuple(dict.fromkeys(found))


def units(source: CSource, scope: Scope, follow: bool, assumptions: Assumptions) -> tuple[list[Unit], str | None]:
    """Returns a definition, what it calls in the same file (with `follow`) and the file's macros that it uses.

    The second value says why one of them cannot be read, or is None.
    """
    members: dict[str, list[Scope]] = {scope.name: [scope]}
    if follow:
        for callee in source.with_callees(scope, assumptions):
            if callee.name != scope.name:
                members[callee.name] = source.functions(callee.name, assumptions)
    odd = next((item.oddity for scopes in members.values() for item in scopes if item.oddity), None)
    found = [
        Unit(
            name,
            scope.joined if name == scope.name else _streams(scopes),
            name == scope.name,
            frozenset(call for item in scopes for call in item.calls),
        )
        for name, scopes in members.items()
    ]
    tokens = frozenset().union(*(item.words for scopes in members.values() for item in scopes))
    found += [
        Unit(name, tuple(join_tokens(body) for body in bodies), False)
        for name, bodies in source.macro_bodies(tokens, assumptions).items()
    ]
    return found, odd


def standing_macro(source: CSource, name: str, form: Sequence[str], assumptions: Assumptions) -> str | None:
    """Returns a macro of a file that may replace a function or a word of a form before the compiler sees it, or None.

    Names in capitals are macros in the kernel's own code too; they count only if they are zero or have two values.
    """
    words = {token for fragment in form if not is_negated(fragment) for token in tokenize(fragment.encode())}
    for word in sorted({name.encode(), *words, *_KEYWORDS}):
        key = word.decode("ascii", "replace")
        live = source.live_macros(key, assumptions) if key in source.macros else []
        if not live:
            continue
        bodies = {tuple(tokenize(macro.body)) for macro in live}
        if (
            key != key.upper()
            or len(bodies) > 1
            or key in source.undefined
            or condition_value(live[0].body, _unnamed) is False
        ):
            return key
    return None


def _unnamed(_: str) -> bool | None:
    return None
