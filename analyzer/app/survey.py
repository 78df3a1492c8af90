"""``tailcall-audit survey``: reads a source of facts once, shows what it adds to the catalogue, and keeps it on
request.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import (
    EXIT_CLEAN,
    Progress,
    emit,
    load,
)
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.app.survey_options import check_options, parser
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Skipped
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.analyzer.survey.types import Survey, shortened

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
    from tailcall_audit.analyzer.subjects.subject import Subject
    from tailcall_audit.analyzer.survey.store import Store

__all__ = ["parser", "run"]

EXIT_CONFLICTS = 1
_GARBAGE = 1_000_000
"""Objects that are made before Python looks for cycles among them."""


def run(arguments: Sequence[str]) -> int:
    """Surveys, or shows and removes surveys; returns the exit code. Raises AuditError."""
    found = parser()
    options = found.read(arguments)
    fill(options, ["catalog"])
    check_options(found, options)
    return _survey(options) if options.command is None else _COMMANDS[options.command](options)


def _read_apart(options: argparse.Namespace, catalog: Catalog, progress: Callable[[str], None]) -> Survey:
    """Surveys in a process with limits of time and memory: a source may be hostile. Raises AuditError."""
    from tailcall_audit.analyzer.limits import LIMITS
    from tailcall_audit.analyzer.worker import work_apart

    limits = LIMITS["tree"] if options.stable is not None else LIMITS["repository"]

    def read(report: Callable[[str], None]) -> Iterator[Survey]:
        # What the process began with is not garbage, and a survey makes few cycles: looking for them took a tenth of its time.
        gc.freeze()
        gc.set_threshold(_GARBAGE, 20, 100)
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
    from tailcall_audit.analyzer.subjects.git_repository import open_repository
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
        source,
        day,
        progress,
        excerpt=options.excerpt,
        are_several=len(given) > 1,
        place=options.repo or "",
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
    rendered = survey_as_json if options.format == "json" else render_survey
    emit(rendered(survey, catalog), options.output)
    if options.write:
        _keep(options, survey, catalog)
    return EXIT_CONFLICTS if has_conflicts(survey, catalog) else EXIT_CLEAN


def _keep(options: argparse.Namespace, survey: Survey, catalog: Catalog) -> None:
    """Writes a survey to the folder that is named, to the checkout that this process stands in, or for the user."""
    from tailcall_audit.analyzer.survey.checkout import find_checkout
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    checkout = find_checkout() if options.into is None else None
    if checkout is not None:
        # What audits read is built with the checkout's own catalogue.
        path, built = checkout.write(survey, catalog if options.catalog is None else load(None))
        say(f"kept as {path}, and built {built} with it, which audits read")
    else:
        folder = user_folder() if options.into is None else expanded(options.into)
        say(f"kept as {Store(folder).write(survey)}")
    if options.repo and options.into is None:
        _remember(options.repo, survey)


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


def _stores() -> list[Store]:
    """Returns where surveys are kept: in the checkout that this process stands in, if it does, and for the user."""
    from tailcall_audit.analyzer.survey.checkout import find_checkout
    from tailcall_audit.analyzer.survey.folder import user_folder
    from tailcall_audit.analyzer.survey.store import Store

    checkout = find_checkout()
    return [*(() if checkout is None else checkout.stores()), Store(user_folder())]


def _store_of(name: str) -> Store:
    """Returns the first store that has a survey; the last one if none has it."""
    stores = _stores()
    return next((store for store in stores if name in store.names()), stores[-1])


def _list(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.survey import render_surveys, surveys_as_json

    kept = [(store.folder, list(store.readable(say))) for store in _stores()]
    emit(surveys_as_json(kept) if options.format == "json" else render_surveys(kept), options.output)
    return EXIT_CLEAN


def _show(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.formats.survey import render_survey, survey_as_json

    survey = _store_of(options.survey).read(options.survey)
    rendered = survey_as_json if options.format == "json" else render_survey
    emit(rendered(survey, load(options.catalog)), options.output)
    return EXIT_CLEAN


def _forget(options: argparse.Namespace) -> int:
    from tailcall_audit.analyzer.survey.checkout import find_checkout

    checkout, store = find_checkout(), _store_of(options.survey)
    if checkout is not None and store.folder in [item.folder for item in checkout.stores()]:
        path, built = checkout.forget(options.survey, load(None))
        say(f"removed {path}, and built {built} without it")
    else:
        store.forget(options.survey)
        say(f"forgot the survey {options.survey}")
    return EXIT_CLEAN


_COMMANDS = {"list": _list, "show": _show, "forget": _forget}
