"""Makes text from inputs safe to print."""

from __future__ import annotations

__all__ = ["printable", "printable_lines"]


def printable(text: str, limit: int | None = None) -> str:
    """Returns the text on one line, with all characters that a terminal would interpret replaced, cut at `limit`
    characters.

    A line break in an input could otherwise add false lines to a report.
    """
    kept = text if limit is None else text[: limit + 1]
    cleaned = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in kept)
    return cleaned if limit is None or len(cleaned) <= limit else cleaned[:limit] + "…"


def printable_lines(text: str) -> str:
    """Makes each line of a text safe to print. The text is this tool's own and may have several lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
