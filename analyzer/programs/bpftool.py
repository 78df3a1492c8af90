"""Reads the JSON output of bpftool from another host: one file or a folder of files, recognised by their content.

Accepts `prog show`, `map show`, `link show`, `btf show`, `net show`, `map dump`, `prog dump xlated` (with ``opcodes``,
or the raw file of ``file F``), `btf dump`, and the answers of `bpftool batch`. A dump does not contain the id of its
program, map or BTF. The id is the last number in the file's name (``xlated-12.json``), or comes from the command in a
batch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.programs.bpftool_json import Collected
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.host import programs_of
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.probes.reading import read_file

__all__ = ["read_bpftool"]

_MAX_FILE = 256 << 20
_MAX_TOTAL = 1 << 30
_MAX_FILES = 100_000
_LAST_NUMBER = re.compile(r"\d{1,10}")


def read_bpftool(path: str) -> ProgramSet:
    """Returns the programs that bpftool's files list as loaded. Raises AuditError with the name of a file that is not
    bpftool's.
    """
    collected = Collected()
    total = 0
    for name in _files(path):
        try:
            data = read_file(name, _MAX_FILE)
        except OSError as error:
            raise AuditError(f"{name}: cannot read: {error.strerror or error}") from error
        total += len(data)
        if total > _MAX_TOTAL:
            raise AuditError(f"{path}: more than {_MAX_TOTAL >> 20} MiB of files")
        _take(collected, name, data)
    if not collected.has_programs:
        raise AuditError(
            f"{path}: no program in it; `bpftool -j prog show` lists them, `bpftool -j prog dump xlated id N opcodes` has the"
            " instructions of one"
        )
    try:
        return programs_of(collected.loaded(), path, collected.names(), collected.functions())
    except ProgramsError as error:
        raise AuditError(f"{path}: {error}") from error


def _files(path: str) -> Iterator[str]:
    """Yields the file, or the files in a folder and its subfolders, sorted by name."""
    if not os.path.isdir(path):
        yield path
        return
    count = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            count += 1
            if count > _MAX_FILES:
                raise AuditError(f"{path}: more than {_MAX_FILES} files")
            yield os.path.join(folder, name)


def _take(collected: Collected, name: str, data: bytes) -> None:
    plain = os.path.basename(name).partition(".")[0]
    numbers = _LAST_NUMBER.findall(plain)
    number = int(numbers[-1]) if numbers else None
    start = data[:1024].lstrip()
    if not start:
        return  # the command failed and printed nothing
    try:
        if start[:1] in (b"[", b"{") or start.rstrip() == b"null":
            answer = parse_json(data, lambda place, reason: ProgramsError(f"no JSON{place}: {reason}"))
            collected.take(answer, number, of_map="map" in plain.lower())
        else:
            collected.take_raw(data, number)
    except ProgramsError as error:
        raise AuditError(f"{name}: {error}") from error
