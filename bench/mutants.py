"""The mutation lab: kernels with a jump turned around, or a fix undone, judged by their code and run.

    python -m bench.mutants [KERNEL …] [--limit N] [--function NAME] [--results FOLDER] [--judge NAME]
                            [--boot] [--seconds N] [--patience SECONDS] [--again] [--sample]

KERNEL is an image or a package; the default is Debian's 5.10, 6.1, 6.12 and 7.3. Each kernel is booted once and frozen
before it loads a program. A mutant is that guest with a few bytes of its code changed. It runs the probes of the
pitfalls whose signatures read the changed function. A flip of a jump that never runs, or that always goes the way that
it now always goes, has no effect and is not run. With `--boot` each mutant is booted from the start.

The results of guests are stored in FOLDER, so the next run continues one that was interrupted or that ended after
`--seconds`. Judges judge every mutant whose guest shows a defect that the unchanged kernel does not have, and one in
twenty of the others. Their answers are stored too, each version of the tool has its own; `--again` asks the judges
again without running a guest. `--sample` is the small fixed sample of CI: prog_fd_array_get_ptr() of 6.12.

Goal: the code signatures call no mutant fixed (or not affected) whose guest shows the defect.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.mutation.guest import PATIENCE
from bench.mutation.judges import JUDGES
from bench.mutation.lab import Lab, Work
from bench.mutation.remote import RemoteError
from bench.mutation.subject import MutationError, Subject
from bench.mutation.summary import summary
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.guest.boot import GuestError
from tests.kernels import cache_directory, package_file

KERNELS = (
    ("linux-image-5.10.0-30-cloud-amd64-unsigned", "5.10.218-1"),
    ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
    ("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
)
"""Debian's packages and their versions. The mirror's newest version replaces one that is no longer there."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Locks the tables of a folder for one run; raises MutationError if another run uses them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MutationError(
                f"{folder}: another run is at work in this folder: name another one by --results"
            ) from error
        yield


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="an image or a package; without: Debian's")
    parser.add_argument("--limit", type=int, help="flips of jumps a function, at most; without: all")
    parser.add_argument("--function", action="append", default=[], help="only this function; may be given again")
    parser.add_argument("--results", type=Path, help="where the tables are; without: in the cache of the tests")
    parser.add_argument(
        "--judge", action="append", choices=[*(judge.name for judge in JUDGES), "none"], help="only this judge, or none"
    )
    parser.add_argument("--boot", action="store_true", help="boot each mutant from the start")
    parser.add_argument("--seconds", type=float, help="begin with no mutant after so many seconds")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help=f"seconds that a booting guest may be silent ({PATIENCE:.0f})"
    )
    parser.add_argument("--again", action="store_true", help="ask the judges anew about all that was run; run no guest")
    parser.add_argument("--sample", action="store_true", help="the small fixed sample of CI")
    return parser.parse_args(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the lab. Returns 1 if a judge calls a mutant fixed although its guest shows the defect, 2 if a kernel cannot
    be used.
    """
    given = _arguments(arguments)
    judges = [judge for judge in JUDGES if given.judge is None or judge.name in given.judge]
    end = None if given.seconds is None else time.monotonic() + given.seconds
    functions = ["prog_fd_array_get_ptr"] if given.sample else given.function
    work = Work(given.limit, tuple(functions), given.boot, given.patience, end)
    try:
        wanted = KERNELS[2:3] if given.sample else KERNELS
        paths = [Path(name) for name in given.kernels] or [package_file(*item) for item in wanted]
        folder = given.results or cache_directory() / "mutants"
        with _alone(folder):
            lab = Lab(folder, judges, again=given.again)
            for path in paths:
                lab.run(Subject.read(path), work)
            lines, holes = summary(lab.booted, lab.frozen, lab.verdicts)
    except (MutationError, GuestError, RemoteError, AuditError, OSError, ValueError) as error:
        print(f"bench.mutants: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench.mutants: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    print("\n".join(lines))
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
