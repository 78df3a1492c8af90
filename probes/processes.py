"""Starts processes. No other module of this project does, so this module alone decides what a process inherits.

A program is started by an absolute path in the working directory ``/``. Its environment has only the listed variables.
It inherits only its standard descriptors and those that the caller names. Nothing in the current directory is found or
loaded. The guest imports this module too, and subprocess is slow to load there, so it is imported only when a program
is started.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    Process = subprocess.Popen[bytes]

__all__ = [
    "MAX_OUTPUT",
    "PYTHON_OPTIONS",
    "Finished",
    "ProgramError",
    "environment",
    "find_program",
    "fork_worker",
    "missing_program",
    "run",
    "start",
]

PYTHON_OPTIONS = ("-I", "-S", "-B", "-X", "utf8")
"""Options for every Python that is started: it ignores PYTHON* variables, the current directory and site packages, and
writes no byte code.
"""
_WORKING_DIRECTORY = "/"
_FIXED = {"LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent"}
"""HOME names no folder, so no program reads the user's configuration (~/.gitconfig, ~/.rpmmacros, ~/.popt)."""
_PR_SET_PDEATHSIG = 1
_PIECE = 1 << 16
MAX_OUTPUT = 64 << 20
"""Bytes that a program may write: the changelogs of a host's kernels in an RPM database have about 10 MB."""
_SIGKILL = 9


class ProgramError(RuntimeError):
    """Raised if a program is missing, does not start, does not end in time or writes too much. The message names it."""


class Finished:
    """A program that has ended: its exit status (negative: the signal that ended it), and its output as bytes."""

    # A plain class: typing.NamedTuple and dataclasses are slow to import in a guest.
    def __init__(self, status: int, output: bytes, errors: bytes) -> None:
        self.status = status
        self.output = output
        self.errors = errors

    def complaint(self) -> str:
        """Returns the last line that the program wrote to standard error, or its exit status if there is none."""
        lines = self.errors[-4096:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


def _folders() -> tuple[list[str], list[str]]:
    """Returns the folders of PATH that are searched, and those that are not: an empty or relative one depends on the
    current directory.
    """
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [entry for entry in entries if os.path.isabs(entry)], [
        entry for entry in entries if not os.path.isabs(entry)
    ]


def find_program(name: str, places: Sequence[str] = ()) -> str | None:
    """Returns the absolute path of a program. Searches the folders of PATH, then the paths in `places`; None if there
    is none.

    Folders of PATH that are not absolute are not searched.
    """
    for path in (*(os.path.join(folder, name) for folder in _folders()[0]), *places):
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def missing_program(name: str) -> str:
    """Returns a message that a program was not found, with the folders of PATH that were not searched."""
    skipped = _folders()[1]
    if not skipped:
        return f"no {name} on this host"
    named = ", ".join(repr(entry) for entry in skipped[:3])
    return f"no {name} in the folders of PATH that are absolute ({named} is not searched)"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a program: a search path of absolute folders, fixed values, and `more`. It has no
    other variables.
    """
    return {"PATH": os.pathsep.join(_folders()[0]) or "/usr/bin:/bin", **_FIXED, **(more or {})}


def _check(command: Sequence[str]) -> None:
    if not os.path.isabs(command[0]):
        raise ValueError(f"{command[0]}: a program is started by its absolute path")


def run(
    command: Sequence[str],
    *,
    timeout: float,
    given: bytes = b"",
    more: Mapping[str, str] | None = None,
    limit: int = MAX_OUTPUT,
) -> Finished:
    """Runs a program to its end and returns what it wrote. `given` is its standard input, `more` is added to its
    environment.

    Raises ProgramError if the program does not start, does not end within `timeout` seconds, or writes more than
    `limit` bytes to its standard output or error. The program is killed in that case.
    """
    import subprocess

    _check(command)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(more),
            cwd=_WORKING_DIRECTORY,
            bufsize=0,
        )
    except OSError as error:
        raise ProgramError(f"{command[0]} does not run: {error.strerror or error}") from error
    with process:
        try:
            output, errors = _exchange(process, command[0], given, timeout, limit)
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, output, errors)


def _exchange(process: Process, name: str, given: bytes, timeout: float, limit: int) -> tuple[bytes, bytes]:
    """Writes to a program and reads from it until it has closed its outputs and ended. Raises ProgramError if it is
    late or writes too much.
    """
    import selectors
    import subprocess
    import time

    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    end = time.monotonic() + timeout
    late = ProgramError(f"{name} did not end within {timeout:g} s")
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    rest = memoryview(given)
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdin, *found):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_WRITE if stream is process.stdin else selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(timeout=max(0.0, end - time.monotonic()))
            if time.monotonic() > end:
                raise late
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    try:
                        rest = rest[os.write(key.fd, rest[:_PIECE]) :] if rest else rest
                    except BrokenPipeError:
                        rest = rest[:0]
                    if not rest:
                        selector.unregister(key.fileobj)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, _PIECE)
                buffer = found[key.fileobj]  # type: ignore[index]
                buffer += data
                if not data:
                    selector.unregister(key.fileobj)
                if len(buffer) > limit:
                    raise ProgramError(f"{name} wrote more than {limit:,} bytes")
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    output, errors = found.values()
    return bytes(output), bytes(errors)


def _die_with_parent() -> None:
    """Runs between fork and exec: makes the kernel kill the program when its parent ends for any reason."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def start(
    command: Sequence[str],
    *,
    descriptors: Sequence[int] = (),
    errors: int | None = None,
    more: Mapping[str, str] | None = None,
    dies_with_us: bool = False,
    limits: Mapping[int, int] | None = None,
    user: int | None = None,
) -> AbstractContextManager[Process]:
    """Starts a program with its standard output in an unbuffered pipe. The program is killed at the end of the context
    if it still runs.

    It inherits only `descriptors`. `errors` is the descriptor of its standard error (None: a pipe). With `dies_with_us`
    the kernel kills it when this process ends for any reason. `limits` are limits of setrlimit(2), by their numbers.
    `user` is the number of the user and group that it runs as, without other groups. Raises ProgramError if it does not
    start.
    """
    import subprocess

    _check(command)
    # Imported before the fork: the code after it should only make a few system calls.
    import ctypes  # noqa: F401
    import resource

    def prepare() -> None:
        for number, limit in (limits or {}).items():
            resource.setrlimit(number, (limit, limit))
        if dies_with_us:
            _die_with_parent()

    def popen() -> Process:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors is None else errors,
            env=environment(more),
            cwd=_WORKING_DIRECTORY,
            bufsize=0,
            pass_fds=descriptors,
            preexec_fn=prepare if dies_with_us or limits else None,  # noqa: PLW1509
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )

    return _running(popen, command[0])


def _running(popen: Callable[[], Process], name: str) -> AbstractContextManager[Process]:
    """Returns a context in which a program runs; at its end the program has ended."""
    from contextlib import contextmanager

    @contextmanager
    def started() -> Iterator[Process]:
        try:
            process = popen()
        except OSError as error:
            raise ProgramError(f"{name} does not run: {error.strerror or error}") from error
        try:
            with process:
                try:
                    yield process
                finally:
                    if process.poll() is None:
                        process.kill()
        finally:
            process.wait()

    return started()


def fork_worker(work: Callable[[int], None]) -> tuple[int, int]:
    """Forks a child that calls `work` with the writing end of a pipe. Returns the child's process id and the reading
    end.

    The child ends with status 0 if `work` returns, otherwise with 1. The kernel kills it when this process ends.
    """
    import ctypes

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
            work(writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    return child, reader
