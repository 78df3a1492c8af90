"""Reads waivers: the tables ``[[waiver]]`` of a settings file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import AuditError, UnknownDefectError
from tailcall_audit.analyzer.model import Waiver
from tailcall_audit.analyzer.text import printable

__all__ = ["read_waivers"]

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*waiver[ \t]*\]\]", re.MULTILINE)
_FIELDS = ("defect", "kernel", "reason", "until", "who")
_EXAMPLE = "a waiver has defect, kernel, reason, until (2027-01-31) and who"


def _places(text: str, name: str, count: int) -> list[str]:
    """Returns the file and line of each table's header; only the file if the number of headers does not match."""
    lines = [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]
    return [f"{name}:{line}" for line in lines] if len(lines) == count else [name] * count


def _word(table: Mapping[str, object], field: str, place: str) -> str:
    value = table[field]
    if not isinstance(value, str) or not value.strip():
        raise AuditError(f"{place}: {field} of a waiver must be a text that is not empty")
    return printable(value.strip())


def _until(value: object, place: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else date.fromisoformat("")
    except ValueError:
        raise AuditError(f"{place}: until of a waiver is a day: until = 2027-01-31") from None


def _waivers(table: object, place: str, catalog: Catalog, today: date) -> list[Waiver]:
    """Returns the waivers of a table: one, or one for each defect of a pitfall number. Raises AuditError if the table
    is invalid.
    """
    if not isinstance(table, Mapping):
        raise AuditError(f"{place}: waiver is a table: write [[waiver]]; {_EXAMPLE}")
    unknown = [str(key) for key in table if key not in _FIELDS]
    missing = [field for field in _FIELDS if field not in table]
    if unknown:
        raise AuditError(f"{place}: a waiver has no {printable(unknown[0], 80)!r}; {_EXAMPLE}")
    if missing:
        raise AuditError(f"{place}: the waiver lacks {', '.join(missing)}; {_EXAMPLE}")
    defect = _word({"defect": str(table["defect"])} if type(table["defect"]) is int else table, "defect", place)
    found = catalog.find(defect)
    if not found:
        known = [item.slug for item in catalog.defects]
        raise AuditError(f"{place}: {UnknownDefectError(defect, known)}")
    kernel, reason, who = (_word(table, field, place) for field in ("kernel", "reason", "who"))
    until = _until(table["until"], place)
    return [Waiver(item.slug, kernel, reason, until.isoformat(), who, place, expired=until < today) for item in found]


def read_waivers(
    tables: object, text: str, name: str, catalog: Catalog, today: date | None = None
) -> tuple[Waiver, ...]:
    """Returns the waivers in a file's `tables`. `text` is the file's content, for line numbers. A waiver is valid
    through its day, in UTC.

    Raises AuditError if a table is invalid or its defect is not in the catalogue.
    """
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise AuditError(f"{name}: waiver is a list of tables: write [[waiver]]; {_EXAMPLE}")
    from datetime import UTC

    day = today or datetime.now(UTC).date()
    places = _places(text, name, len(tables))
    return tuple(
        waiver for table, place in zip(tables, places, strict=True) for waiver in _waivers(table, place, catalog, day)
    )
