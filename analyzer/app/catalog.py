"""`tailcall-audit catalog`: builds and checks `commits.json` from the files that people write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.parser import Parser, SafeParser
from tailcall_audit.analyzer.app.shared import FORMATS, add_format_options
from tailcall_audit.analyzer.app.streams import say_lines, show
from tailcall_audit.analyzer.catalog.build import InvalidCatalogError, build, load_built
from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.docs import documents, with_tables
from tailcall_audit.analyzer.catalog.files import CatalogFiles, mapping, read_catalog_folder
from tailcall_audit.analyzer.catalog.lint import lint
from tailcall_audit.analyzer.catalog.load import default_catalog_path, load_catalog
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX, Catalog
from tailcall_audit.analyzer.catalog.yaml_file import Complaint
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.text import printable
from tailcall_audit.probes.reading import read_file
from tailcall_audit.probes.writing import write_file

if TYPE_CHECKING:
    from tailcall_audit.analyzer.catalog.yaml_file import Place
    from tailcall_audit.analyzer.readers.examples import Example

__all__ = ["parser", "run"]

EXIT_CLEAN = 0
EXIT_FAULTS = 1
EXIT_USAGE = 2
_MAX_BYTES = 16 << 20


def parser() -> Parser:
    """Returns the options of ``catalog build``, ``catalog lint`` and ``catalog docs``."""
    found = Parser(
        "tailcall-audit catalog", "Builds and checks the catalogue. docs/catalog.md describes how to add a fact."
    )
    commands = found.add_subparsers(parser_class=SafeParser, dest="command", required=True, metavar="COMMAND")
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
    _add_lint(commands)
    _add_docs(commands)
    return found


def _add_docs(commands: argparse._SubParsersAction[SafeParser]) -> None:
    command = commands.add_parser(
        "docs",
        help="write the tables of the documentation that repeat facts",
        description="Writes the tables of README.md and docs/ that repeat facts, between their markers, from commits.json.",
        allow_abbrev=False,
    )
    command.add_argument("--root", metavar="DIR", help="the checkout with the documents (this one)")
    command.add_argument("--catalog", metavar="FILE", help="another commits.json")
    command.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 when a table is not what the catalogue gives"
    )
    command.add_argument("--debug", action="store_true", help="a traceback on an internal error")


def _add_lint(commands: argparse._SubParsersAction[SafeParser]) -> None:
    command = commands.add_parser(
        "lint",
        help="name what is doubtful in the folder catalog/",
        description="Names what is doubtful in the folder catalog/, a line each; exits with 1 when there is something.",
        allow_abbrev=False,
    )
    command.add_argument("--from", dest="folder", metavar="DIR", help="the folder (the checkout's own)")
    command.add_argument(
        "--sources",
        metavar="DIR",
        help="run the examples on the unpacked linux-source packages in DIR, each in a folder named after its version",
    )
    add_format_options(command, FORMATS, "plain, or json")
    command.add_argument("--debug", action="store_true", help="a traceback on an internal error")


def _lint(options: argparse.Namespace) -> int:
    files = read_catalog_folder(_folder(options.folder))
    complaints = list(files.complaints)
    ran = 0
    if not complaints:
        catalog = load_built(files)
        complaints = lint(files, catalog)
        if options.sources is not None:
            failed, ran = _run_examples(files, catalog, expanded(options.sources))
            complaints += failed
    if options.format == "json":
        entries = [
            {"name": item.name, "file": str(item.path), "line": item.line, "message": item.message}
            for item in complaints
        ]
        show(json.dumps({"complaints": entries, "examples_run": ran}, indent=2) + "\n")
    else:
        show("".join(f"{printable(str(item))}\n" for item in complaints))
        examples = f"; {ran} examples run" if options.sources is not None else ""
        say_lines(f"{len(complaints)} complaints{examples}\n")
    return EXIT_FAULTS if complaints else EXIT_CLEAN


def _place(files: CatalogFiles, example: Example) -> tuple[Path, int]:
    """Returns the file and line of an example."""
    place: Place
    if example.key in files.commits:
        file, place = files.commits[example.key], ("signature",)
        parts = mapping(file.data)["signature"]
    else:
        file = files.tables["capabilities"]
        name = example.key.removeprefix(CAPABILITY_PREFIX)
        place = (name, "architectures", example.architecture, "signature")
        parts = mapping(file.data)[name]["architectures"][example.architecture]["signature"]
    index = [part["name"] for part in parts].index(example.part)
    return file.path, file.line((*place, index, "examples"))


def _run_examples(files: CatalogFiles, catalog: Catalog, folder: Path) -> tuple[list[Complaint], int]:
    """Returns the examples that do not hold, and how many were run; raises AuditError on a folder without a source."""
    from tailcall_audit.analyzer.readers.examples import run_source_examples, source_folders

    if kind_of(folder) is not Kind.FOLDER:
        raise AuditError(f"--sources {folder}: no such folder")
    sources = source_folders(folder)
    if not sources:
        raise AuditError(
            f"--sources {folder}: no folder in it is named after a version, such as 6.1.192-2, and has a Makefile"
        )
    complaints, ran = [], 0
    for version, source in sources.items():
        for example in run_source_examples(catalog, version, source):
            ran += 1
            if not example.holds:
                path, line = _place(files, example)
                message = f"{example.part!r} is {example.seen.value} in {version}, and the example says {example.expected.value}"
                complaints.append(Complaint("example-fails", path, line, message))
    return complaints, ran


def _folder(given: str | None) -> Path:
    """Returns the folder with the catalogue's files; raises CatalogError."""
    folder = Path(default_catalog_path()).parent / "catalog" if given is None else expanded(given)
    if kind_of(folder) is not Kind.FOLDER:
        remedy = "name one with --from, from a checkout of the project" if given is None else "is it the right path?"
        raise CatalogError(f"{folder}: no such folder: {remedy}")
    return folder


