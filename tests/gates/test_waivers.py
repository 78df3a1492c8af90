"""Waivers in TOML: what is read, and what is refused with its line."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest

from tailcall_audit import AuditError, Catalog
from tailcall_audit.analyzer.gates.waivers import read_waivers
from tailcall_audit.analyzer.model import Waiver

TODAY = date(2026, 11, 26)
WHOLE = {
    "defect": '"x86-hierarchy"',
    "kernel": '"6.1.*"',
    "reason": '"no program mixes both"',
    "until": "2027-01-31",
    "who": '"platform team"',
}


def toml(**changes: str | None) -> str:
    lines = [f"{key} = {value}" for key, value in (WHOLE | changes).items() if value is not None]
    return "# ours\n[[waiver]]\n" + "\n".join(lines) + "\n"


def read(text: str, catalog: Catalog) -> tuple[Waiver, ...]:
    return read_waivers(tomllib.loads(text).get("waiver", ()), text, "w.toml", catalog, TODAY)


def test_a_waiver_is_read_with_its_line(catalog: Catalog) -> None:
    assert read(toml(), catalog) == (
        Waiver("x86-hierarchy", "6.1.*", "no program mixes both", "2027-01-31", "platform team", "w.toml:2"),
    )


@pytest.mark.parametrize(
    ("until", "expired"),
    [("2026-11-26", False), ("2026-11-25", True), ('"2026-11-27"', False), ('"2026-11-25"', True)],
)
def test_it_holds_through_its_day(catalog: Catalog, until: str, expired: bool) -> None:
    assert read(toml(until=until), catalog)[0].expired is expired


@pytest.mark.parametrize("number", ["5", '"5"'])
def test_the_number_of_a_pitfall_is_all_its_defects(catalog: Catalog, number: str) -> None:
    found = read(toml(defect=number), catalog)
    assert [item.defect for item in found] == ["freplace-attached-panic", "freplace-attached-refused"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"who": None}, "w.toml:2: the waiver lacks who"),
        ({"who": None, "reason": None}, "the waiver lacks reason, who"),
        ({"reason": '" "'}, "reason of a waiver must be a text that is not empty"),
        ({"kernel": '""'}, "kernel of a waiver must be a text"),
        ({"kernel": "6.1"}, "kernel of a waiver must be a text"),
        ({"until": '"soon"'}, "until of a waiver is a day: until = 2027-01-31"),
        ({"until": "2027-01-31T10:00:00Z"}, "until of a waiver is a day"),
        ({"until": "5"}, "until of a waiver is a day"),
        (
            {"defect": '"x86-hierachy"'},
            "w.toml:2: no defect 'x86-hierachy' in the catalogue; did you mean x86-hierarchy",
        ),
        ({"defect": '"*"'}, "no defect '\\*'"),
        ({"defect": "true"}, "defect of a waiver must be a text"),
        ({"untill": "2027-01-31"}, "a waiver has no 'untill'"),
    ],
)
def test_what_is_wrong_is_named(catalog: Catalog, changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(AuditError, match=words):
        read(toml(**changes), catalog)


@pytest.mark.parametrize("text", ["waiver = 'all'\n", "waiver = ['all']\n", "[waiver]\ndefect = 6\n", "waiver = 3\n"])
def test_what_is_no_list_of_tables_is_refused(catalog: Catalog, text: str) -> None:
    with pytest.raises(AuditError, match=r"write \[\[waiver\]\]"):
        read(text, catalog)


def test_the_second_is_named_by_its_own_line(catalog: Catalog) -> None:
    text = toml() + "\n" + toml(who=None).removeprefix("# ours\n")
    with pytest.raises(AuditError, match=r"w\.toml:9: the waiver lacks who"):
        read(text, catalog)
