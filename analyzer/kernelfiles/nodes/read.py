"""Reads a list of nodes written by any supported tool. The format is detected from the beginning of the list."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import BinaryIO

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed, Joined, Readable
from tailcall_audit.analyzer.kernelfiles.nodes.columns import has_kernel_column, title
from tailcall_audit.analyzer.kernelfiles.nodes.json_rows import json_rows
from tailcall_audit.analyzer.kernelfiles.nodes.text_rows import (
    csv_rows,
    is_heading,
    line_rows,
    separator_of,
    table_rows,
)
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, NodesError
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.probes.reading import open_file

__all__ = ["NodesForm", "form_of", "read_nodes"]

_HEAD = 1 << 16
_MOST = 8 << 30
"""The maximum size of a list in bytes, unpacked."""
_LINE = 1 << 16
"""The maximum length of a line in characters."""
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
"""In PowerShell, output that is redirected to a file is UTF-16."""


class NodesForm(Enum):
    """The format of a list: the values of `--nodes-format`."""

    JSON = "json"
    """Output of Kubernetes, Ansible and osquery. The content of the objects decides which."""
    TABLE = "table"
    CSV = "csv"
    LINES = "lines"


def _is_fact(line: str) -> bool:
    """Returns True for the line before the facts of a host: ``web-1 | SUCCESS => {``."""
    name, bar, rest = line.partition(" | ")
    return bool(bar) and " " not in name and rest[:1].isupper() and " => {" in rest[:40]


def form_of(head: str) -> NodesForm:
    """Returns the format of a list, given its beginning."""
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith("#")][:20]
    first = lines[0] if lines else ""
    if first.lstrip()[:1] in ("{", "[") or any(map(_is_fact, lines)):
        return NodesForm.JSON
    if any(map(is_heading, lines)):
        return NodesForm.TABLE
    separator = separator_of(first)
    titles = frozenset(title(cell.strip("\"' ")) for cell in first.split(separator)) if separator else frozenset()
    return NodesForm.CSV if has_kernel_column(titles) else NodesForm.LINES


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        if sys.stdin is None:
            raise NodesError("-: standard input is closed")
        yield sys.stdin.buffer
        return
    path = expanded(name)
    try:
        file = open_file(path)
    except OSError as error:
        hint = "; to read from a pipe, say -" if "regular" in str(error) else ""
        raise NodesError(f"{path}: cannot read: {error.strerror or error}{hint}") from error
    with file:
        yield file


def _reader(file: Readable, path: str) -> Callable[[int], str]:
    """Returns a function that returns the next part of the list's text. It raises NodesError and BrokenDataError."""
    start = file.read(9)
    source = Decompressed(Joined(start, file), start, path, _MOST)
    head = source.read(4)
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    waiting = decoder.decode(head).lstrip("\ufeff")

    def read(size: int) -> str:
        nonlocal waiting
        text, waiting = waiting, ""
        while not text:
            data = source.read(size)
            text = decoder.decode(data, not data)
            if not data:
                break
        return text

    return read


class _Lines:
    """The lines of a text that is read in parts. Long lines are cut."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[str]:
        left = ""
        while part := self._read(1 << 18):
            *whole, left = (left + part).split("\n")
            yield from whole
            left = left[:_LINE]
        if left:
            yield left


def read_nodes(name: str, form: NodesForm | None = None) -> Iterator[NodeRow]:
    """Yields the nodes of a list (``-`` is standard input). Without `form`, the format is detected.

    Raises NodesError if the list cannot be read, possibly after valid nodes.
    """
    label = "standard input" if name == "-" else name
    with _opened(name) as file:
        try:
            read = _reader(file, label)
            head = read(_HEAD)
            while len(head) < _HEAD and (part := read(_HEAD)):
                head += part
            waiting = [head]

            def whole(size: int) -> str:
                return waiting.pop() if waiting else read(size)

            if not head.strip():
                raise NodesError(
                    f"{label}: it is empty" if len(head) < _HEAD else f"{label}: it begins with {len(head):,} blanks"
                )
            yield from _rows(whole, form or form_of(head), label)
        except OSError as error:
            raise NodesError(f"{label}: cannot read: {error.strerror or error}") from error


def _rows(read: Callable[[int], str], form: NodesForm, path: str) -> Iterator[NodeRow]:
    if form is NodesForm.JSON:
        return json_rows(read, path)
    lines = _Lines(read)
    if form is NodesForm.CSV:
        return csv_rows(lines, path)
    return table_rows(lines) if form is NodesForm.TABLE else line_rows(lines)
