"""Reads nodes from text: tables of kubectl, CSV and TSV with a header, lines with a name and a kernel, ad-hoc commands
of Ansible.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from tailcall_audit.analyzer.kernelfiles.nodes.columns import row_of_columns, title
from tailcall_audit.analyzer.kernelfiles.nodes.types import MAX_NAME, NodeRow, NodesError

__all__ = ["csv_rows", "is_heading", "line_rows", "separator_of", "table_rows"]

_FIRST_TITLES = frozenset(("NAME", "NODE", "HOST", "HOSTNAME"))
_COLUMN = re.compile(r"\S++(?: \S++)*+")
_GAP = re.compile(r" {2,}+|\t")
_SEPARATORS = "\t,;|"
_ASKED = re.compile(r"(\S++) \| ([A-Z]++)!?(?: \| rc=(\d++))? (?:>>|\| \(stdout\)|=>)(.*+)$")
_RELEASE = re.compile(r"v?\d++\.\d++\S*+")


def separator_of(line: str) -> str | None:
    """Returns the separator of the columns in a line, None if the line contains no separator."""
    return next((letter for letter in _SEPARATORS if letter in line), None)


def is_heading(line: str) -> bool:
    """Returns True for the heading of ``kubectl get nodes -o wide``, or of ``-o custom-columns`` with a title for the
    kernel.
    """
    words = line[:2000].split()
    words = words[1:] if words[:1] == ["NAMESPACE"] else words
    return words[:1] != [] and words[0] in _FIRST_TITLES and any(word.startswith("KERNEL") for word in words)


def csv_rows(lines: Iterable[str], path: str) -> Iterator[NodeRow]:
    """Yields a node for each row; the first row has the titles. Raises NodesError if a row cannot be read."""
    iterator = iter(lines)
    header = next((line for line in iterator if line.strip()), "")
    separator = separator_of(header) or ","
    titles = [title(cell) for cell in next(csv.reader([header], delimiter=separator), [])]
    rows = csv.reader(iterator, delimiter=separator)
    number = 1
    try:
        for number, row in enumerate(rows, 2):
            if row:
                yield row_of_columns(dict(zip(titles, row, strict=False)), f"row {number}")
    except csv.Error as error:
        raise NodesError(f"{path}: row {number + 1}: {error}") from error


def _cells(text: str, columns: Sequence[tuple[str, int, int | None]]) -> list[str] | None:
    """Returns the cells of a line. One whose words do not begin where the titles do (a cell was longer than its column, as
    in the output of ``kubectl get --watch``) is split at its wide gaps. None if it has another number of cells.
    """
    starts = [start for _, start, _ in columns[1:]]
    if all(text[start - 1 : start].isspace() or start > len(text) for start in starts):
        return [text[start:end].strip() for _, start, end in columns]
    found = _GAP.split(text.strip())
    return found if len(found) == len(columns) else None


def table_rows(lines: Iterable[str]) -> Iterator[NodeRow]:
    """Yields a node for each line of a table whose columns are aligned with their titles. The heading may be
    repeated.
    """
    columns: list[tuple[str, int, int | None]] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if is_heading(text):
            starts = [(title(match.group()), match.start()) for match in _COLUMN.finditer(text)]
            ends = [start for _, start in starts[1:]]
            columns = [(name, start, end) for (name, start), end in zip(starts, [*ends, None], strict=True)]
        elif text.strip() and columns:
            cells = _cells(text, columns)
            if cells is None:
                name = text.split()[0][:MAX_NAME]
                yield NodeRow(name, skipped=f"line {number}: its columns are not where the titles are")
                continue
            yield row_of_columns(dict(zip((name for name, *_ in columns), cells, strict=True)), f"line {number}")


def _of_line(text: str, number: int) -> NodeRow:
    first, _, rest = text.partition("\t") if "\t" in text else text.partition(" ")
    name, kernel = first.strip().removesuffix(":"), rest.strip()
    if not kernel and _RELEASE.fullmatch(name):
        return NodeRow(f"line {number}", name)
    if not kernel:
        return NodeRow(name[:MAX_NAME], skipped="nothing follows its name")
    return NodeRow(name[:MAX_NAME], kernel)


def line_rows(lines: Iterable[str]) -> Iterator[NodeRow]:
    """Yields a node for each line: a name, blanks or a tab, and the kernel. Lines that begin with ``#`` are comments.

    In the output of ``ansible -a 'uname -r'``, a line with the name of the node precedes its answer.
    """
    asked: str | None = None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _ASKED.match(text)
        if match is not None:
            name, outcome, status, answer = match.groups()
            asked = None
            if outcome in ("UNREACHABLE", "FAILED") or status not in (None, "0"):
                yield NodeRow(
                    name[:MAX_NAME], skipped=f"{outcome.lower()}{f', exit status {status}' if status else ''}"
                )
            elif answer.strip():
                yield NodeRow(name[:MAX_NAME], answer.strip())
            else:
                asked = name[:MAX_NAME]
        elif asked is not None:
            yield NodeRow(asked, text)
            asked = None
        else:
            yield _of_line(text, number)
