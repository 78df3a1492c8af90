"""`tailcall-audit catalog`: builds and checks `commits.json` from the files that people write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tailcall_audit.analyzer.catalog.build import build
from tailcall_audit.analyzer.catalog.load import CatalogError, default_catalog_path
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.writing import write_file

__all__ = ["run_catalog_tools"]

EXIT_CLEAN = 0
EXIT_FAULTS = 1


def catalog_tools_parser() -> argparse.ArgumentParser:
    """The options of ``catalog build``."""
    parser = argparse.ArgumentParser(
        prog="tailcall-audit catalog",
        description="For those who change the catalogue: docs/catalog.md says how a fact gets in.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build_command = commands.add_parser(
        "build",
        help="write commits.json from the folder catalog/",
        description="Writes commits.json from the folder catalog/. The same files give the same bytes.",
        allow_abbrev=False,
    )
    build_command.add_argument("--from", dest="folder", metavar="DIR", help="the folder (the checkout's own)")
    build_command.add_argument("--output", metavar="FILE", help="what to write (commits.json beside the folder)")
    build_command.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 when the file is not what the folder gives"
    )
    build_command.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return parser


def _folder(given: str | None) -> Path:
    """The folder with the catalogue's files; raises CatalogError."""
    folder = Path(default_catalog_path()).parent / "catalog" if given is None else Path(given).expanduser()
    if not folder.is_dir():
        remedy = "name one with --from, from a checkout of the project" if given is None else "is it the right path?"
        raise CatalogError(f"{folder}: no such folder: {remedy}")
    return folder


def _build(options: argparse.Namespace) -> int:
    folder = _folder(options.folder)
    target = folder.parent / "commits.json" if options.output is None else Path(options.output).expanduser()
    content = build(folder)
    try:
        current = target.read_bytes() if target.exists() else None
        if current == content:
            print(f"{target} is up to date")
            return EXIT_CLEAN
        if options.check:
            print(f"{target} is not what {folder} gives: run tailcall-audit catalog build", file=sys.stderr)
            return EXIT_FAULTS
        write_file(target, content)
    except OSError as error:
        raise AuditError(f"{target}: {error.strerror or error}") from error
    print(f"wrote {target}")
    return EXIT_CLEAN


def run_catalog_tools(arguments: Sequence[str]) -> int:
    """Run ``tailcall-audit catalog …`` and return its exit code; raises AuditError on files that cannot be used."""
    options = catalog_tools_parser().parse_args(arguments)
    return _build(options)
