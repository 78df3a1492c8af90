"""The table kernel x architecture x defect: boots Debian's kernels of every architecture that is booted, in one run.

    python -m bench.architectures [--list] [--json FILE] [WORD …]      (those whose package or architecture has a WORD)

Fetches the packages from the machine's Debian mirror, and a Python for each architecture through its apt; what is not
to be had is named and left out. Takes some ten seconds a kernel on an idle processor. docs/architectures.md has what
it printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.app.main import main as tailcall_audit
from tailcall_audit.analyzer.live.pythons.store import fetch_python, kept_python
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.guest.qemu import find_machine, is_native
from tests.kernels import available, package_file

_SUITES = {"riscv64": "trixie"}
"""Where Debian's newest suite but one has no such architecture."""


class _Wanted(NamedTuple):
    """A package of a Debian architecture."""

    architecture: str
    package: str


KERNELS = tuple(
    _Wanted(architecture, package)
    for architecture, packages in {
        "amd64": ("linux-image-6.1.0-47-cloud-amd64", "linux-binary-7.2.13+deb14-cloud-amd64"),
        "arm64": (
            "linux-image-5.10.0-30-cloud-arm64",
            "linux-image-6.1.0-47-cloud-arm64",
            "linux-image-6.1.0-56-cloud-arm64",
            "linux-image-6.12.43+deb12-cloud-arm64",
            "linux-image-6.12.118+deb13-cloud-arm64",
            "linux-image-6.12.117+deb13-arm64-16k",
            "linux-image-6.12.118+deb13-rt-arm64",
            "linux-binary-6.19.14+deb13-cloud-arm64",
            "linux-binary-7.0.13+deb13-cloud-arm64",
            "linux-binary-7.1.13+deb13-cloud-arm64",
            "linux-binary-7.2.13+deb14-cloud-arm64",
            "linux-binary-7.2.13+deb14-arm64-16k",
            "linux-binary-7.3.4+deb13-cloud-arm64",
        ),
        "riscv64": (
            "linux-image-6.12.107+deb13-riscv64",
            "linux-image-6.12.117+deb13-riscv64",
            "linux-binary-7.2.13+deb14-riscv64",
        ),
        "ppc64el": (
            "linux-image-6.1.0-47-powerpc64le",
            "linux-image-6.12.107+deb13-powerpc64le",
            "linux-binary-7.2.13+deb14-powerpc64le",
            "linux-binary-7.2.13+deb14-powerpc64le-64k",
        ),
        "s390x": (
            "linux-image-6.1.0-47-s390x",
            "linux-image-6.12.107+deb13-s390x",
            "linux-binary-7.2.13+deb14-s390x",
        ),
    }.items()
    for package in packages
)
"""Debian's kernels of five architectures, on both sides of the fixes: 5.10, 6.1, 6.12, 6.19 to 7.3."""


def _debian_machine(architecture: str) -> str:
    return {"ppc64el": "powerpc64", "amd64": "x86_64"}.get(architecture, architecture)


def _ready(architecture: str) -> bool:
    """Fetches a Python for guests of an architecture where there is none; says why not."""
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
        if not available(wanted.package, wanted.architecture):
            print(f"{wanted.package}: the mirror has it no longer", file=sys.stderr)
            continue
        found.append(package_file(wanted.package, None, wanted.architecture))
    return found


def main() -> int:
    """Runs the lab; returns its exit code."""
    words = sys.argv[1:]
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
