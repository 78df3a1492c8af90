"""The day on which a kernel was built, as its build string (``uname -v``) says: ``#31-Ubuntu SMP … Sat Apr 20 00:40:06
UTC 2024``.
"""

from __future__ import annotations

import re

__all__ = ["build_day"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    r"#\d[^#]*?\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(\d{1,2})"
    r" \d{2}:\d{2}:\d{2} (?:[A-Z]{1,5} |[-+]\d{4} |-00 )?((?:19|20)\d{2})(?!\d)",
    re.ASCII,
)


def build_day(line: str) -> str | None:
    """Returns the ISO date in a build string, in whatever time zone it was written; None if there is none, or more than
    one.
    """
    found = {match.groups() for match in _DATE.finditer(line)}
    if len(found) != 1:
        return None
    month, day, year = found.pop()
    if not 1 <= int(day) <= 31:
        return None
    return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"
