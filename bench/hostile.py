"""Measures the cost of hostile input: ``python -m bench.hostile [WORDS …]``.

Runs the real command line in a separate process on every hostile file of tests/fuzzing/corpus.py, and on some inputs
that only the command line has. Prints the size of the input, seconds of processor time, the peak memory of the largest
process (ru_maxrss of it and its children), and the exit code. Goals: at most 5 s and 512 MB for an input under 1 MB, at
most 60 s and 1 GB for one under 100 MB; no end by a traceback (exit code 4) or a signal; no control character in the
output except colours. The exit code is 1 if a goal is missed. With WORDS only inputs whose kind or name contains one of
them are run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.measure import installed_environment
from tests.fuzzing.corpus import CORPUS, Nasty
from tests.repositories import makefile
from tests.strategies.case import Case, Fifo, Link, write
from tests.strategies.images import kernel

_SMALL, _LARGE = 1 << 20, 100 << 20
_LIMITS = {_SMALL: (5.0, 512.0), _LARGE: (60.0, 1024.0)}
"""The limits in seconds and MB, by the largest size of the input."""
_PATIENCE = 300.0
"""Seconds by the clock after which a run counts as not ending. A busy machine needs a long time."""
_LAUNCHER = """
import json, os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    json.dump([usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status)], file)
"""
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_CODES = (0, 1, 2, 3)


class Measured(NamedTuple):
    """One run: processor seconds, the largest process in MB, the exit code (None: it did not end), and True in `stray`
    if it wrote a control character.
    """

    seconds: float
    megabytes: float
    code: int | None
    stray: bool


class Input(NamedTuple):
    """An input for the command line: kind, name, files, and the arguments made from the first file's path."""

    kind: str
    name: str
    make: Callable[[], Case]
    arguments: Callable[[Path], list[str]]


def _types(nasty: Nasty) -> Case:
    content = next(iter(nasty.make().values()))
    assert isinstance(content, bytes)
    return {"vmlinux": kernel(types=content)}


def _with_map(nasty: Nasty) -> Case:
    return {**nasty.make(), "vmlinux": kernel()}


def _above(path: Path, name: str) -> Path:
    """Returns the folder of this name that a file is in."""
    return next(parent for parent in path.parents if parent.name == name)


_ARGUMENTS: dict[str, Callable[[Path], list[str]]] = {
    "release": lambda path: ["--kernel", path.read_text()[:100_000]],
    "changelog": lambda path: ["--changelog", str(path)],
    "config": lambda path: ["--config", str(path)],
    "makefile": lambda path: ["--tree", str(path.parent)],
    "source": lambda path: ["--tree", str(path.parent)],
    "patches": lambda path: ["--tree", str(path.parent)],
    "git": lambda path: ["--tree", str(path.parent)],
    "deb": lambda path: ["--package", str(path)],
    "rpm": lambda path: ["--package", str(path)],
    "repodata": lambda path: ["--repo", str(path.parent.parent)],
    "packages-index": lambda path: ["--repo", str(path)],
    "image": lambda path: ["--image", str(path)],
    "payload": lambda path: ["--image", str(path)],
    "btf": lambda path: ["--image", str(path)],
    "system-map": lambda path: ["--image", str(path.parent / "vmlinux"), "--system-map", str(path)],
    "nodes": lambda path: ["--nodes", str(path)],
    "text": lambda path: ["--text", str(path if path.name == "log" else path.parent)],
    "rootfs": lambda path: ["--rootfs", str(_above(path, "root"))],
    "oci": lambda path: ["--oci", str(path if path.suffix == ".tar" else _above(path, "image"))],
    "disk": lambda path: ["--disk", str(path)],
    "catalogue": lambda path: ["--kernel", "6.1.1", "--catalog", str(path)],
    "catalogue-folder": lambda path: ["catalog", "build", "--check", "--from", str(path.parents[-3])],
}
_MADE: dict[str, Callable[[Nasty], Case]] = {"btf": _types, "system-map": _with_map}
_DEVICES = (
    *("kernel", "tree", "image", "package", "changelog", "config", "repo", "catalog"),
    *("nodes", "text", "rootfs", "oci", "disk", "baseline", "settings"),
)


def _of_corpus() -> Iterator[Input]:
    for nasty in CORPUS:
        arguments = _ARGUMENTS.get(nasty.reader)
        if arguments is not None:
            make = _MADE.get(nasty.reader)
            made = nasty.make if make is None else partial(make, nasty)
            yield Input(nasty.reader, nasty.name, made, arguments)


