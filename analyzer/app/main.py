"""The command line: the only place that prints and exits."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tailcall_audit import __version__
from tailcall_audit.analyzer.app.options import audit_parser, catalog_parser, lab_parser
from tailcall_audit.analyzer.app.streams import prepare, say, say_lines, show, showing
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Report, State, UsageError
from tailcall_audit.analyzer.pipeline import audit, select_defects
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from tailcall_audit.analyzer.live.confirm import Guests

__all__ = ["main"]

_OPTIONS = {
    "kernels": "--kernel",
    "trees": "--tree",
    "packages": "--package",
    "images": "--image",
    "installed": "--installed",
    "repository": "--repo",
    "changelog": "--changelog",
    "package_version": "--package-version",
    "changelog_format": "--changelog-format",
    "distro": "--distro",
    "offline": "--offline",
    "refresh": "--refresh",
    "config": "--config",
    "rev": "--rev",
    "system_map": "--system-map",
    "arch": "--arch",
}
"""The option of each parameter of `audit()`."""

EXIT_CLEAN = 0
EXIT_AFFECTED = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
EXIT_INTERNAL = 4
EXIT_CONTRADICTED = 5
EXIT_INTERRUPTED = 130


class _Progress:
    """A line on standard error, once something has taken more than a second; nothing when that is no terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if not self._enabled or now - self._start < 1 or now - self._last < 0.1:
            return
        self._last = now
        self._shown = True
        with suppress(OSError, ValueError):
            width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            sys.stderr.write(f"\r\x1b[K{printable(text)[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()


def _write_file(name: str, text: str) -> None:
    """Write a report to a file; raises AuditError."""
    from tailcall_audit.probes.writing import write_file

    path = os.path.expanduser(name)
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise AuditError(f"--output {path}: cannot write: {error.strerror or error}") from error


def _emit(text: str, output: str | None) -> None:
    if output is None:
        show(text)
    else:
        _write_file(output, text)


def _print_report(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        from tailcall_audit.analyzer.formats.json import render_json

        _emit(render_json(report, __version__), options.output)
    elif options.repo:
        from tailcall_audit.analyzer.formats.matrix import render_matrix

        _emit(render_matrix(report, everything=options.all), options.output)
    elif options.output is None and sys.stdout is not None and sys.stdout.isatty():
        from tailcall_audit.analyzer.formats.table import render_terminal

        with showing():
            render_terminal(report, everything=options.all, explain=options.explain)
    else:
        from tailcall_audit.analyzer.formats.plain import render_plain

        _emit(render_plain(report, everything=options.all, explain=options.explain), options.output)


def _exit_code(report: Report, allow_unknown: bool) -> int:
    if report.has_contradiction():
        return EXIT_CONTRADICTED
    if report.has(State.AFFECTED):
        return EXIT_AFFECTED
    if (report.has(State.UNKNOWN) or report.skipped) and not allow_unknown:
        return EXIT_UNKNOWN
    return EXIT_CLEAN


def _names(options: argparse.Namespace) -> list[str]:
    return [name for names in options.only for name in names.split(",") if name or len(names) < 2]


def _guests(options: argparse.Namespace) -> Guests:
    from tailcall_audit.analyzer.live.confirm import Guests
    from tailcall_audit.probes.guest.boot import Guest

    return Guests(Guest(memory=options.guest_memory, patience=float(options.guest_timeout), kvm=options.kvm))


def _confirm(report: Report, options: argparse.Namespace, image: str | None, progress: _Progress) -> Report:
    """Run the probes where the user asked for them."""
    from tailcall_audit.analyzer.live.confirm import confirm_in_guest, confirm_on_host

    if options.confirm == "vm":
        return confirm_in_guest(report, _guests(options), image, progress)

    def announce(text: str) -> None:
        progress.clear()
        say(text)

    return confirm_on_host(report, announce, progress)


def _run_audit(arguments: Sequence[str]) -> int:
    options = audit_parser().parse_args(arguments)
    progress = _Progress(enabled=sys.stderr.isatty() and not options.quiet)
    others = (
        options.kernel,
        options.tree,
        options.package,
        options.installed,
        options.repo,
        options.changelog,
    )
    to_boot = options.image if options.image and any(others) else None
    if to_boot and options.confirm != "vm":
        raise AuditError(
            "--image beside another target is the image to boot for it: say --confirm=vm, or audit it alone"
        )
    if options.repo and options.confirm:
        raise AuditError("--confirm: a repository's kernels are not at hand; name one with --package FILE")
    arch = options.arch
    if options.confirm and arch is None and (options.kernel or options.tree or options.changelog or options.config):
        arch = os.uname().machine  # of what names no architecture, that of the kernel to probe is meant
    try:
        report = audit(
            kernels=options.kernel,
            trees=options.tree,
            rev=options.rev,
            packages=options.package,
            images=[options.image] if options.image and not to_boot else [],
            system_map=options.system_map,
            installed=options.installed,
            distro=options.distro,
            repository=options.repo,
            changelog=options.changelog,
            package_version=options.package_version,
            changelog_format=options.changelog_format,
            offline=options.offline,
            refresh=options.refresh,
            config=options.config,
            arch=arch,
            catalog=_load(options.catalog),
            only=_names(options),
            pitfalls=options.pitfalls,
            progress=progress,
        )
        if options.confirm:
            report = _confirm(report, options, to_boot, progress)
    finally:
        progress.clear()
    code = _exit_code(report, options.allow_unknown)
    _print_report(report, options)
    return code


def _run_lab(arguments: Sequence[str]) -> int:
    from tailcall_audit.analyzer.formats.matrix import render_lab
    from tailcall_audit.analyzer.live.lab import run_lab

    options = lab_parser().parse_args(arguments)
    shows = sys.stderr.isatty() and not options.quiet
    report = run_lab(
        options.files,
        _guests(options),
        catalog=_load(options.catalog),
        jobs=options.jobs,
        only=_names(options),
        pitfalls=options.pitfalls,
        say=lambda text: say(text) if shows else None,
    )
    if options.json:
        from tailcall_audit.analyzer.formats.json import render_json

        text = render_json(report, __version__)
    else:
        text = render_lab(report)
    _emit(text, options.output)
    return _exit_code(report, allow_unknown=False)


def _load(path: str | None) -> Catalog:
    return load_catalog(None if path is None else os.path.expanduser(path))


def _same_commit(known: str, given: str) -> bool:
    """Whether two ids, of which either may be abbreviated, name one commit."""
    return known.startswith(given.lower()) or given.lower().startswith(known)


def _run_catalog(command: str, arguments: Sequence[str]) -> int:
    from tailcall_audit.analyzer.formats.story import render_list, render_story

    options = catalog_parser(command).parse_args(arguments)
    catalog = _load(options.catalog)
    if command == "list":
        text = render_list(catalog)
    else:
        by_commit = tuple(
            defect
            for defect in catalog.defects
            if len(options.name) >= 12
            and any(_same_commit(catalog.commits[key].id, options.name) for key in defect.commits)
        )
        text = render_story(catalog, by_commit or select_defects(catalog, [options.name]))
    _emit(text, options.output)
    return EXIT_CLEAN


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; argparse itself exits with 2 on wrong options."""
    prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in ("list", "explain"):
            return _run_catalog(given[0], given[1:])
        if given[:1] == ["catalog"]:
            from tailcall_audit.analyzer.app.catalog import run_catalog_tools

            return run_catalog_tools(given[1:])
        return _run_lab(given[1:]) if given[:1] == ["lab"] else _run_audit(given)
    except UsageError as error:
        say(error.named(_OPTIONS))
        return EXIT_USAGE
    except AuditError as error:
        say(str(error))
        return EXIT_USAGE
    except OSError as error:
        say(f"{error.filename or 'input'}: {error.strerror or error}")
        return EXIT_USAGE
    except MemoryError:
        say("not enough memory to read this input")
        return EXIT_USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence: one line for users, the traceback for whoever asks
        if "--debug" in given:
            import traceback

            say_lines(traceback.format_exc())
        say(f"internal error: {type(error).__name__}: {error} (--debug shows where; please report it)")
        return EXIT_INTERNAL
