"""``tailcall-audit plan``: the commits that mend a tree, their order, and whether they apply."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import (
    EXIT_AFFECTED,
    EXIT_CLEAN,
    EXIT_UNKNOWN,
    Progress,
    add_catalog_options,
    add_choice_options,
    add_format_options,
    emit,
    load,
    names,
)
from tailcall_audit.analyzer.gates.words import severity_of
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.plan.rendering import find_plan_format, plan_format_names

if TYPE_CHECKING:
    from tailcall_audit.analyzer.plan.types import Plan, SeriesPlan
    from tailcall_audit.analyzer.subjects.subject import Request

__all__ = ["parser", "run"]

_DESCRIPTION = """\
Which commits mend this kernel tree? Lists the fixes that it lacks, with what they need and what mends them, in the order
in which they apply. Each is tried on top of the last in a scratch repository, and the tree that comes out is audited by its
code. Nothing is run, fetched or written in the tree or its repository."""
_EPILOG = """\
examples:
  tailcall-audit plan --tree ~/linux
  tailcall-audit plan --tree ~/linux --rev v6.1.140 --upstream stable/linux-6.1.y --only 3,4,6
  tailcall-audit plan --tree ~/linux --upstream ~/src/stable --format script --output mend.sh
  tailcall-audit plan --tree linux-6.1.170 --patches mails/
  tailcall-audit plan --package linux-image-6.1.0-47-amd64_6.1.170-3_amd64.deb
  tailcall-audit plan --repo /srv/mirror/BaseOS

