"""``tailcall-audit exposure``: whether programs do what a defect needs, and what that means on kernels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.programs import asked_for, joined
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
    load_with_surveys,
    names,
    now,
)
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.exposure.join import has_hit, has_possible_hit
from tailcall_audit.analyzer.exposure.report import ExposureReport
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.formats.registry import FormatNames, View, find_format
from tailcall_audit.analyzer.gates.words import severity_of
from tailcall_audit.analyzer.model import AuditError, Report
from tailcall_audit.analyzer.pipeline import audit
from tailcall_audit.analyzer.selection import select_defects

__all__ = ["parser", "run"]

_DESCRIPTION = """\
Do these programs hit it? Says for each defect what BPF programs do of what it needs (met, possible, not-met), by their
instructions, maps and attachments, and which fixes refuse them. With kernels: what they mean for these programs. Nothing is
loaded, attached or changed."""
_EPILOG = """\
examples:
  tailcall-audit exposure prog.bpf.o
  tailcall-audit exposure prog.bpf.o other.bpf.o --closed --explain
  tailcall-audit exposure --loaded                               what is loaded on this host (root)
  tailcall-audit exposure --bpftool dumps/                       bpftool's JSON, taken elsewhere
  tailcall-audit exposure prog.bpf.o --kernel 6.1.170 --kernel 6.12.94 --arch x86_64
  tailcall-audit --image vmlinuz --programs prog.bpf.o           the same from the kernel's side

