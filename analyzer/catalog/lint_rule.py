"""The form of a rule of the linter: it finds doubtful facts in the catalogue's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.files import CatalogFiles
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.catalog.yaml_file import Place, YamlFile

__all__ = ["Checked", "Finding", "Rule", "registering"]


class Finding(NamedTuple):
    """What a rule has found: the file and the place in it, a detail that an acceptance can name, and the message."""

    file: YamlFile
    place: Place
    detail: str
    message: str


class Checked(NamedTuple):
    """The files that are checked, and the catalogue that is built from them."""

    files: CatalogFiles
    catalog: Catalog


Rule = Callable[[Checked], Iterator[Finding]]


def registering(rules: dict[str, Rule]) -> Callable[[str], Callable[[Rule], Rule]]:
    """Returns a decorator that adds a rule to `rules`, under the name of its complaint."""

    def named(name: str) -> Callable[[Rule], Rule]:
        def register(rule: Rule) -> Rule:
            rules[name] = rule
            return rule

        return register

    return named
