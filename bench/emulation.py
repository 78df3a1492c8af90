"""Measures what running the functions of an image costs, and compares its answers with the other evidence.

    python -m bench.emulation cost [IMAGE …]       seconds and instructions of each case (without an image: for those
                                                   in TAILCALL_AUDIT_LAB)
    python -m bench.emulation truth IMAGE …        a line for each image and commit, then the totals
    python -m bench.emulation verdicts IMAGE …     the verdicts that change because functions are run, then the totals
    python -m bench.emulation guest IMAGE …        seconds for the boot and the probes of a guest with the image, and
                                                   for the cases of each commit

`truth` exits with code 1 if emulation contradicts the catalogue's facts about releases, `verdicts` if a decided verdict
becomes unknown. An image may be a kernel image or a package.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tailcall_audit import AuditError, audit
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import Evidence, EvidenceKind, Presence, TargetReport
from tailcall_audit.analyzer.readers.emulation.read import emulate, wanted_cases
from tailcall_audit.analyzer.readers.emulation.registry import CASES, SYMBOLS
from tailcall_audit.analyzer.readers.emulation.scene import Bench
from tailcall_audit.analyzer.readers.emulation.stage import run_case

_ROUNDS = 3
_FACTS = (EvidenceKind.RELEASE, EvidenceKind.SERIES)


class Row(NamedTuple):
    """The evidence about one commit in one image, by source; None if a source has none."""

    image: str
    architecture: str
    release: str
    commit: str
    emulation: Evidence
    fact: Evidence | None
    code: Evidence | None


def _cost(images: Sequence[str]) -> None:
    catalog = load_catalog()
    for name in images:
        kernel = unpack(Path(name).read_bytes(), name)
        binary = Binary(kernel)
        architecture = kernel.architecture or "none"
        _ = binary.btf
        wanted = wanted_cases(catalog, architecture)
        used, whole = min(_seconds(partial(emulate, binary, architecture, wanted)) for _ in range(_ROUNDS))
        print(f"{Path(name).name}: {len(wanted)} cases in {used:.2f} s of processor, {whole:.2f} s of the clock")
        image = KernelImage(binary, architecture)
        start = time.perf_counter()
        bench = Bench(image, symbols=SYMBOLS)
        print(f"  {'symbols':40} {time.perf_counter() - start:6.3f} s")
        for case in wanted:
            start = time.perf_counter()
            answer = run_case(bench, case, CASES[case])
            what = answer.finding.outcome.value if answer.finding else f"no answer: {answer.why}"
            print(f"  {case:40} {time.perf_counter() - start:6.3f} s  {answer.sites:3} sites  {what}")
    print(f"largest resident set of a process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MB")


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the seconds of processor time of this process and its children, and the seconds by the clock."""
    start, used = time.perf_counter(), _used()
    work()
    return _used() - used, time.perf_counter() - start


def _used() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _audited(name: str, emulate_it: bool = True) -> TargetReport:
    is_package = name.endswith((".deb", ".rpm"))
    packages, images = ([name], []) if is_package else ([], [name])
    return audit(packages=packages, images=images, emulate=emulate_it).targets[0]


def _rows(name: str) -> Iterator[Row]:
    target = _audited(name)
    seen = {
        item.commit: item
        for verdict in target.verdicts
        for item in verdict.evidence
        if item.kind is EvidenceKind.EMULATION
    }
    everything = [item for verdict in target.verdicts for item in verdict.evidence]
    for commit, said in seen.items():
        of_it = [item for item in everything if item.commit == commit]
        fact = next((item for kind in _FACTS for item in of_it if item.kind is kind), None)
        code = next((item for item in of_it if item.kind is EvidenceKind.CODE), None)
        identity = target.identity
        yield Row(Path(name).name, str(identity["architecture"]), str(identity["upstream"]), commit, said, fact, code)


def _word(item: Evidence | None) -> str:
    return "-" if item is None else item.presence.value


def _truth(images: Sequence[str]) -> int:
    sums: Counter[str] = Counter()
    contradictions = 0
    for name in images:
        try:
            rows = list(_rows(name))
        except AuditError as error:
            print(f"{name}\terror\t{error}", flush=True)
            continue
        for row in rows:
            relation = _relation(row)
            contradictions += relation == "contradicts"
            sums[f"{row.architecture} {relation}"] += 1
            words = "\t".join((_word(row.emulation), _word(row.fact), _word(row.code), relation))
            why = row.emulation.detail if relation in ("contradicts", "no answer") else ""
            print(f"{row.image}\t{row.architecture}\t{row.release}\t{row.commit}\t{words}\t{why}", flush=True)
    for key, number in sorted(sums.items()):
        print(f"# {number}\t{key}")
    return 1 if contradictions else 0


def _verdicts(images: Sequence[str]) -> int:
    sums: Counter[str] = Counter()
    for name in images:
        try:
            without, with_it = (_audited(name, emulate_it).states for emulate_it in (False, True))
        except AuditError as error:
            print(f"{name}\terror\t{error}", flush=True)
            continue
        for slug, state in with_it.items():
            change = f"{without[slug].value} -> {state.value}"
            sums[change] += 1
            if state is not without[slug]:
                print(f"{Path(name).name}\t{slug}\t{change}", flush=True)
    for key, number in sorted(sums.items()):
        print(f"# {number}\t{key}")
    return 1 if any(key.endswith("-> unknown") and not key.startswith("unknown") for key in sums) else 0


def _relation(row: Row) -> str:
    if row.emulation.presence is Presence.UNKNOWN:
        return "no answer"
    if row.fact is None or row.fact.presence is Presence.UNKNOWN:
        return "settles"
    return "agrees" if row.fact.presence is row.emulation.presence else "contradicts"


def _by_signature(name: str) -> Iterator[tuple[str, float]]:
    """Yields each commit that has cases, and the seconds that its cases take, without unpacking the image."""
    catalog = load_catalog()
    kernel = unpack(Path(name).read_bytes(), name)
    binary = Binary(kernel)
    architecture = kernel.architecture or "none"
    _ = binary.btf
    for commit in catalog.commits.values():
        wanted = wanted_cases(catalog, architecture, frozenset((commit.key,)))
        if wanted:
            yield commit.key, _seconds(partial(emulate, binary, architecture, wanted))[0]
    yield "all", _seconds(partial(emulate, binary, architecture, wanted_cases(catalog, architecture)))[0]


def _guest(images: Sequence[str]) -> None:
    from tailcall_audit.analyzer.live.confirm import Guests
    from tailcall_audit.analyzer.live.lab import run_lab
    from tailcall_audit.probes.guest.boot import Guest

    for name in images:
        used, whole = _seconds(partial(run_lab, [name], Guests(Guest(patience=240.0)), catalog=load_catalog(), jobs=1))
        print(f"{Path(name).name}: audit, boot and probes in {used:.2f} s of processor, {whole:.2f} s of the clock")
        for commit, seconds in _by_signature(name):
            print(f"  {commit:16} {seconds:6.2f} s", flush=True)


def main() -> int:
    """Runs one of the commands; returns the exit code."""
    command, *images = sys.argv[1:] or [""]
    if not images and command == "cost":
        images = sorted(map(str, Path(os.environ.get("TAILCALL_AUDIT_LAB", ".")).glob("kernels/vmlinuz-*")))
    if command not in ("cost", "truth", "verdicts", "guest") or not images:
        sys.exit(__doc__)
    if command in ("truth", "verdicts"):
        return (_truth if command == "truth" else _verdicts)(images)
    (_cost if command == "cost" else _guest)(images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
