"""The dated data that verdicts rest on: the catalogue and the surveys."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

__all__ = ["Basis", "age_in_days", "today"]

_MONTHS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


class Basis(NamedTuple):
    """The catalogue (an empty name) or a survey, with its date (ISO)."""

    name: str
    date: str

    def __str__(self) -> str:
        return f"the survey {self.name} of {self.date}" if self.name else f"the catalogue of {self.date}"


def today() -> str:
    """Returns today's date (ISO, UTC), or the date of SOURCE_DATE_EPOCH if that is set."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "").strip()
    seconds = float(given) if given.isascii() and given.isdigit() and len(given) < 12 else time.time()
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _number(day: str) -> int:
    """Returns the ordinal of a date, as `datetime.date.toordinal` does. Importing datetime would add 3 ms to each
    start.
    """
    year, month, of_month = (int(part) for part in day.split("-"))
    leap = month > 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 + _MONTHS[month - 1] + leap + of_month


def age_in_days(day: str, now: str) -> int:
    """Returns the number of days from one ISO date to another, 0 if the first one is later."""
    return max(0, _number(now) - _number(day))
