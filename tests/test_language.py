"""Plain English: words that hide who does what, and docstrings that begin with "Whether", are kept out of every file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "analyzer",
    "probes",
    "tailcall_audit",
    "tests",
    "tools",
    "bench",
    "catalog",
    "docs",
    "bin",
    ".ci",
    "contrib",
)
SUFFIXES = (".py", ".md", ".yaml", ".sh", ".toml", ".yml", ".txt")
UNCLEAR = re.compile(r"\b(told|tells?|speaks?|spoke|somebody|nobody|whoever)\b", re.IGNORECASE)
MEANT = re.compile(r"`nobody`|\b_?NOBODY\b|(?:\b|_)(?:as|become)_nobody\b|\.tell\(")
"""The user of that name, and the method of a file."""
INVERTED = re.compile(
    r"""(?:(?<=[.;!?] )|(?<=\"{3})|(?<=[#|-] )|(?<=\n))"""
    r"""(?:Where [a-z`'][^.;:?|"]{2,160}?, |Of (?:an?|the|two|several|those|these|each|all) [^.;:?|"]{2,120}? )"""
)
"""A sentence that begins with a condition or a genitive: "Where X, Y" is "If X, Y" or "Y"."""
CONTINUED = re.compile(r"(?<![.:;|])\n *(?:# )?(?=[a-z`(])")
WIDTH = 120


def files() -> Iterator[Path]:
    """Every text file of the checkout that people write, but this one."""
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and not path.is_symlink() and path != Path(__file__):
                yield path


def unclear(text: str) -> list[str]:
    """The words of a line that are kept out; names are words, too."""
    return UNCLEAR.findall(MEANT.sub("", text).replace("_", " "))


def inverted(text: str) -> list[str]:
    """The beginnings of sentences with the condition or the owner in front."""
    return INVERTED.findall(re.sub(r"\n *#? ?", "\n", CONTINUED.sub(" ", text)))


@pytest.mark.parametrize(
    "text",
    [
        "It is read. Where the network\nfails, a copy is used.",
        '"""Where a clone was cut, its commits are few."""',
        "    # Of two that are\n    # equal, the newer counts.",
        "- Of several forms the first counts.",
    ],
)
def test_an_inversion_is_found(text: str) -> None:
    assert inverted(text)


@pytest.mark.parametrize(
    "text",
    ['"""Where sources are kept between runs."""', "## Where from\n\nBy id: mainline's", "It says where, and why."],
)
def test_a_title_is_no_inversion(text: str) -> None:
    assert inverted(text) == []


def test_no_sentence_is_inverted() -> None:
    found = {str(path.relative_to(ROOT)): inverted(path.read_text(encoding="utf-8")) for path in files()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line", ["it tells the kernel", "Nobody looked", "what is TOLD", "the file speaks of it", "def test_it_is_told()"]
)
def test_unclear_words_are_found(line: str) -> None:
    assert unclear(line)


@pytest.mark.parametrize("line", ["runs as `nobody`", "user = NOBODY", "end = file.tell()", "a teller", "bespoke"])
def test_names_are_no_unclear_words(line: str) -> None:
    assert unclear(line) == []


def test_no_file_has_an_unclear_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if unclear(line)
    ]
    assert found == []


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, those of attributes included, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for item in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(item, ast.Expr)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            ):
                yield item.lineno, item.value.value


def every_docstring() -> Iterator[tuple[str, str]]:
    """Every docstring of the repository, with its place."""
    for path in files():
        if path.suffix == ".py":
            for line, text in docstrings(path):
                yield f"{path.relative_to(ROOT)}:{line}", text


def test_a_docstring_says_what_is_returned() -> None:
    assert [
        f"{place}: {text.splitlines()[0]}" for place, text in every_docstring() if text.startswith("Whether ")
    ] == []


def test_docstrings_are_wrapped() -> None:
    assert [place for place, text in every_docstring() if any(len(part) > WIDTH for part in text.splitlines())] == []
