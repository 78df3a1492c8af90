"""What a kernel's own functions show about an option of its configuration (`catalog/options.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["OptionSign", "load_option"]


class OptionSign(NamedTuple):
    """Functions that show if an option is on. `options` are its names, of which a kernel has one.

    It holds for mainline releases from `start` through those of `through`, on `architectures` (none: all). The
    `functions` are compiled if and only if the option is on, or, with `shows_off`, if and only if it is off; those in
    `always` are compiled in either case.
    """

    options: tuple[str, ...]
    title: str
    architectures: tuple[str, ...]
    start: UpstreamVersion
    through: UpstreamVersion
    functions: tuple[str, ...]
    shows_off: bool
    always: tuple[str, ...]
    source: str

    def holds_for(self, version: UpstreamVersion, architecture: str | None) -> bool:
        """Returns True if the functions were read for such a kernel."""
        branch = UpstreamVersion(version.major, version.minor)
        known = not self.architectures or architecture in self.architectures
        return known and self.start <= branch <= self.through


def load_option(data: Mapping[str, Any]) -> OptionSign:
    """Returns an entry of valid data."""
    return OptionSign(
        options=tuple(data["options"]),
        title=data["title"],
        architectures=tuple(data.get("architectures", ())),
        start=parse_version(data["from"]),
        through=parse_version(data["through"]),
        functions=tuple(data.get("functions", data.get("functions_without", ()))),
        shows_off="functions_without" in data,
        always=tuple(data["always"]),
        source=data["source"],
    )
