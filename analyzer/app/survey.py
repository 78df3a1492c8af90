"""``tailcall-audit survey``: reads a source of facts once, shows what it adds to the catalogue, and keeps it on
request.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.parser import Parser, SafeParser
from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import (
    EXIT_CLEAN,
    FORMATS,
    Progress,
    add_catalog_options,
    add_format_options,
    emit,
    load,
)
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Skipped
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.analyzer.survey.types import MAX_WORD, NAME, Survey, shortened

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
    from tailcall_audit.analyzer.subjects.subject import Subject

__all__ = ["parser", "run"]

EXIT_CONFLICTS = 1
_SOURCES = ("stable", "vulns", "changelog", "package", "repo")
_ABOUT = """Reads a source of facts about kernels once, and shows what it says that the catalogue does not: what is new, what ends
later, what contradicts. Nothing is written without --write; then every later audit by this user reads it too."""
_EPILOG = """examples:
  tailcall-audit survey --stable ~/linux-stable              what the stable branches of a clone have
  tailcall-audit survey --stable ~/linux-stable --write      and keep it
  tailcall-audit survey --vulns ~/vulns --json               the records of the kernel's CVE authority, as JSON
  tailcall-audit survey list                                 the surveys that are kept

exit codes: 0 read; 1 read, and something contradicts something; 2 nothing could be read"""


def _add_sources(found: argparse._ActionsContainer) -> None:
    sources = found.add_mutually_exclusive_group()
    sources.add_argument("--stable", metavar="DIR", help="a clone of the stable tree, with its tags")
    sources.add_argument("--vulns", metavar="DIR", help="a clone of vulns.git, the kernel's CVE records")
    for name, metavar, what in (
        ("--changelog", "FILE|URL", "a distribution's kernel changelog (repeatable)"),
        ("--package", "FILE|NAME", "a kernel package, by its changelog (repeatable)"),
    ):
        sources.add_argument(name, metavar=metavar, action="append", default=[], help=what)
    sources.add_argument("--repo", metavar="PATH|URL", help="a package repository whose indexes have changelogs")
    found.add_argument(
        "--distro",
        metavar="NAME",
        help="where to fetch the package's changelog from (debian, ubuntu, …); or whose a changelog is that writes no mark into its versions (openeuler:oe2203sp4)",
    )
    found.add_argument("--package-version", metavar="VERSION", help="the build that the changelog is of")
    found.add_argument(
        "--excerpt", action="store_true", help="entries of the changelog are missing: no fact by it has high confidence"
    )
    found.add_argument(
        "--branch",
        action="append",
        default=[],
        metavar="X.Y",
        help="with --stable: only this stable branch (repeatable)",
    )
    found.add_argument("--write", action="store_true", help="keep the survey, for every later audit by this user")
    found.add_argument(
        "--into",
        metavar="DIR",
        help="with --write: another folder than the user's (a checkout's catalog/surveys/packages)",
    )
    found.add_argument("--name", metavar="NAME", type=_name, help="the name to keep it under (stable, vulns)")
    found.add_argument(
        "--source",
        metavar="TEXT",
        type=_citation,
        help="where the source is from, as the survey cites it: an address, a commit, what was not read (its file name)",
    )
    found.add_argument("--date", metavar="YYYY-MM-DD", type=_day, help="the day of the source (today)")
    add_format_options(found, FORMATS, "plain, or json")
    found.add_argument("--output", metavar="FILE", help="print it there")


def _day(text: str) -> str:
    """Returns an ISO date; raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day in the form YYYY-MM-DD") from None


def _name(text: str) -> str:
    """Returns a name that a survey can have; raises ArgumentTypeError."""
    if NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(
            f"{text[:90]!r}: small letters, digits and .+- only, and a letter or digit first"
        )
    return text


