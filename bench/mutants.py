"""The mutation lab: kernels with a jump turned around, or a fix undone, judged by their code and booted.

    python -m bench.mutants [KERNEL …] [--limit N] [--function NAME] [--results FOLDER] [--judge NAME]
                            [--patience SECONDS] [--again] [--sample]

KERNEL is an image or a package; without any: Debian's 5.10, 6.1, 6.12 and 7.3. Each mutant is booted once, and what its
guest shows is kept in FOLDER, so that a run that was interrupted goes on where it was. A judge's answers are kept too;
`--again` asks the judges anew, without booting anything. `--sample` is the small fixed sample of CI:
prog_fd_array_get_ptr() of 6.12.

To reach: no mutant whose guest shows a defect is called fixed (or not affected) by the code.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.mutation.guest import PATIENCE, boot_elf
from bench.mutation.judges import JUDGES, SLUGS, Judge
from bench.mutation.plan import plan
from bench.mutation.records import Key, Seen, Table
from bench.mutation.subject import Mutation, MutationError, Subject
from bench.mutation.summary import summary
from tailcall_audit.analyzer.model import AuditError, State
from tailcall_audit.probes.guest.boot import GuestError
from tailcall_audit.probes.probe import ABSENT, Result
from tests.kernels import cache_directory, package_file

KERNELS = (
    ("linux-image-5.10.0-30-cloud-amd64-unsigned", "5.10.218-1"),
    ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
    ("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
)
"""Debian's packages, and their versions; the newest of the mirror stands in for one that has left it."""
_UNCHANGED = "unchanged"


def _seen(result: Result) -> Seen:
    if result.state == ABSENT and not result.conclusive:
        return Seen.UNREACHED
    return Seen(result.state)


def _keyed(subject: Subject, mutation: Mutation | None) -> Key:
    release = subject.banner.removeprefix("Linux version ").partition(" ")[0]
    digest = hashlib.sha256(subject.elf).hexdigest()[:12]
    if mutation is None:
        return Key(release, digest, "", "", _UNCHANGED)
    return Key(release, digest, mutation.function, f"{mutation.address:#x}", mutation.undoes)


def _mutants(subject: Subject, limit: int | None, only: Sequence[str]) -> Iterator[tuple[Key, bytes]]:
    yield _keyed(subject, None), subject.elf
    for mutation in plan(subject, limit, only):
        yield _keyed(subject, mutation), subject.mutant(mutation)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps the tables of a folder to one run; raises MutationError if another run has them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MutationError(
                f"{folder}: another run is at work in this folder: name another one by --results"
            ) from error
        yield


class _Lab:
    """The tables of a folder, and what fills them."""

    def __init__(self, folder: Path, judges: Sequence[Judge], again: bool, patience: float) -> None:
        self.guests = Table(folder / "guests.tsv", SLUGS, Seen)
        self.verdicts = {}
        for judge in judges:
            path = folder / f"judge-{judge.name}.tsv"
            if again:
                path.unlink(missing_ok=True)
            self.verdicts[judge.name] = Table(path, SLUGS, State)
        self._judges = judges
        self._again = again
        self._patience = patience

    def run(self, key: Key, elf: bytes) -> None:
        """Boots a mutant and have it judged, as far as that was not done before."""
        name = f"{key.kernel} {key.function} {key.address} {key.change}"
        if key not in self.guests.rows and not self._again:
            start = time.monotonic()
            run = boot_elf(elf, name, SLUGS, self._patience)
            found = {slug: _seen(run.results[slug]) for slug in SLUGS}
            present = [slug for slug, state in found.items() if state is Seen.PRESENT]
            self.guests.add(key, found, run.failure or "")
            print(
                f"{time.monotonic() - start:5.1f}s {name}: {', '.join(present) or run.failure or 'no defect'}",
                flush=True,
            )
        for judge in self._judges:
            table = self.verdicts[judge.name]
            if key in self.guests.rows and key not in table.rows:
                table.add(key, judge.judge(elf, key.kernel))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="an image or a package; without: Debian's")
    parser.add_argument("--limit", type=int, help="flips of jumps a function, at most; without: all")
    parser.add_argument("--function", action="append", default=[], help="only this function; may be given again")
    parser.add_argument("--results", type=Path, help="where the tables are; without: in the cache of the tests")
    parser.add_argument("--judge", action="append", choices=[judge.name for judge in JUDGES], help="only this judge")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help=f"seconds that a guest may be silent ({PATIENCE:.0f})"
    )
    parser.add_argument(
        "--again", action="store_true", help="ask the judges anew about all that was booted; boot nothing"
    )
    parser.add_argument("--sample", action="store_true", help="the small fixed sample of CI")
    return parser.parse_args(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the lab; returns 1 if the code calls a mutant fixed whose guest shows the defect, 2 if a kernel cannot be
    used.
    """
    given = _arguments(arguments)
    judges = [judge for judge in JUDGES if given.judge is None or judge.name in given.judge]
    try:
        wanted = KERNELS[2:3] if given.sample else KERNELS
        paths = [Path(name) for name in given.kernels] or [package_file(*item) for item in wanted]
        functions = ["prog_fd_array_get_ptr"] if given.sample else given.function
        folder = given.results or cache_directory() / "mutants"
        with _alone(folder):
            lab = _Lab(folder, judges, given.again, given.patience)
            for path in paths:
                subject = Subject.read(path)
                for key, elf in _mutants(subject, given.limit, functions):
                    lab.run(key, elf)
            lines, holes = summary(lab.guests, lab.verdicts)
    except (MutationError, GuestError, AuditError, OSError, ValueError) as error:
        print(f"bench.mutants: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench.mutants: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    print("\n".join(lines))
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
