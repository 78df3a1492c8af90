"""The facts: commits.json and the YAML files and surveys that it is built from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.strategies.case import Case
from tests.strategies.mutate import draw_mutated

__all__ = ["catalogue_cases", "catalogue_folder_cases"]

_ROOT = Path(__file__).resolve().parents[2]
_VALUES: st.SearchStrategy[object] = st.sampled_from(
    (
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "x" * 5000,
        "\x1b[2J",
        [],
        {},
        [[]],
        "(" * 400,
        "a & b | !c",
        "6.1",
        "9" * 5000,
        "[",
    )
)


def _places(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in JSON data, at most a few of each list and some levels down."""
    found = [path] if path else []
    if isinstance(data, dict):
        for key, value in list(data.items())[:12]:
            found += _places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data[:3]):
            found += _places(value, (*path, index))
    return found


_SHIPPED = json.loads((_ROOT / "commits.json").read_bytes())
_PLACES = _places(_SHIPPED)


def _changed(data: Any, path: tuple[str | int, ...], value: object, remove: bool) -> Any:
    """A copy of JSON data with another value at a place, or without it; what is not on the way is shared."""
    copy: Any = dict(data) if isinstance(data, dict) else list(data)
    if len(path) == 1:
        if remove and isinstance(copy, dict):
            copy.pop(path[0])
        else:
            copy[path[0]] = value
    else:
        copy[path[0]] = _changed(copy[path[0]], path[1:], value, remove)
    return copy


@st.composite
def catalogue_cases(draw: st.DrawFn) -> Case:
    """A commits.json with one value changed, or JSON that is none."""
    if draw(st.integers(0, 3)) == 0:
        return {
            "commits.json": draw_mutated(draw, b'{"date": "2026-01-01", "commits": {}, "defects": []}', (b"[" * 2000,))
        }
    data = _changed(_SHIPPED, draw(st.sampled_from(_PLACES)), draw(_VALUES), draw(st.booleans()))
    return {"commits.json": json.dumps(data).encode()}


_FILES = tuple(
    path.relative_to(_ROOT / "catalog")
    for path in (
        *sorted((_ROOT / "catalog/commits").glob("*.yaml"))[:2],
        *sorted((_ROOT / "catalog/defects").glob("*.yaml"))[:2],
        *sorted((_ROOT / "catalog/distributions").glob("*.yaml"))[:2],
        _ROOT / "catalog/branches.yaml",
        _ROOT / "catalog/exceptions.yaml",
    )
)
_YAML = (
    b"&a ",
    b"*a",
    b"!!python/object/apply:os.system ['id']",
    b"[" * 900,
    b"? ",
    b"- ",
    b": ",
    b"\t",
    b"{a: 1, a: 2}",
    b"|",
    b"%YAML 9",
)
_SURVEY = json.dumps({"date": "2026-01-01", "source": "x", "versions": []}).encode()


@st.composite
def catalogue_folder_cases(draw: st.DrawFn) -> Case:
    """A folder with some of the catalogue's files, of which one is broken, and a survey."""
    case: dict[str, bytes] = {}
    for name in draw(st.sets(st.sampled_from(_FILES), min_size=1, max_size=3)):
        case[f"catalog/{name}"] = draw_mutated(draw, (_ROOT / "catalog" / name).read_bytes(), _YAML)
    case["catalog/surveys/debian.json"] = draw_mutated(draw, _SURVEY, (b"[" * 5000, b'{"a":', b"9" * 5000))
    return case
