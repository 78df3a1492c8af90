"""Makes text of an input safe to print."""

from __future__ import annotations

__all__ = ["printable", "printable_lines"]


def printable(text: str, limit: int | None = None) -> str:
    """Text in one line, with everything that a terminal would act on replaced, cut at `limit` characters.

    A line break of an input would let it write lines of its own into a report.
    """
    kept = text if limit is None else text[: limit + 1]
    cleaned = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in kept)
    return cleaned if limit is None or len(cleaned) <= limit else cleaned[:limit] + "…"


def printable_lines(text: str) -> str:
    """Text of our own in several lines, each fit to be shown."""
    return "\n".join(printable(line) for line in text.split("\n"))
