"""The command line: the only place that prints and exits."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from analyzer import __version__
from analyzer.audit import audit, select_defects
from analyzer.catalog import Catalog
from analyzer.catalog_file import load_catalog
from analyzer.model import AuditError, Report, State
from analyzer.text import printable

__all__ = ["main"]

EXIT_CLEAN = 0
EXIT_AFFECTED = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
EXIT_INTERNAL = 4
EXIT_INTERRUPTED = 130

_DESCRIPTION = """\
Does this kernel have the known defects of eBPF tail calls? Answers affected, fixed, not-affected or unknown for each, with
the evidence. With no target it audits the kernel that runs here; nothing is changed and nothing is sent anywhere."""

_EPILOG = """\
targets (one kind at a time; --kernel, --tree and --package may be repeated):
  tailcall-audit                               the running kernel
  tailcall-audit --kernel 6.1.170 --arch arm64 a release string; whole lines of `uname -a`, /proc/version or
                                               /proc/version_signature prove more
  tailcall-audit --package linux-image-6.1.0-47-amd64_6.1.170-3_amd64.deb
                                               a package file, by its changelog and configuration
  tailcall-audit --package linux-image-6.1.0-47-amd64=6.1.170-3 --distro debian
                                               the same, by the changelog that Debian publishes
  tailcall-audit --repo /srv/mirror/BaseOS     every kernel of a repository, a row each
  tailcall-audit --changelog changelog.Debian.gz --package-version 6.1.170-3
                                               a package, by its changelog
  tailcall-audit --config /boot/config-6.1…    a configuration; alone, or together with another target
  tailcall-audit --tree ~/linux                a clone (bare, shallow, worktree, …) or an unpacked tarball:
                                               the files on disk and the history of HEAD
  tailcall-audit --tree ~/linux --rev v6.1.72  one revision of it

the catalogue:
  tailcall-audit list                          all defects, a line each
  tailcall-audit explain freplace-loop         the whole story of one; also by pitfall number or commit id

