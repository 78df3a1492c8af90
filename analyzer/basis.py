"""What statements rest on that is kept and ages: the catalogue and surveys."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

__all__ = ["Basis", "age_in_days", "today"]

_MONTHS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


class Basis(NamedTuple):
    """The catalogue (an empty name) or a survey, and its day (ISO)."""

    name: str
    date: str

    def __str__(self) -> str:
        return f"the survey {self.name} of {self.date}" if self.name else f"the catalogue of {self.date}"


def today() -> str:
    """Returns the day (ISO, UTC): that of SOURCE_DATE_EPOCH, where it is set, else of the clock."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "").strip()
    seconds = float(given) if given.isascii() and given.isdigit() and len(given) < 12 else time.time()
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _number(day: str) -> int:
    """Returns the number of a day in the calendar that datetime has; an import of that takes 3 ms of the start."""
    year, month, of_month = (int(part) for part in day.split("-"))
    leap = month > 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 + _MONTHS[month - 1] + leap + of_month


def age_in_days(day: str, now: str) -> int:
    """Returns the days from one ISO day to another, 0 where it lies behind that."""
    return max(0, _number(now) - _number(day))
