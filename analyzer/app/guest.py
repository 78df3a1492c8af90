"""``tailcall-audit guest``: what guests of other architectures need."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.parser import Parser, SafeParser
from tailcall_audit.analyzer.app.shared import EXIT_CLEAN, FORMATS, Progress, add_format_options, emit
from tailcall_audit.analyzer.model import AuditError

if TYPE_CHECKING:
    from tailcall_audit.probes.guest.machines import Machine

__all__ = ["parser", "run"]

_ABOUT = """What guests need: QEMU for their architecture, and a Python of it. Guests of this host's architecture get the
running Python; for another one Debian's is fetched once, or a root file system is named with --guest-python."""
_EPILOG = """examples:
  tailcall-audit guest list                        which architectures are booted, and what is missing here
  tailcall-audit guest fetch arm64                 Debian's Python for arm64, through this machine's apt
  tailcall-audit guest fetch riscv64 --suite trixie
                                                   the same, of a suite that this machine's apt does not have"""


def parser() -> Parser:
    """Returns the parser of ``guest``."""
    found = Parser("tailcall-audit guest", _ABOUT, _EPILOG)
    found.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    commands = found.add_subparsers(parser_class=SafeParser, dest="command", metavar="COMMAND", required=True)
    what = "the architectures whose kernels are booted"
    rows = commands.add_parser("list", help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
    add_format_options(rows, FORMATS, "plain, or json")
    what = "fetch Debian's Python for guests of an architecture, through apt, which checks its signatures"
    fetch = commands.add_parser("fetch", help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
    fetch.add_argument("architecture", metavar="ARCH", help="arm64, riscv64, ppc64el, s390x, …")
    fetch.add_argument("--suite", metavar="NAME", help="a suite of the Debian mirror that apt has (trixie, sid)")
    fetch.add_argument("--quiet", action="store_true", help="no progress")
    return found


def run(arguments: Sequence[str]) -> int:
    """Lists or fetches; returns the exit code. Raises AuditError."""
    options = parser().read(arguments)
    return _list(options) if options.command == "list" else _fetch(options)


def _machine(name: str) -> Machine:
    """Returns the machine of an architecture, by any of its names; raises AuditError."""
    from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
    from tailcall_audit.probes.guest.qemu import GuestError, find_machine

    try:
        return find_machine(normalize_architecture(name))
    except (UnknownArchitectureError, GuestError) as error:
        raise AuditError(str(error)) from error


def _list(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.plain import aligned
    from tailcall_audit.analyzer.live.pythons.store import kept_python
    from tailcall_audit.probes.guest.machines import MACHINES
    from tailcall_audit.probes.guest.qemu import GuestError, find_qemu, is_native

    found: list[dict[str, str | None]] = []
    for machine in MACHINES:
        row: dict[str, str | None] = {"architecture": machine.architecture, "qemu": None, "missing": None}
        try:
            row["qemu"] = find_qemu(machine.architecture).program
        except GuestError as error:
            row["missing"] = str(error)
        kept = "the running one" if is_native(machine) else kept_python(machine)
        found.append({**row, "python": None if kept is None else str(kept)})
    if options.format == "json":
        emit(json.dumps({"architectures": found}, indent=2) + "\n", None)
        return EXIT_CLEAN
    rows = [
        [
            str(row["architecture"]),
            str(row["qemu"] or row["missing"]),
            str(row["python"] or f"none: guest fetch {row['architecture']}"),
        ]
        for row in found
    ]
    emit("\n".join([*aligned([["ARCHITECTURE", "QEMU", "PYTHON"], *rows]), ""]), None)
    return EXIT_CLEAN


def _fetch(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.live.pythons.store import fetch_python, guest_archive
    from tailcall_audit.probes.guest.qemu import is_native

    machine = _machine(options.architecture)
    if is_native(machine):
        raise AuditError(f"guests of {machine.architecture} get the running Python: there is nothing to fetch")
    progress = Progress(not options.quiet)
    place, packages = fetch_python(machine, options.suite, progress)
    # What is kept must do: a library that is missing is said now, and not at the first guest.
    archive = guest_archive(machine, None)
    progress.clear()
    size = archive.stat().st_size / 1e6
    emit(f"{place}\n{', '.join(packages)}\nguests of {machine.architecture} boot with {size:.0f} MB of it\n", None)
    return EXIT_CLEAN