exit codes, without kernels (with kernels):
  0  nothing met or possible (no hit)          2  wrong usage or unreadable input
  1  something met (a hit, or a refusal)       3  something possible (a possible hit or refusal, or unread input)"""
_OWN = ("table", "plain", "json")


def parser() -> Parser:
    """Returns the parser of ``exposure``."""
    found = Parser("tailcall-audit exposure", _DESCRIPTION, _EPILOG)
    which = found.add_argument_group("programs")
    which.add_argument("objects", nargs="*", metavar="FILE", help="BPF objects (ELF), and files that embed them")
    which.add_argument("--loaded", action="store_true", help="what is loaded on this host; takes CAP_SYS_ADMIN or root")
    which.add_argument(
        "--bpftool", action="append", default=[], metavar="DIR|FILE", help="bpftool's JSON (docs/exposure.md)"
    )
    which.add_argument(
        "--closed", action="store_true", help="these are all: no other program is loaded, and nothing else attached"
    )
    which.add_argument(
        "--jit",
        action="store_true",
        help="the kernel compiles them: net.core.bpf_jit_enable is not 0, as it is by default",
    )
    kernels = found.add_argument_group(
        "kernels (one kind at a time; --kernel, --tree, --package and --image may be repeated)"
    )
    kernels.add_argument("--kernel", action="append", default=[], metavar="STRING", help="a kernel release string")
    kernels.add_argument("--tree", action="append", default=[], metavar="PATH", help="a source tree or repository")
    kernels.add_argument("--rev", metavar="REV", help="this revision of the tree")
    kernels.add_argument("--package", action="append", default=[], metavar="FILE|NAME", help="a kernel package")
    kernels.add_argument("--image", action="append", default=[], metavar="FILE", help="a kernel image")
    kernels.add_argument("--installed", action="store_true", help="every kernel installed here")
    kernels.add_argument("--repo", metavar="PATH|URL", help="every kernel of a repository")
    kernels.add_argument("--changelog", metavar="FILE|URL", help="a package's changelog")
    kernels.add_argument("--config", metavar="FILE", help="a kernel configuration; alone, or with one kernel")
    kernels.add_argument("--arch", metavar="NAME", help="the architecture")
    kernels.add_argument("--offline", action="store_true", help="fetch nothing: only what is in the cache")
    kernels.add_argument("--branches", action="store_true", help="the oldest release of every branch without a hit")
    add_choice_options(found.add_argument_group("which defects"))
    output = found.add_argument_group("output")
    output.add_argument("--all", action="store_true", help="show what is not met, too")
    output.add_argument("--explain", action="store_true", help="draw the call graph, and say where and why")
    add_format_options(
        output, FormatNames(), "table (at a terminal), plain, json; with kernels every format of an audit"
    )
    output.add_argument("--output", metavar="FILE", help="write it there, all of it or nothing")
    output.add_argument("--quiet", action="store_true", help="no progress")
    add_catalog_options(found.add_argument_group("other"))
    return found


def _has_kernels(options: argparse.Namespace) -> bool:
    named = (options.kernel, options.tree, options.package, options.image, options.repo, options.changelog)
    return any(named) or options.installed or options.config is not None


def _check(options: argparse.Namespace) -> None:
    """Refuses what makes no sense together; raises AuditError."""
    if not options.objects and not options.loaded and not options.bpftool:
        raise AuditError("name the programs: FILE…, --loaded or --bpftool DIR")
    if options.format not in (None, *_OWN) and not _has_kernels(options):
        raise AuditError(
            f"--format {options.format} shows verdicts about kernels: name one, or take table, plain or json"
        )
    for name in ("rev", "arch", "offline"):
        if getattr(options, name) and not _has_kernels(options) and not (name == "arch" and options.branches):
            raise AuditError(f"--{name} is about a kernel, and none is named")
    if options.offline and not (options.package or options.repo or options.changelog):
        raise AuditError(
            "--offline is about what is fetched, and nothing is fetched: name --package, --repo or --changelog"
        )
    for name in ("all", "explain"):
        if getattr(options, name) and options.format not in (None, "table", "plain"):
            raise AuditError(f"--{name} is about the text of a report: --format {options.format} has no choice of it")


def _audited(options: argparse.Namespace, catalog: Catalog, progress: Progress) -> Report:
    return audit(
        kernels=options.kernel,
        trees=options.tree,
        rev=options.rev,
        packages=options.package,
        images=options.image,
        installed=options.installed,
        repository=options.repo,
        changelog=options.changelog,
        offline=options.offline,
        config=options.config,
        arch=options.arch,
        catalog=catalog,
        only=names(options),
        pitfalls=options.pitfalls,
        severity=options.severity,
        progress=progress,
        apart=True,
    )


def exit_code(found: ExposureReport) -> int:
    """Returns the exit code: by hits and refusals where there are kernels, else by what is met."""
    if found.report is not None:
        hit, perhaps = has_hit(found.report), has_possible_hit(found.report) or bool(found.report.skipped)
    else:
        hit = any(item.state is State.MET for item in found.exposures)
        perhaps = any(item.state is State.POSSIBLE for item in found.exposures)
    if hit:
        return EXIT_AFFECTED
    return EXIT_UNKNOWN if perhaps or found.skipped else EXIT_CLEAN


def _rendered(found: ExposureReport, options: argparse.Namespace) -> str:
    form = options.format
    if form is None:
        at_terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
        form = "table" if at_terminal else "plain"
    view = View(everything=options.all, explain=options.explain, made=now())
    if form == "json":
        from tailcall_audit.analyzer.formats.exposure_json import exposure_as_json

        return exposure_as_json(found)
    if form in _OWN or found.report is None:
        from tailcall_audit.analyzer.formats.exposure_text import exposure_as_table, exposure_as_text

        return (exposure_as_table if form == "table" else exposure_as_text)(found, view)
    return "".join(find_format(form).pieces(found.report, view))


def run(arguments: Sequence[str]) -> int:
    """Prints the exposure and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.exposing import expose_programs

    options = parser().read(arguments)
    settings = fill(options, ["catalog", "surveys", "format", "severity"])
    options.severity = severity_of(settings.values["severity"])
    _check(options)
    catalog = load_with_surveys(options.catalog, settings.values["surveys"].value)
    progress = Progress(enabled=sys.stderr is not None and sys.stderr.isatty() and not options.quiet)
    try:
        defects = select_defects(catalog, names(options), options.pitfalls, options.severity)
        asked = asked_for(
            options.objects, options.bpftool, loaded=options.loaded, closed=options.closed, compiled=options.jit
        )
        found = expose_programs(asked, catalog, defects, progress)
        report = _audited(options, catalog, progress) if _has_kernels(options) else None
        found = joined(found, report, options.arch, every_branch=options.branches or options.format == "json")
    finally:
        progress.clear()
    emit(_rendered(found, options), options.output)
    return exit_code(found)
