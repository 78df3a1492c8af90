"""Text from outside, made fit to be shown."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, limit: int | None = None) -> str:
    """Text with everything that a terminal would act on replaced, cut at `limit` characters; line breaks stay."""
    kept = text if limit is None else text[: limit + 1]
    cleaned = "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in kept
    )
    return cleaned if limit is None or len(cleaned) <= limit else cleaned[:limit] + "…"