def _citation(text: str) -> str:
    """Returns a text that a survey can keep; raises ArgumentTypeError."""
    if not text.strip() or len(text) > MAX_WORD or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"one line of at most {MAX_WORD} characters is kept, and this is {text[:60]!r}"
        )
    return text.strip()


def parser() -> Parser:
    """Returns the parser of ``survey``."""
    found = Parser("tailcall-audit survey", _ABOUT, _EPILOG)
    _add_sources(found)
    add_catalog_options(found)
    commands = found.add_subparsers(parser_class=SafeParser, dest="command", metavar="COMMAND")
    for name, what in (("list", "the surveys that are kept"), ("show", "one of them"), ("forget", "remove one")):
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
        if name != "list":
            command.add_argument("survey", metavar="NAME", help="its name")
        if name != "forget":
            add_format_options(command, FORMATS, "plain, or json", argparse.SUPPRESS)
            command.add_argument("--output", metavar="FILE", default=argparse.SUPPRESS, help="print it there")
    return found


def run(arguments: Sequence[str]) -> int:
    """Surveys, or shows and removes surveys; returns the exit code. Raises AuditError."""
    found = parser()
    options = found.read(arguments)
    fill(options, ["catalog"])
    if options.command is not None:
        return _COMMANDS[options.command](options)
    if not any(getattr(options, name) for name in _SOURCES):
        words = ", ".join(f"--{name}" for name in _SOURCES)
        found.error(f"name a source: {words}; or a command: list, show, forget")
    if options.distro and not (options.package or options.changelog):
        found.error(
            "--distro says where a package's changelog is, or whose one is: add --package NAME or --changelog FILE"
        )
    if options.package_version and len(options.changelog) != 1:
        found.error("--package-version is about one changelog: add --changelog FILE, once")
    if options.excerpt and not options.changelog:
        found.error("--excerpt is about a changelog: add --changelog FILE")
    if options.branch and not options.stable:
        found.error("--branch is about the branches of a clone: add --stable DIR")
    if options.into and not options.write:
        found.error("--into is the folder to keep the survey in: add --write")
    if options.name and not options.write:
        found.error("--name is the name to keep the survey under: add --write")
    return _survey(options)


def _read_apart(options: argparse.Namespace, catalog: Catalog, progress: Callable[[str], None]) -> Survey:
    """Surveys in a process with limits of time and memory: a source may be hostile. Raises AuditError."""
    from tailcall_audit.analyzer.limits import LIMITS
    from tailcall_audit.analyzer.worker import work_apart

    limits = LIMITS["tree"] if options.stable is not None else LIMITS["repository"]

    def read(report: Callable[[str], None]) -> Iterator[Survey]:
        yield _read(options, catalog, report)

    found = list(work_apart(read, limits, catalog, progress, (Survey,)))
    if len(found) != 1:
        raise AuditError("the process that surveyed it gave no survey")
    return found[0]


def _read(options: argparse.Namespace, catalog: Catalog, progress: Callable[[str], None]) -> Survey:
    day = options.date or datetime.now(UTC).date().isoformat()
    if options.vulns is not None:
        from tailcall_audit.analyzer.survey.vulns import survey_vulns

        root = expanded(options.vulns)
        return survey_vulns(catalog, root, root.name or str(root), day, progress)
    if options.stable is None:
        return _read_changelogs(options, catalog, day, progress)
    from tailcall_audit.analyzer.subjects.locate_tree import open_repository
    from tailcall_audit.analyzer.survey.stable import survey_stable

    root = expanded(options.stable)
    repository = open_repository(root)
    if repository is None:
        what = "no such folder" if kind_of(root) is Kind.MISSING else "no git repository"
        raise AuditError(f"--stable {root}: {what}; give a clone of the stable tree")
    return survey_stable(catalog, repository, root.name or str(root), day, options.branch, progress)


