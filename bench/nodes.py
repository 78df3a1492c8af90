"""Measures lists of many nodes: ``python -m bench.nodes [NODES [KERNELS]]`` (100,000 and 200).

The same fleet is given as lines, as CSV, as rows of osquery, and as ``kubectl get nodes -o json`` with nodes of real
size (3.6 KB each). Goal: under 3 s and 100 MB, as a table and as JSON. The goal is held against the processor time of
the process and its worker, which other load on the machine changes less than the time by the clock. Memory is the sum
of both. Pages that they share are counted twice, so it is an upper bound.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import run

_BUILD = "#{number} SMP PREEMPT_DYNAMIC Thu Jan 4 10:00:00 UTC 2024"


def kernels(count: int) -> list[str]:
    """Returns release strings of several distributions and of kernel.org."""
    every = [
        *(f"6.1.0-{number}-amd64" for number in range(10, 48)),
        *(f"5.15.0-{number}-generic" for number in range(25, 120)),
        *(f"5.14.0-{number}.el9_4.x86_64" for number in range(300, 427)),
        *(f"6.6.{number}" for number in range(1, 140)),
        *(f"6.12.{number}" for number in range(1, 110)),
    ]
    return every[:: max(1, len(every) // count)][:count]


def _lines(fleet: list[tuple[str, str]]) -> Iterator[str]:
    for name, kernel in fleet:
        yield f"{name}\tLinux {name} {kernel} {_BUILD.format(number=1)} x86_64 GNU/Linux\n"


def _csv(fleet: list[tuple[str, str]]) -> Iterator[str]:
    yield "hostname,site,kernel_version,arch\n"
    for name, kernel in fleet:
        yield f"{name},ams,{kernel},x86_64\n"


def _kubernetes(fleet: list[tuple[str, str]]) -> Iterator[str]:
    rest = {
        "conditions": [
            {"type": f"C{number}", "status": "False", "message": "kubelet has no such pressure" * 2}
            for number in range(5)
        ],
        "images": [
            {"names": [f"registry.example/app@sha256:{number:064x}"], "sizeBytes": 1 << 24} for number in range(8)
        ],
    }
    labels = {f"label.example/{number}": "a value" for number in range(12)}
    yield '{"apiVersion": "v1", "items": [\n'
    for number, (name, kernel) in enumerate(fleet):
        info = {"architecture": "amd64", "kernelVersion": kernel, "operatingSystem": "linux", "osImage": "An OS"}
        node = {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {**rest, "nodeInfo": info}}
        yield (",\n" if number else "") + json.dumps(node, indent=4)
    yield '\n], "kind": "List"}\n'


def _osquery(fleet: list[tuple[str, str]]) -> Iterator[str]:
    for name, kernel in fleet:
        yield json.dumps({"hostIdentifier": name, "columns": {"version": kernel, "arch": "x86_64"}}) + "\n"


_FORMS: dict[str, Callable[[list[tuple[str, str]]], Iterator[str]]] = {
    "lines": _lines,
    "csv": _csv,
    "osquery": _osquery,
    "kubernetes": _kubernetes,
}


def main() -> int:
    """Measures each form; returns 1 if a goal is missed."""
    given = [int(word) for word in sys.argv[1:3]]
    count, distinct = (*given, *(100_000, 200)[len(given) :])
    names = kernels(distinct)
    fleet = [(f"node-{number:06}", names[number % len(names)]) for number in range(count)]
    tool = [str(Path(sys.executable).with_name("tailcall-audit"))]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for form, write in _FORMS.items():
            path = Path(folder) / form
            with path.open("w") as file:
                file.writelines(write(fleet))
            size = path.stat().st_size >> 20
            for more in ([], ["--json"]):
                taken = run([*tool, "--nodes", str(path), *more], times=2)
                met = taken.processor < 3 and taken.megabytes < 100
                missed += not met
                what = " ".join(more) or "table"
                print(
                    f"{form:<12}{size:>5} MB  {what:<8}{taken.seconds:>7.2f} s{taken.processor:>7.2f} s of processor{taken.megabytes:>6.0f} MB  {'met' if met else 'missed'}",
                    flush=True,
                )
            path.unlink()
    print(f"{count:,} nodes with {len(names)} kernels: to reach 3 s and 100 MB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
