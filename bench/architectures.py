"""Makes the table kernel x architecture x defect: boots Debian's kernels of every supported architecture in one run.

    python -m bench.architectures [--list] [--json FILE] [WORD …]      (WORD: part of a package or architecture)
    python -m bench.architectures --table FILE                         (the table of docs/, from a file of --json)

Fetches the packages from the machine's Debian mirror, and a Python for each architecture through apt. Prints the name
of each kernel that is not available, and leaves it out. Takes about ten seconds for each kernel on an idle processor.
docs/architectures.md has the output.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

import pytest

from tailcall_audit.analyzer.app.main import main as tailcall_audit
from tailcall_audit.analyzer.live.pythons.store import fetch_python, kept_python
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.guest.qemu import find_machine, is_native
from tests.kernels import package_file
from tests.reports import whole_verdicts

_SUITES = {"riscv64": "trixie"}
"""The suites for architectures that Debian's second newest suite does not have."""


class _Wanted(NamedTuple):
    """A package of a Debian architecture."""

    architecture: str
    package: str
    version: str


KERNELS = tuple(
    _Wanted(architecture, *package.split("="))
    for architecture, packages in {
        "amd64": ("linux-image-6.1.0-47-cloud-amd64=6.1.170-3", "linux-binary-7.2.13+deb14-cloud-amd64=7.2.13-1"),
        "arm64": (
            "linux-image-5.10.0-30-cloud-arm64=5.10.218-1",
            "linux-image-6.1.0-47-cloud-arm64=6.1.170-3",
            "linux-image-6.1.0-56-cloud-arm64=6.1.192-2",
            "linux-image-6.12.43+deb12-cloud-arm64=6.12.43-1~bpo12+1",
            "linux-image-6.12.118+deb13-cloud-arm64=6.12.118-1",
            "linux-image-6.12.117+deb13-arm64-16k=6.12.117-1",
            "linux-image-6.12.118+deb13-rt-arm64=6.12.118-1",
            "linux-binary-6.19.14+deb13-cloud-arm64=6.19.14-1~bpo13+1",
            "linux-binary-7.0.13+deb13-cloud-arm64=7.0.13-1~bpo13+1",
            "linux-binary-7.1.13+deb13-cloud-arm64=7.1.13-1~bpo13+1",
            "linux-binary-7.2.13+deb14-cloud-arm64=7.2.13-1",
            "linux-binary-7.2.13+deb14-arm64-16k=7.2.13-1",
            "linux-binary-7.3.4+deb13-cloud-arm64=7.3.4-1~bpo13+1",
        ),
        "riscv64": (
            "linux-image-6.12.107+deb13-riscv64=6.12.107-1",
            "linux-image-6.12.117+deb13-riscv64=6.12.117-1",
            "linux-binary-7.2.13+deb14-riscv64=7.2.13-1",
        ),
        "ppc64el": (
            "linux-image-6.1.0-47-powerpc64le=6.1.170-3",
            "linux-image-6.12.107+deb13-powerpc64le=6.12.107-1",
            "linux-binary-7.2.13+deb14-powerpc64le=7.2.13-1",
            "linux-binary-7.2.13+deb14-powerpc64le-64k=7.2.13-1",
        ),
        "s390x": (
            "linux-image-6.1.0-47-s390x=6.1.170-3",
            "linux-image-6.12.107+deb13-s390x=6.12.107-1",
            "linux-binary-7.2.13+deb14-s390x=7.2.13-1",
        ),
    }.items()
    for package in packages
)
"""Debian's kernels of five architectures, on both sides of the fixes: 5.10, 6.1, 6.12, 6.19 to 7.3."""


def _debian_machine(architecture: str) -> str:
    return {"ppc64el": "powerpc64", "amd64": "x86_64"}.get(architecture, architecture)


def _ready(architecture: str) -> bool:
    """Fetches a Python for guests of an architecture if there is none. If that fails, prints the reason and returns
    False.
    """
    machine = find_machine(_debian_machine(architecture))
    try:
        if not is_native(machine) and kept_python(machine) is None:
            fetch_python(machine, _SUITES.get(architecture), lambda _: None)
    except AuditError as error:
        print(f"{architecture}: left out: {error}", file=sys.stderr)
        return False
    return True


def _files(words: list[str]) -> list[Path]:
    found = []
    for wanted in KERNELS:
        if words and not any(word in f"{wanted.package} {wanted.architecture}" for word in words):
            continue
        if not _ready(wanted.architecture):
            continue
        try:
            # The tests store packages of this host's architecture without the architecture in the name.
            named = None if is_native(find_machine(_debian_machine(wanted.architecture))) else wanted.architecture
            found.append(package_file(wanted.package, wanted.version, named))
        except pytest.skip.Exception as reason:
            print(f"{wanted.package}: left out: {reason}", file=sys.stderr)
    return found


def _mark(observation: Mapping[str, Any]) -> str:
    """Returns the cell of a defect: the observation, and how it agrees with the prediction."""
    out_of_reach = observation["state"] == "absent" and observation["detail"].startswith("cannot be ")
    state = "-" if out_of_reach else {"present": "P", "absent": "a", "could-not-run": "?"}[observation["state"]]
    return state + {"contradicted": "!", "settled": "*"}.get(observation["agreement"], "")


def _table(path: Path) -> str:
    """Returns the table of a lab's report: a letter for each kernel, and a row for each defect."""
    data = json.loads(path.read_text())
    targets = data["targets"]
    letters = list(ascii_uppercase[: len(targets)])
    out = ["| | architecture | kernel |", "|---|---|---|"]
    out += [
        f"| {letter} | {target['identity']['architecture']} | {target['name']} |"
        for letter, target in zip(letters, targets, strict=True)
    ]
    seen = [
        {item["defect"]: item["observation"] for item in whole_verdicts(data, number) if item["observation"]}
        for number in range(len(targets))
    ]
    out += ["", f"| defect | {' | '.join(letters)} |", f"|---|{'---|' * len(letters)}"]
    for slug in dict.fromkeys(slug for found in seen for slug in found):
        cells = [_mark(found[slug]) if slug in found else " " for found in seen]
        out.append(f"| `{slug}` | {' | '.join(cells)} |")
    counts = Counter(item["agreement"] for found in seen for item in found.values())
    return "\n".join([*out, "", ", ".join(f"{count} {name}" for name, count in counts.most_common())])


def main() -> int:
    """Runs the lab; returns its exit code."""
    words = sys.argv[1:]
    if words[:1] == ["--table"]:
        print(_table(Path(words[1])))
        return 0
    if "--list" in words:
        print("\n".join(f"{wanted.architecture:8} {wanted.package}" for wanted in KERNELS))
        return 0
    output: list[str] = []
    if "--json" in words:
        place = words.index("--json")
        output = ["--json", "--output", words[place + 1]]
        del words[place : place + 2]
    files = _files(words)
    if not files:
        print("no kernel", file=sys.stderr)
        return 2
    return tailcall_audit(["lab", *output, "--guest-timeout", "240", *map(str, files)])


if __name__ == "__main__":
    sys.exit(main())
