"""Registers the facts by name. `catalog/facts.yaml` describes each; a test checks that both have the same names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from tailcall_audit.analyzer.exposure.types import Finding
from tailcall_audit.analyzer.exposure.world import Member, World

__all__ = ["Matcher", "facts", "named"]

Matcher = Callable[[World, Member], Finding]
"""Returns how far a program meets a fact, by its own code and by what other programs, known or unknown, can add. The
program must take part in what is found.
"""
_FOUND: dict[str, Matcher] = {}


def named(name: str) -> Callable[[Matcher], Matcher]:
    """Registers a matcher under the name that conditions use."""

    def register(matcher: Matcher) -> Matcher:
        if name in _FOUND:
            raise ValueError(f"the fact {name!r} is registered twice")
        _FOUND[name] = matcher
        return matcher

    return register


@cache
def facts() -> dict[str, Matcher]:
    """Returns every matcher by its name. Loads all modules of this folder."""
    import tailcall_audit.analyzer.exposure.facts as package

    for entry in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{entry.name}")
    return dict(sorted(_FOUND.items()))
