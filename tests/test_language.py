"""Plain English: words that hide who does what are kept out of every file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("analyzer", "probes", "tailcall_audit", "tests", "tools", "bench", "catalog", "docs", "bin", ".ci")
SUFFIXES = (".py", ".md", ".yaml", ".sh", ".toml")
UNCLEAR = re.compile(r"\b(told|tells?|speaks?|spoke|somebody|nobody|whoever)\b", re.IGNORECASE)
MEANT = re.compile(r"`nobody`|\bNOBODY\b|\.tell\(")
"""The user of that name, and the method of a file."""


def files() -> Iterator[Path]:
    """Every text file of the checkout that people write, but this one."""
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and not path.is_symlink() and path != Path(__file__):
                yield path


def unclear(text: str) -> list[str]:
    """The words of a line that are kept out."""
    return UNCLEAR.findall(MEANT.sub("", text))


@pytest.mark.parametrize("line", ["it tells the kernel", "Nobody looked", "what is TOLD", "the file speaks of it"])
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