def _read_changelogs(
    options: argparse.Namespace, catalog: Catalog, day: str, progress: Callable[[str], None]
) -> Survey:
    """Surveys the changelogs of the sources that an audit would open."""
    from importlib import import_module

    from tailcall_audit.analyzer.subjects.subject import Request
    from tailcall_audit.analyzer.survey.packages import survey_changelogs

    openers = {"changelog": "changelog", "package": "package", "repo": "repository"}
    kind = next(name for name in openers if getattr(options, name))
    given = [options.repo] if kind == "repo" else getattr(options, kind)
    request = Request(
        catalog, catalog.defects, distro=options.distro, package_version=options.package_version, progress=progress
    )
    opener = import_module(f"tailcall_audit.analyzer.subjects.{openers[kind]}")
    opened = _with_changelog(_of_each(given, lambda name: opener.open_subjects(request, name)))
    source = shortened(", ".join(os.path.basename(name) for name in given))
    return survey_changelogs(
        catalog,
        opened,
        "packages",
        source,
        day,
        progress,
        excerpt=options.excerpt,
        are_several=len(given) > 1,
    )


def _of_each(names: Sequence[str], opened: Callable[[str], Iterable[Subject | Skipped]]) -> Iterator[Subject | Skipped]:
    """Yields the subjects of all sources. One of several that cannot be read is named and costs no other."""
    for name in names:
        try:
            yield from opened(name)
        except AuditError as error:
            if len(names) == 1:
                raise
            yield Skipped(name, str(error))


def _with_changelog(subjects: Iterable[Subject | Skipped]) -> Iterator[OpenChangelog]:
    """Yields the changelogs of subjects; names each that has none on standard error."""
    for subject in subjects:
        if isinstance(subject, Skipped):
            say(f"{subject.label}: left out: {subject.reason}")
        elif subject.parts.changelog is None:
            say(f"{subject.label}: left out: no changelog in it")
        else:
            yield subject.parts.changelog


def _survey(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.survey import has_conflicts, render_survey, survey_as_json
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    catalog = load(options.catalog)
    progress = Progress(True)
    try:
        survey = _read_apart(options, catalog, progress)
    finally:
        progress.clear()
    if options.name:
        survey = survey._replace(name=options.name)
    if options.source:
        survey = survey._replace(source=options.source)
    emit(survey_as_json(survey) if options.format == "json" else render_survey(survey, catalog), options.output)
    if options.write:
        folder = user_folder() if options.into is None else expanded(options.into)
        say(f"kept as {Store(folder).write(survey)}")
        if options.repo and options.into is None:
            _remember(options.repo, survey)
    return EXIT_CONFLICTS if has_conflicts(survey, catalog) else EXIT_CLEAN


def _remember(place: str, survey: Survey) -> None:
    """Keeps a repository, so that --online looks builds up in it."""
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.types import Series
    from tailcall_audit.analyzer.web.fetch import is_url
    from tailcall_audit.analyzer.web.repositories import KnownRepository, remember

    named = tuple(dict.fromkeys(Series.from_text(series).distro for series in survey.reach))
    if not is_url(place):
        place = os.path.abspath(expanded(place))
    remember(str(user_folder().parent), KnownRepository(place, named))
    say(f"--online looks builds of {', '.join(named)} up in {place}")


def _list(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.survey import render_surveys, surveys_as_json
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    store = Store(user_folder())
    surveys = list(store.readable(say))
    as_json = options.format == "json"
    emit(surveys_as_json(surveys) if as_json else render_surveys(surveys, store.folder), options.output)
    return EXIT_CLEAN


def _show(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.survey import render_survey, survey_as_json
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    survey = Store(user_folder()).read(options.survey)
    emit(
        survey_as_json(survey) if options.format == "json" else render_survey(survey, load(options.catalog)),
        options.output,
    )
    return EXIT_CLEAN


def _forget(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    Store(user_folder()).forget(options.survey)
    say(f"forgot the survey {options.survey}")
    return EXIT_CLEAN


_COMMANDS = {"list": _list, "show": _show, "forget": _forget}
