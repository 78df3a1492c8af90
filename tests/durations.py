"""Says how long the tests of each folder took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import pytest

_LEAST = 1.0
"""The seconds of a folder that is worth a line."""


def times_by_folder(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Yields the lines of a table: the seconds that the tests of each folder took with their fixtures, the longest first.

    The processes that run tests side by side are added up.
    """
    seconds: dict[str, float] = defaultdict(float)
    for report in reports:
        seconds[str(PurePath(report.nodeid.partition("::")[0]).parent)] += report.duration
    longest = sorted(((time, folder) for folder, time in seconds.items() if time >= _LEAST), reverse=True)
    if longest:
        yield ""
        yield "time of the tests by folder, all processes together:"
        for time, folder in longest:
            yield f"  {time:6.0f} s  {folder}"
