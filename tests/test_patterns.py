"""No regular expression of this project takes time that explodes with its input: decided by its parse tree, not by a
clock.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import parse_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.window import window_of
from tailcall_audit.analyzer.version import parse_version
from tests.ambiguity import Growth, growth

ROOT = Path(__file__).parents[1]
MATCHES = frozenset(("match", "fullmatch"))
USES = frozenset(("search", "finditer", "findall", "sub", "subn", "split")) | MATCHES

# What the criterion finds and the text that is read, or an anchor that it does not know, rules out.
ACCEPTED = {
    "analyzer.catalog.docs._MARKED": "reads the project's own documents",
    "analyzer.kernelfiles.changelog.rpm._DASHED": "reads the last 200 letters of a line",
    "analyzer.kernelfiles.ctokens._TOKEN": "a comment ends with the file at the latest, so that it never fails",
    "analyzer.kernelfiles.cdefinitions._WRITTEN": "a name is begun at its boundary",
    "analyzer.kernelfiles.deb._FIELD": "never fails behind the colon: a field ends at the end of a line",
    "analyzer.kernelfiles.clines._COMMENT_OR_TEXT": "a comment or a text ends with the file or the line at the latest",
    "analyzer.kernelfiles.release.build_string._UPLOAD": "reads a word, at whose end it succeeds",
    "analyzer.kernelfiles.release.package_release._EPOCH": "is searched only where it is at the start",
    "analyzer.plan.lacks._NO_CODE": "blanks are read from the start of a line, and a text ends with its line at the latest",
    "analyzer.plan.lacks._USED": "a name is begun at its boundary",
    "analyzer.readers.messages._REFERENCES": "starts behind a letter only: blanks are read once",
    "analyzer.subjects.host._BUILD": "reads a line of at most 512 letters, and one of this host",
    "analyzer.readers.messages._HEADER": "reads a line, at whose end it succeeds",
}


CATALOG = "catalog/distributions/"
"""Its patterns read release strings, of at most 1,024 letters (`analyzer/kernelfiles/release/parse.py`), and words of
packages.
"""


class Pattern(NamedTuple):
    """A pattern where it stands, and whether it is searched or has to match a whole text."""

    place: str
    expression: str | bytes
    flags: int
    searched: bool
    whole: bool

    def growth(self) -> Growth:
        return growth(self.expression, self.flags, searched=self.searched, whole=self.whole)


def _uses(place: str, pattern: re.Pattern[str] | re.Pattern[bytes], methods: set[str]) -> Iterator[Pattern]:
    for method in sorted(methods & USES) or ["search"]:
        yield Pattern(place, pattern.pattern, pattern.flags, method not in MATCHES, method == "fullmatch")


def _of_module(name: str, tree: ast.Module) -> Iterator[Pattern]:
    """The patterns at the top of a module by the methods that are called on them, and those written in a call."""
    methods: dict[str, set[str]] = {}
    module = importlib.import_module(f"tailcall_audit.{name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        methods.setdefault(ast.unparse(node.value), set()).add(node.attr)
    for title, value in vars(module).items():
        many = value if isinstance(value, tuple | list) else (value,)
        for item in many:
            for part in item if isinstance(item, tuple) else (item,):
                if isinstance(part, re.Pattern):
                    yield from _uses(f"{name}.{title}", part, methods.get(title, set()))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("re.") or not node.args:
            continue
        method, first = ast.unparse(node.func)[3:], node.args[0]
        if method not in USES or not isinstance(first, ast.Constant):
            continue
        value = first.value
        pattern = (
            re.compile(value) if isinstance(value, str) else re.compile(value) if isinstance(value, bytes) else None
        )
        if pattern is not None:
            yield from _uses(f"{name}:{node.lineno}", pattern, {method})


def _of_catalog() -> Iterator[Pattern]:
    for item in shipped_catalog().distributions:
        place = f"{CATALOG}{item.name}"
        for form in item.forms:
            yield Pattern(place, form.match, re.ASCII | re.IGNORECASE, False, True)
        for form in (*item.builds, *item.signatures):
            yield Pattern(place, form.match, re.ASCII, True, False)
        if item.uploads is not None:
            yield Pattern(place, item.uploads, re.ASCII, True, False)
        sources = () if item.changelog is None else item.changelog.sources
        published = () if item.published is None else [expression for expression, _ in item.published.sources]
        for expression in (*item.packages, *sources, *published):
            yield Pattern(place, expression, re.ASCII, False, True)
        for _, expression in item.config:
            yield Pattern(place, expression, re.ASCII, False, True)


def _all() -> list[Pattern]:
    found = list(_of_catalog())
    for path in sorted((*ROOT.glob("analyzer/**/*.py"), *ROOT.glob("probes/**/*.py"))):
        text = path.read_text()
        if "import re\n" in text:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found += _of_module(name, ast.parse(text))
    return found


def test_no_pattern_explodes_with_its_input() -> None:
    patterns = _all()
    assert len(patterns) > 250
    worst = {pattern: pattern.growth() for pattern in dict.fromkeys(patterns)}
    assert {pattern for pattern, found in worst.items() if found is Growth.EXPONENTIAL} == set()
    polynomial = {
        pattern.place: pattern.expression
        for pattern, found in worst.items()
        if found is Growth.POLYNOMIAL and not pattern.place.startswith(CATALOG)
    }
    assert {place: text for place, text in polynomial.items() if place not in ACCEPTED} == {}
    assert set(ACCEPTED) <= set(polynomial), "accepted and no longer found"


@pytest.mark.parametrize(
    ("expression", "searched", "expected"),
    [
        (r"(a*)*b", False, Growth.EXPONENTIAL),
        (r"(\w+\s?)+$", False, Growth.EXPONENTIAL),
        (r"(x+x+)+y", False, Growth.EXPONENTIAL),
        (r"(?:\s*a?)*b", False, Growth.EXPONENTIAL),
        (r"(?:ab|a|b)*c", False, Growth.EXPONENTIAL),
        (r"a*a*b", False, Growth.POLYNOMIAL),
        (r"x+x+y", False, Growth.POLYNOMIAL),
        (r"\s*a?\s*b", False, Growth.POLYNOMIAL),
        (r"\s+$", True, Growth.POLYNOMIAL),
        (r"a+b", True, Growth.POLYNOMIAL),
        (r"\[[^\]]*\]", True, Growth.POLYNOMIAL),
        (r"x(?=a*a*b)", False, Growth.POLYNOMIAL),
        (r"\s+$", False, Growth.LINEAR),
        (r"\s*+a?+\s*+b", False, Growth.LINEAR),
        (r"(?>a*)a*b", False, Growth.LINEAR),
        (r"\w+\s*.*", False, Growth.LINEAR),
        (r"(?:a|b)*c", False, Growth.LINEAR),
        (r"(?:-[a-z]+)*$", False, Growth.LINEAR),
        (r"\b\w+\(", True, Growth.LINEAR),
        (r"(?m)^[a-z]+=", True, Growth.LINEAR),
        (r"\d{1,4}\.\d{1,4}", True, Growth.LINEAR),
    ],
)
def test_the_criterion(expression: str, searched: bool, expected: Growth) -> None:
    assert growth(expression, searched=searched) is expected


def test_a_stable_release_of_any_number_is_not_counted_through() -> None:
    """A changelog of 400 bytes took 1.3 s and 200 MB: each stable release below 6.1.999999 was made, to say which are
    missing.
    """
    text = "".join(
        f"linux ({version}-1) unstable; urgency=low\n\n  * {words}\n\n -- A <a@b.c>  Fri, 08 May 2026 21:59:49 +0200\n\n"
        for version, words in (
            (
                "6.1.999999",
                "New upstream stable update:\n    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.3\n    - x",
            ),
            ("6.0.1", "x"),
        )
    )
    changelog = parse_changelog(text, "x", None)
    gap = window_of(changelog, changelog.entries, parse_version("6.1.999999")).gap
    assert gap == "it lists no subject of 6.1.1, 6.1.2, 6.1.4, 6.1.5, 6.1.6, 6.1.7 and 999992 more"
    few = window_of(changelog, changelog.entries, parse_version("6.1.4")).gap
    assert few == "it lists no subject of 6.1.1, 6.1.2, 6.1.4"
