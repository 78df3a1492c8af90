"""What an installed distribution needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement


def requirements(name: str, extras: set[str]) -> Iterator[str]:
    """Yields what a distribution needs for some of its extras, and what that needs in turn."""
    for text in requires(name) or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield re.sub(r"[-_.]+", "-", needed.name).lower()
            yield from requirements(needed.name, needed.extras)
