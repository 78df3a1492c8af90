"""Surveys a repository whose releases are not mainline's: ``python -m bench.survey_once [--oldest ID] ARGUMENT…``.

The catalogue has the ids of mainline's base releases, which the artificial history of the bench lacks. This module
imports no more than the command itself, because the bench measures its start, too.
"""

from __future__ import annotations

import sys
from typing import Any

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog import load
from tailcall_audit.analyzer.catalog.types import Branch, Catalog


def _forget_mainline() -> None:
    original = load._branch

    def without_id(name: str, data: dict[str, Any]) -> Branch:
        return original(name, data)._replace(mainline=None)

    load._branch = without_id


def _with_oldest(name: str) -> None:
    """Gives the oldest commit of the catalogue the id of a commit that the repository has, so that mainline is read."""
    original = load.build_catalog

    def renamed(data: dict[str, Any], raw: bytes, path: str) -> Catalog:
        catalog = original(data, raw, path)
        oldest = min(catalog.commits.values(), key=lambda commit: commit.first_release)
        return catalog._replace(commits={**catalog.commits, oldest.key: oldest._replace(id=name)})

    load.build_catalog = renamed


def run() -> None:
    """Runs the command with the arguments of this process, as the installed script does. Before them may be
    ``--oldest ID``.
    """
    arguments = sys.argv[1:]
    _forget_mainline()
    if arguments[:1] == ["--oldest"]:
        _with_oldest(arguments[1])
        arguments = arguments[2:]
    sys.exit(main(["survey", *arguments]))


if __name__ == "__main__":
    run()