exit codes:
  0  nothing affected and nothing unknown      3  nothing known to be affected, something unknown
  1  something affected                           (--allow-unknown makes it 0)
  2  wrong usage or unreadable input           4  internal error"""


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
        width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
        sys.stderr.write(f"\r\x1b[K{printable(text)[:width]}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _formatter(prog: str) -> argparse.HelpFormatter:
    # With a width of its own argparse need not import shutil, and all of compression with it, to ask the terminal.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailcall-audit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
        usage="tailcall-audit [--kernel STRING | --tree PATH [--rev REV] | --package FILE|NAME | --installed\n"
        "                       | --repo PATH|URL | --changelog FILE|URL]\n"
        "                      [--config FILE] [--arch NAME] [options]\n"
        "       tailcall-audit list | explain SLUG|NUMBER|COMMIT",
    )
    target = parser.add_argument_group("target")
    target.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="STRING",
        help="a kernel release string, or a line that names a kernel",
    )
    target.add_argument(
        "--tree", action="append", default=[], metavar="PATH", help="a kernel source tree or repository"
    )
    target.add_argument("--rev", metavar="REV", help="audit this revision of the tree, not the files on disk")
    target.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="a kernel package: a .deb or .rpm file, the name of an installed one, or NAME=VERSION of one that"
        " the distribution publishes (its changelog is fetched)",
    )
    target.add_argument(
        "--distro",
        metavar="NAME[:RELEASE]",
        help="where to fetch a package's changelog: debian, debian:bookworm, ubuntu, … (else this host's own)",
    )
    target.add_argument(
        "--installed", action="store_true", help="every kernel installed here by dpkg or RPM, the running one marked"
    )
    target.add_argument(
        "--repo",
        metavar="PATH|URL",
        help="every kernel of a repository, a row each: RPM's repodata, or a Debian Packages file",
    )
    target.add_argument(
        "--changelog",
        metavar="FILE|URL",
        help="a package's changelog (Debian, Ubuntu, RPM, .spec, SUSE; compressed too; - reads standard input)",
    )
    target.add_argument(
        "--package-version", metavar="VERSION", help="audit this version of the changelog, not its newest"
    )
    target.add_argument(
        "--changelog-format",
        choices=("debian", "ubuntu", "rpm", "suse"),
        help="the form of the changelog, where it is not told right by itself",
    )
    target.add_argument("--config", metavar="FILE", help="a kernel configuration (.config, also gzip-compressed)")
    target.add_argument(
        "--arch",
        metavar="NAME",
        help="the architecture (x86_64, arm64, s390x, riscv64, …; other spellings are understood)",
    )
    network = parser.add_argument_group("network (only --distro, --repo and --changelog with an address use it)")
    network.add_argument("--offline", action="store_true", help="fetch nothing: only what is in the cache, however old")
    network.add_argument(
        "--refresh", action="store_true", help="ask for everything anew, however young the cached copy is"
    )
    choice = parser.add_argument_group("which defects")
    choice.add_argument(
        "--only", action="append", default=[], metavar="SLUG,…", help="only these, by slug or pitfall number"
    )
    choice.add_argument("--pitfalls", action="store_true", help="only the six pitfalls")
    choice.add_argument("--all", action="store_true", help="show those in code of other architectures too")
    output = parser.add_argument_group("output")
    output.add_argument("--explain", action="store_true", help="add the evidence, its citations and the consequence")
    output.add_argument("--json", action="store_true", help="print the report as JSON (docs/report.md)")
    output.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    output.add_argument(
        "--allow-unknown",
        action="store_true",
        help="exit with 0, not 3, when something is unknown and nothing affected",
    )
    output.add_argument("--quiet", action="store_true", help="no progress")
    other = parser.add_argument_group("other")
    other.add_argument("--catalog", metavar="FILE", help="another commits.json")
    other.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    other.add_argument("--version", action="version", version=f"tailcall-audit {__version__}")
    return parser


def _catalog_parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"tailcall-audit {command}",
        description="The defects of the catalogue." if command == "list" else "The whole story of a defect.",
        allow_abbrev=False,
    )
    if command == "explain":
        parser.add_argument(
            "name",
            metavar="SLUG|NUMBER|COMMIT",
            help="a slug, a pitfall number from 1 to 6, or a commit id of 12 or more digits",
        )
    parser.add_argument("--catalog", metavar="FILE", help="another commits.json")
    parser.add_argument("--output", metavar="FILE", help="write it there")
    parser.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return parser


def _write_file(name: str, text: str) -> None:
    """Write a file whole or not at all; raises AuditError."""
    import tempfile
    from pathlib import Path

    path = Path(name).expanduser()
    try:
        if path.is_dir():
            raise AuditError(f"--output {path}: is a directory")
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise AuditError(f"--output {path}: cannot write: {error.strerror or error}") from error


def _emit(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _write_file(output, text)


def _print_report(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        from analyzer.report.as_json import render_json

        _emit(render_json(report, __version__), options.output)
    elif options.repo:
        from analyzer.report.matrix import render_matrix

        _emit(render_matrix(report, everything=options.all), options.output)
    elif options.output is None and sys.stdout.isatty():
        from analyzer.report.terminal import render_terminal

        render_terminal(report, everything=options.all, explain=options.explain)
    else:
        from analyzer.report.plain import render_plain

        _emit(render_plain(report, everything=options.all, explain=options.explain), options.output)


def _exit_code(report: Report, allow_unknown: bool) -> int:
    if report.has(State.AFFECTED):
        return EXIT_AFFECTED
    if report.has(State.UNKNOWN) and not allow_unknown:
        return EXIT_UNKNOWN
    return EXIT_CLEAN


def _run_audit(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    progress = _Progress(enabled=sys.stderr.isatty() and not options.quiet)
    try:
        report = audit(
            kernels=options.kernel,
            trees=options.tree,
            rev=options.rev,
            packages=options.package,
            installed=options.installed,
            distro=options.distro,
            repository=options.repo,
            changelog=options.changelog,
            package_version=options.package_version,
            changelog_format=options.changelog_format,
            offline=options.offline,
            refresh=options.refresh,
            config=options.config,
            arch=options.arch,
            catalog=_load(options.catalog),
            only=[name for names in options.only for name in names.split(",") if name or len(names) < 2],
            pitfalls=options.pitfalls,
            progress=progress,
        )
    finally:
        progress.clear()
    code = _exit_code(report, options.allow_unknown)
    try:
        _print_report(report, options)
    except BrokenPipeError:
        # The reader (`head`) has what it wanted; the answer is still the answer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _load(path: str | None) -> Catalog:
    return load_catalog(None if path is None else os.path.expanduser(path))


def _same_commit(known: str, given: str) -> bool:
    """Whether two ids, of which either may be abbreviated, name one commit."""
    return known.startswith(given.lower()) or given.lower().startswith(known)


def _run_catalog(command: str, arguments: Sequence[str]) -> int:
    from analyzer.report.story import render_list, render_story

    options = _catalog_parser(command).parse_args(arguments)
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
    try:
        _emit(text, options.output)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_CLEAN


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; argparse itself exits with 2 on wrong options."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in ("list", "explain"):
            return _run_catalog(given[0], given[1:])
        return _run_audit(given)
    except AuditError as error:
        print(f"tailcall-audit: {printable(str(error))}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("tailcall-audit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence: one line for users, the traceback for whoever asks
        if "--debug" in given:
            raise
        print(
            f"tailcall-audit: internal error: {type(error).__name__}: {printable(str(error))} (--debug shows where; please report it)",
            file=sys.stderr,
        )
        return EXIT_INTERNAL