def _build(options: argparse.Namespace) -> int:
    folder = _folder(options.folder)
    target = folder.parent / "commits.json" if options.output is None else expanded(options.output)
    content = build(folder)
    code = _write_built(target, content, folder, options.check)
    if options.output is None:
        from tailcall_audit.analyzer.survey.shipped import build_branches, build_shipped

        catalog = load_built(read_catalog_folder(folder))
        for name, make in (("surveys.json", build_shipped), ("branches.json", build_branches)):
            code = max(code, _write_built(folder.parent / name, make(folder, catalog), folder, options.check))
    return code


def _write_built(target: Path, content: bytes, folder: Path, check: bool) -> int:
    """Writes a built file where it is not up to date, or with `check` says so; returns the exit code."""
    try:
        current = read_file(target, _MAX_BYTES) if is_file(target) else None
        if current == content:
            show(printable(f"{target} is up to date") + "\n")
            return EXIT_CLEAN
        if check:
            say_lines(printable(f"{target} is not what {folder} gives: run tailcall-audit catalog build") + "\n")
            return EXIT_FAULTS
        write_file(target, content)
    except OSError as error:
        raise AuditError(f"{target}: {error.strerror or error}") from error
    show(printable(f"wrote {target}") + "\n")
    return EXIT_CLEAN


def _docs(options: argparse.Namespace) -> int:
    root = Path(default_catalog_path()).parent if options.root is None else Path(options.root).expanduser()
    catalog = load_catalog(options.catalog)
    stale, seen = [], 0
    for path in documents(root):
        try:
            text = read_file(path, _MAX_BYTES).decode()
            wanted = with_tables(text, catalog, str(path))
            seen += "<!-- catalog: " in text
            if wanted != text:
                stale.append(path)
                if not options.check:
                    write_file(path, wanted.encode())
        except (OSError, UnicodeDecodeError) as error:
            raise AuditError(f"{path}: {error}") from error
    if not seen:
        raise AuditError(f"{root}: no document here has a table of the catalogue; name a checkout with --root")
    for path in stale:
        state = "out of date: run tailcall-audit catalog docs" if options.check else "written"
        show(printable(f"{path}: {state}") + "\n")
    if not stale:
        show(f"the tables of {seen} documents are up to date\n")
    return EXIT_FAULTS if stale and options.check else EXIT_CLEAN


_COMMANDS = {"build": _build, "lint": _lint, "docs": _docs}


def run(arguments: Sequence[str]) -> int:
    """Run ``tailcall-audit catalog …`` and return its exit code; raises AuditError on files that cannot be used."""
    options = parser().read(arguments)
    try:
        return _COMMANDS[options.command](options)
    except InvalidCatalogError as error:
        say_lines("".join(f"{printable(str(complaint))}\n" for complaint in error.complaints))
        return EXIT_USAGE
