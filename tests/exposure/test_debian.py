"""Debian's objects and what they expose: none of them makes a tail call, and docs/exposure.md has the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.types import Exposure, State
from tailcall_audit.analyzer.programs.types import ProgramSet
from tests.exposure.test_selftests import _ELSEWHERE
from tests.programs.test_debian import PACKAGES, sets_in

_CATALOG = shipped_catalog()
_DOCUMENT = Path(__file__).parents[2] / "docs/exposure.md"


def compiled(found: ProgramSet) -> ProgramSet:
    return found._replace(programs=tuple(item._replace(jited=True) for item in found.programs))


def exposures(package: str, version: str, *, closed: bool) -> list[Exposure]:
    """What the files of a package expose, each file for itself: they are loaded by different programs."""
    found: list[Exposure] = []
    for _, sets in sets_in(package, version):
        if any(item.programs for item in sets):
            found += expose(_CATALOG, [compiled(item) for item in sets], closed=closed)
    return found


def slugs(found: list[Exposure], state: State) -> list[str]:
    names = {item.defect for item in found if item.state is state and not item.defect.startswith(_ELSEWHERE)}
    return [defect.slug for defect in _CATALOG.defects if defect.slug in names]


def row(package: str, version: str, files: int, programs: int) -> str:
    closed, world = (exposures(package, version, closed=value) for value in (True, False))
    cells = (", ".join(slugs(closed, state)) for state in (State.MET, State.POSSIBLE))
    return f"| {package} {version} | {files} | {programs} | {' | '.join(cells)} | {len(slugs(world, State.POSSIBLE))} |"


@pytest.mark.parametrize(("package", "version", "files", "programs", "types"), PACKAGES)
def test_the_table_of_the_documentation_is_what_is_found(
    package: str, version: str, files: int, programs: int, types: set[str | None]
) -> None:
    rows = re.findall(rf"^\| {re.escape(package)} \d.*$", _DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert rows == [row(package, version, files, programs)]


@pytest.mark.parametrize(("package", "version", "files", "programs", "types"), PACKAGES)
def test_nothing_is_met_and_nothing_refused_in_a_closed_world(
    package: str, version: str, files: int, programs: int, types: set[str | None]
) -> None:
    found = exposures(package, version, closed=True)
    assert found
    assert [item.defect for item in found if item.state is State.MET or item.refused is not State.NOT_MET] == []
    # What suricata's loader names as types is not in the object: one may be an extension.
    assert slugs(found, State.POSSIBLE) == (["resolve-prog-type-null-deref-load"] if None in types else [])


@pytest.mark.parametrize(("package", "version"), [item[:2] for item in PACKAGES])
def test_none_makes_a_tail_call_and_any_may_be_tail_called(package: str, version: str) -> None:
    sets = [item for _, found in sets_in(package, version) for item in found]
    assert not any(function.tail_calls for item in sets for program in item.programs for function in program.functions)
    found = exposures(package, version, closed=False)
    assert slugs(found, State.MET) == []
    pitfalls = {item.slug for item in _CATALOG.defects if item.pitfall is not None}
    possible = set(slugs(found, State.POSSIBLE)) & pitfalls
    # A loop takes a tail call of the program, or a subprogram that others trace or replace.
    assert "freplace-tailcallee" in possible
    assert not {"x86-count-offset", "x86-hierarchy"} & possible
