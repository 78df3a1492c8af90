"""The options of ``tailcall-audit survey``, and which of them go together."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, date, datetime, timedelta

from tailcall_audit.analyzer.app.parser import Parser, SafeParser
from tailcall_audit.analyzer.app.shared import FORMATS, add_catalog_options, add_format_options
from tailcall_audit.analyzer.survey.types import MAX_WORD, NAME, NAME_RULE

__all__ = ["check_options", "parser"]

_BRANCH = re.compile(r"(?:linux-|v)?(\d+\.\d+)(?:\.y)?", re.ASCII)
"""A stable branch: 6.6, 6.6.y, v6.6 or linux-6.6.y."""
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
        help="the distribution to fetch the package's changelog from (debian, ubuntu, …); with --changelog, the distribution whose"
        " builds it lists, if its versions carry no mark (openeuler:oe2203sp4)",
    )
    found.add_argument("--package-version", metavar="VERSION", help="the build that the changelog is of")
    found.add_argument(
        "--excerpt", action="store_true", help="the changelog is an excerpt: no fact from it has high confidence"
    )
    found.add_argument(
        "--branch",
        action="append",
        default=[],
        metavar="X.Y",
        type=_branch,
        help="with --stable: only this stable branch (repeatable)",
    )
    _add_keeping(found)
    add_format_options(found, FORMATS, "plain, or json")
    found.add_argument("--output", metavar="FILE", help="print it there")


def _add_keeping(found: argparse._ActionsContainer) -> None:
    """Adds what says where a survey is kept, and what it says of itself."""
    found.add_argument(
        "--write",
        action="store_true",
        help="keep the survey, for every later audit (in a checkout of this project: in catalog/surveys, for all of its users)",
    )
    found.add_argument(
        "--into",
        metavar="DIR",
        help="with --write: another folder; no audit reads it, unless by --surveys DIR",
    )
    found.add_argument(
        "--name",
        metavar="NAME",
        type=_name,
        help="the name to keep it under (stable, vulns, or of the builds: debian-6.1)",
    )
    found.add_argument(
        "--source",
        metavar="TEXT",
        type=_citation,
        help="where the source is from, as the survey cites it: an address, a commit, what was not read (its file name)",
    )
    found.add_argument("--date", metavar="YYYY-MM-DD", type=_day, help="the day of the source (today)")


def _day(text: str) -> str:
    """Returns an ISO date; raises ArgumentTypeError."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day in the form YYYY-MM-DD") from None
    # East of Greenwich it may be tomorrow already.
    if found > datetime.now(UTC).date() + timedelta(days=1):
        raise argparse.ArgumentTypeError(f"{text} is in the future: its facts would never be too old")
    return found.isoformat()


def _branch(text: str) -> str:
    """Returns a stable branch as X.Y, of what it is called elsewhere, too; raises ArgumentTypeError."""
    found = _BRANCH.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no stable branch, as 6.6")
    return found[1]


def _name(text: str) -> str:
    """Returns a name that a survey can have; raises ArgumentTypeError."""
    if NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text[:90]!r}: {NAME_RULE}")
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


def _check_command(found: Parser, options: argparse.Namespace) -> None:
    """Ends with an error where an option of a survey stands before a command."""
    names = (*_SOURCES, "distro", "package_version", "excerpt", "branch", "write", "into", "name", "source", "date")
    given = next((name for name in names if getattr(options, name)), None)
    if given is not None:
        found.error(
            f"{options.command} is about a survey that is kept, and makes none: leave --{given.replace('_', '-')} out"
        )


def check_options(found: Parser, options: argparse.Namespace) -> None:
    """Ends with an error where no source is named, or an option has no effect."""
    if options.command is not None:
        _check_command(found, options)
        return
    if not any(getattr(options, name) for name in _SOURCES):
        words = ", ".join(f"--{name}" for name in _SOURCES)
        found.error(f"name a source: {words}; or a command: list, show, forget")
    if options.distro and not (options.package or options.changelog):
        found.error(
            "--distro is about a package that is fetched, or about a changelog: add --package NAME or --changelog FILE"
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
