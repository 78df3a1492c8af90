"""Tables of the observations and verdicts for mutants. They grow line by line, so an interrupted run can continue."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar

__all__ = ["Key", "Seen", "Table"]

_State = TypeVar("_State", bound=Enum)


class Seen(Enum):
    """What a guest showed of a defect. UNREACHED: the probe ran, but the defect could not be reached. NOT_ASKED: no
    signature of the defect reads the changed function, so its probe was not run.
    """

    PRESENT = "present"
    ABSENT = "absent"
    UNREACHED = "unreached"
    COULD_NOT_RUN = "could-not-run"
    NOT_ASKED = "not-asked"


class Key(NamedTuple):
    """A mutant's identity: the kernel's release, the digest of its file, the function, the address and the change."""

    kernel: str
    digest: str
    function: str
    address: str
    change: str


class Table(Generic[_State]):
    """A tab-separated table with one line for each mutant: its key, a state for each defect, and a remark. An
    incomplete line is skipped when the table is read.
    """

    def __init__(self, path: Path, slugs: Sequence[str], states: type[_State]) -> None:
        self._path = path
        self._slugs = tuple(slugs)
        self._head = (*Key._fields, *self._slugs, "remark")
        self.rows: dict[Key, Mapping[str, _State]] = {}
        self.remarks: dict[Key, str] = {}
        for key, found, remark in self._read(states) if path.exists() else ():
            self.rows[key], self.remarks[key] = found, remark

    def _read(self, states: type[_State]) -> Iterator[tuple[Key, Mapping[str, _State], str]]:
        with self._path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, delimiter="\t")
            if tuple(next(lines, ())) != self._head:
                raise ValueError(f"{self._path}: another table, or of another version: move it away")
            for line in lines:
                if len(line) == len(self._head):
                    found = zip(self._slugs, line[len(Key._fields) : -1], strict=True)
                    yield Key(*line[: len(Key._fields)]), {slug: states(word) for slug, word in found}, line[-1]

    def add(self, key: Key, found: Mapping[str, _State], remark: str = "") -> None:
        """Appends one line to the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists() or self._path.stat().st_size == 0
        with self._path.open("a+b") as raw:
            # Ends the incomplete line of an interrupted run.
            if not is_new and self._ends_within_a_line(raw):
                raw.write(b"\n")
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            if is_new:
                writer.writerow(self._head)
            short = " ".join(remark.split())[:200]
            writer.writerow((*key, *(found[slug].value for slug in self._slugs), short))
        self.rows[key], self.remarks[key] = found, short

    @staticmethod
    def _ends_within_a_line(file: BinaryIO) -> bool:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
