"""Small nasty files, made by code: each once cost a reader hours, gigabytes, a traceback or a wrong answer, or could.

`bench.hostile` gives every one to the command line and measures it; the tests give the small ones to their readers.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzzing import corpus_disks, corpus_fleets, corpus_images, corpus_packages, corpus_trees
from tests.fuzzing.nasty import ENTRIES, Nasty, nasty
from tests.strategies.case import Case

__all__ = ["CORPUS", "Nasty"]

_PARTS = (corpus_packages, corpus_trees, corpus_images, corpus_fleets, corpus_disks)
"""The modules that add their entries when they are imported."""


# The catalogue, and what a guest prints.


@nasty("catalogue", "an integer of 5,000 digits")
def _catalogue_digits() -> Case:
    return {"commits.json": b'{"date": ' + b"9" * 5000 + b"}"}


@nasty("catalogue", "900,000 brackets")
def _catalogue_deep() -> Case:
    return {"commits.json": b"[" * 900_000}


@nasty("catalogue-folder", "a survey of 100,000 brackets", False)
def _survey_deep() -> Case:
    return {"catalog/surveys/debian.json": b"[" * 100_000}


@nasty("catalogue-folder", "YAML of 100,000 brackets", False)
def _yaml_deep() -> Case:
    return {"catalog/branches.yaml": b"[" * 100_000}


@nasty("console", "an oops and 60,000 line breaks", False)
def _console_breaks() -> Case:
    return {"console": b"BUG: x" + b"\n" * 60_000}


@nasty("console", "an oops and 900,000 blanks", False)
def _console_blanks() -> Case:
    return {"console": b"BUG: x\n" + b" " * 900_000 + b"+0x1/0x2\n"}


@nasty("console", "50,000 empty frames", False)
def _console_frames() -> Case:
    return {"console": b"~TCA 1 00000001 \n" * 50_000}


def _all() -> Iterator[Nasty]:
    seen: set[tuple[str, str]] = set()
    for entry in ENTRIES:
        assert (entry.reader, entry.name) not in seen, entry.name
        seen.add((entry.reader, entry.name))
        yield entry


CORPUS = tuple(_all())