def _of_options() -> Iterator[Input]:
    """Yields pipes, devices and circular links in place of every file that an option or a target names."""
    strange: dict[str, Case] = {
        "a pipe": {"strange": Fifo()},
        "/dev/zero": {"strange": Link("/dev/zero")},
        "a link to itself": {"strange": Link("strange")},
        "standard input": {"strange": Link("/proc/self/fd/0")},
    }
    for name, case in strange.items():
        for option in _DEVICES:
            more = ["--kernel", "6.1.1"] if option in ("catalog", "baseline", "settings") else []
            yield _given("option", f"--{option}: {name}", case, partial(_named, option, more))
        yield _given("target", name, case, lambda path: [str(path)])
    nothing: Case = {"x": b""}
    yield _given("option", "--nodes -: endless", nothing, lambda _: ["--nodes", "-"])
    yield _given("option", "--text -: endless", nothing, lambda _: ["--text", "-"])
    yield _given("option", "--changelog -: endless", nothing, lambda _: ["--changelog", "-"])
    yield _given("option", "a name of 300 letters", nothing, lambda _: ["--package", f"./{'a' * 300}.deb"])
    yield _given("option", "a name of 5,000 letters", nothing, lambda _: ["--package", f"./{'a' * 5000}.deb"])
    yield _given("option", "a name with an escape", nothing, lambda _: ["\x1b]0;owned\x07.deb", "--\x1b[2J"])
    folders: Case = {f"f{number}/x": b"" for number in range(5_000)}
    yield _given("tree", "5,000 folders", {"Makefile": makefile("6.1.170"), **folders}, _folder_of)
    yield _given("tree", "5,000 folders without a kernel", {"README": b"", **folders}, _folder_of)
    yield _given("repo", "5,000 folders", {"README": b"", **folders}, lambda path: ["--repo", str(path.parent)])


def _given(kind: str, name: str, case: Case, arguments: Callable[[Path], list[str]]) -> Input:
    return Input(kind, name, lambda: case, arguments)


def _named(option: str, more: list[str], path: Path) -> list[str]:
    return [f"--{option}", str(path), *more]


def _folder_of(path: Path) -> list[str]:
    return ["--tree", str(path.parent)]


def _run(arguments: list[str]) -> Measured:
    command = [str(Path(sys.executable).with_name("tailcall-audit")), *arguments]
    late = threading.Event()
    with open("/dev/zero", "rb") as endless, tempfile.NamedTemporaryFile() as usage:
        # The peak memory of a process includes its parent's at the fork, so a small process forks it.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, usage.name, *command],
            stdin=endless if "-" in arguments else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=installed_environment(),
            start_new_session=True,
        )

        def give_up() -> None:
            late.set()
            os.killpg(process.pid, 9)

        timer = threading.Timer(_PATIENCE, give_up)
        timer.start()
        output, _ = process.communicate()
        timer.cancel()
        if late.is_set():
            return Measured(_PATIENCE, 0.0, None, False)
        seconds, kilobytes, code = json.loads(Path(usage.name).read_text())
    text = _COLOUR.sub(b"", output).decode("utf-8", "replace")
    stray = any(not letter.isprintable() and letter != "\n" for letter in text)
    return Measured(seconds, kilobytes / 1024, code, stray)


def _size(case: Case) -> int:
    return sum(len(content) for content in case.values() if isinstance(content, bytes))


def _faults(size: int, measured: Measured) -> list[str]:
    """Returns the goals that are missed."""
    seconds, megabytes = _LIMITS[_SMALL if size < _SMALL else _LARGE]
    found = []
    if measured.code is None:
        found.append("does not end")
    elif measured.code not in _CODES:
        found.append(f"exit code {measured.code}")
    if measured.seconds > seconds:
        found.append(f"more than {seconds:g} s")
    if measured.megabytes > megabytes:
        found.append(f"more than {megabytes:g} MB")
    if measured.stray:
        found.append("a raw control character")
    return found


def main() -> int:
    """Measures every input and prints the table."""
    words = sys.argv[1:]
    missed = count = 0
    print(f"{'kind':<17}{'input':<58}{'bytes':>11}{'s':>7}{'MB':>6}{'exit':>5}  to reach")
    for item in (*_of_corpus(), *_of_options()):
        if words and not any(word in f"{item.kind}: {item.name}" for word in words):
            continue
        case = item.make()
        with tempfile.TemporaryDirectory() as folder:
            size = _size(case)
            measured = _run(item.arguments(write(case, Path(folder))))
        faults = _faults(size, measured)
        count += 1
        missed += bool(faults)
        code = "-" if measured.code is None else measured.code
        print(
            f"{item.kind:<17}{item.name:<58.57}{size:>11,}{measured.seconds:>7.2f}{measured.megabytes:>6.0f}{code:>5}  {'; '.join(faults) or 'met'}",
            flush=True,
        )
    print(
        f"\nno input under 1 MB more than 5 s or 512 MB, none under 100 MB more than 60 s or 1 GB: {count - missed} of {count} met"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