exit codes:
  0  nothing to mend, nothing unknown       2  wrong usage or unreadable input
  1  a plan that applies                    3  conflicts, missing objects, steps that were not tried, something open or unknown"""


def parser() -> Parser:
    """Returns the parser of ``plan``."""
    found = Parser("tailcall-audit plan", _DESCRIPTION, _EPILOG)
    target = found.add_argument_group("target")
    target.add_argument("--tree", metavar="PATH", help="a kernel source tree or repository")
    target.add_argument("--rev", metavar="REV", help="mend this revision of it (HEAD)")
    target.add_argument(
        "--package",
        metavar="FILE|NAME",
        help="instead of a tree: the first later version of this package's series without each defect",
    )
    target.add_argument(
        "--repo", metavar="PATH|URL", help="the versions to choose from; alone, for every series of the repository"
    )
    target.add_argument("--distro", metavar="NAME[:RELEASE]", help="where the changelog of NAME=VERSION is published")
    target.add_argument("--offline", action="store_true", help="fetch nothing: only what is in the cache, however old")
    target.add_argument("--refresh", action="store_true", help="fetch everything again")
    target.add_argument("--config", metavar="FILE", help="the kernel configuration: what it rules out needs no fix")
    target.add_argument("--arch", metavar="NAME", help="the architecture; without it, fixes for all are planned")
    target.add_argument(
        "--upstream",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH|REF",
        help="where commits may be picked from: another repository, or a branch of the audited one (stable/linux-6.1.y)",
    )
    target.add_argument(
        "--patches", metavar="DIR", help="mails or git format-patch files to try where there are no git objects"
    )
    choice = found.add_argument_group("which defects")
    add_choice_options(choice)
    choice.add_argument("--unknown", action="store_true", help="plan for undecided defects too")
    output = found.add_argument_group("output")
    add_format_options(
        output,
        plan_format_names(),
        "table (at a terminal), plain, json (docs/plan.md), script (git commands), quilt (a folder with a series)",
    )
    output.add_argument("--output", metavar="FILE|DIR", help="write it there; for quilt a new folder")
    output.add_argument("--quiet", action="store_true", help="no progress")
    add_catalog_options(found.add_argument_group("other"))
    return found


def _request(options: argparse.Namespace, progress: Progress) -> Request:
    from tailcall_audit.analyzer.selection import given_config, named_architecture, select_defects
    from tailcall_audit.analyzer.subjects.subject import Request

    catalog = load(options.catalog)
    return Request(
        catalog=catalog,
        defects=select_defects(catalog, names(options), options.pitfalls, options.severity),
        rev=options.rev,
        arch=named_architecture(options.arch),
        config=given_config(options.config, catalog),
        distro=options.distro,
        offline=options.offline,
        refresh=options.refresh,
        progress=progress,
    )


_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A temporary folder that is deleted at the end, also by SIGTERM and SIGHUP."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    folder = tempfile.mkdtemp(prefix="tailcall-audit-plan-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _plan(options: argparse.Namespace, request: Request) -> Plan:
    """Makes the plan in a worker with limits; its files are deleted however it ends."""
    from tailcall_audit.analyzer.limits import LIMITS
    from tailcall_audit.analyzer.plan.make import Asked, make_plan
    from tailcall_audit.analyzer.plan.types import Plan
    from tailcall_audit.analyzer.worker import work_apart

    with _scratch_folder() as folder:
        asked = Asked(options.tree, tuple(options.upstream), folder, options.unknown, options.patches)

        def make(progress: Callable[[str], None]) -> Iterator[Plan]:
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)  # the worker has no folder to delete
            yield make_plan(request._replace(progress=progress), asked)

        found = list(work_apart(make, LIMITS["tree"], request.catalog, request.progress, (Plan,)))
    if not found:
        raise AuditError(f"{options.tree}: there is no plan")
    return found[0]


def _series(options: argparse.Namespace, request: Request) -> SeriesPlan:
    """Finds the versions to update to, in a worker with limits."""
    from tailcall_audit.analyzer.limits import LIMITS
    from tailcall_audit.analyzer.plan.series import plan_for_package, plan_for_repository
    from tailcall_audit.analyzer.plan.types import SeriesPlan
    from tailcall_audit.analyzer.worker import work_apart

    def make(progress: Callable[[str], None]) -> Iterator[SeriesPlan]:
        asked = request._replace(progress=progress)
        if options.package is None:
            yield plan_for_repository(asked, options.repo)
        else:
            yield plan_for_package(asked, options.package, options.repo)

    kind = "package" if options.repo is None else "repository"
    (found,) = work_apart(make, LIMITS[kind], request.catalog, request.progress, (SeriesPlan,))
    return found


def _format_of(options: argparse.Namespace) -> str:
    if options.format is not None:
        return str(options.format)
    at_terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
    return "table" if at_terminal else "plain"


_OF_A_TREE = ("rev", "upstream", "patches", "unknown")


def _check(options: argparse.Namespace) -> None:
    """Refuses options that contradict each other or would write into the tree; raises AuditError."""
    if options.tree is None and options.package is None and options.repo is None:
        raise AuditError("name what is to be mended: --tree PATH, --package FILE or --repo PATH")
    if options.tree is not None:
        for name in ("package", "repo", "distro", "offline", "refresh"):
            if getattr(options, name):
                raise AuditError(f"--{name} is about packages, and --tree about sources: name one of them")
    else:
        for name in _OF_A_TREE:
            if getattr(options, name):
                raise AuditError(f"--{name} is about a tree: name it with --tree")
        if options.format in ("script", "quilt"):
            raise AuditError(f"--format {options.format} is for a tree: a package is mended by a newer version of it")
    if options.format == "quilt" and options.output is None:
        raise AuditError("--format quilt makes a folder: name it with --output DIR")
    _refuse_inside(options.output, options.tree)


def _refuse_inside(output: str | None, tree: str | None) -> None:
    """Refuses to write into the tree that a plan is for; raises AuditError."""
    if output is None or tree is None:
        return
    root = os.path.realpath(os.path.expanduser(tree))
    place = os.path.realpath(os.path.expanduser(output))
    if place == root or place.startswith(root + os.sep):
        raise AuditError(f"--output {output}: inside of the tree, in which nothing is written: name another place")


def series_exit_code(plan: SeriesPlan) -> int:
    """Returns the exit code of a plan for a package or a repository."""
    if plan.unknown or any(item.version is None for item in plan.items):
        return EXIT_UNKNOWN
    return EXIT_AFFECTED if plan.items else EXIT_CLEAN


def exit_code(plan: Plan) -> int:
    """Returns the exit code of a plan."""
    if plan.unknown or not plan.applies:
        return EXIT_UNKNOWN
    return EXIT_AFFECTED if plan.steps else EXIT_CLEAN


def run(arguments: Sequence[str]) -> int:
    """Makes and prints a plan and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.plan.series_text import render_series, series_as_json
    from tailcall_audit.analyzer.plan.types import SeriesPlan
    from tailcall_audit.probes.writing import write_folder

    options = parser().read(arguments)
    settings = fill(options, ["catalog", "severity"])
    options.severity = severity_of(settings.values["severity"])
    _check(options)
    progress = Progress(enabled=sys.stderr is not None and sys.stderr.isatty() and not options.quiet)
    try:
        request = _request(options, progress)
        made = _series(options, request) if options.tree is None else _plan(options, request)
    finally:
        progress.clear()
    if isinstance(made, SeriesPlan):
        text = series_as_json(made, request.catalog) if options.format == "json" else render_series(made)
        emit(text, options.output)
        return series_exit_code(made)
    _refuse_inside(options.output, made.identity.get("root"))  # the tree that was named may be a folder of it
    rendered = find_plan_format(_format_of(options))(made, request.catalog)
    if isinstance(rendered, str):
        emit(rendered, options.output)
        return exit_code(made)
    try:
        write_folder(os.path.expanduser(options.output), rendered)
    except OSError as error:
        raise AuditError(f"--output {options.output}: cannot write: {error.strerror or error}") from error
    return exit_code(made)
