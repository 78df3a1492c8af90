"""Surveys a repository whose releases are not mainline's: ``python -m bench.survey_once ARGUMENT…``.

The catalogue has the ids of mainline's base releases, which the artificial history of the bench lacks. This module
imports no more than the command itself, because the bench measures its start, too.
"""

from __future__ import annotations

import sys
from typing import Any

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog import load
from tailcall_audit.analyzer.catalog.types import Branch


def _forget_mainline() -> None:
    original = load._branch

    def without_id(name: str, data: dict[str, Any]) -> Branch:
        return original(name, data)._replace(mainline=None)

    load._branch = without_id


if __name__ == "__main__":
    _forget_mainline()
    sys.exit(main(["survey", *sys.argv[1:]]))
