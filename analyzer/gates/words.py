"""Parses the words of settings into values. Each error names the source of the word."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from tailcall_audit.analyzer.catalog.types import SEVERITIES
from tailcall_audit.analyzer.errors import AuditError, did_you_mean
from tailcall_audit.analyzer.gates.gate import ALL_FAIL, Outcome
from tailcall_audit.analyzer.gates.settings import Value
from tailcall_audit.analyzer.model import Confidence
from tailcall_audit.analyzer.text import printable

__all__ = ["confidence_of", "days_of", "outcomes_of", "severity_of"]

_OUTCOMES = ("contradicted", "affected", "unknown")


def _refuse(value: Value, word: str, known: Collection[str]) -> NoReturn:
    where = f"--{value.name}" if value.is_option else f"{value.origin}: {value.name}"
    raise AuditError(f"{where}: {printable(word, 80)!r} is none of {', '.join(known)}{did_you_mean(word, known)}")


def outcomes_of(value: Value) -> frozenset[Outcome]:
    """Returns the outcomes that fail; a contradiction always does. Raises AuditError for a word that is no outcome."""
    if value.value is None:
        return ALL_FAIL
    words = [word.strip().lower() for word in value.value.split(",")]
    for word in words:
        if word not in _OUTCOMES:
            _refuse(value, word, _OUTCOMES)
    return frozenset(map(Outcome, words)) | {Outcome.CONTRADICTED}


def confidence_of(value: Value) -> Confidence:
    """Returns the lowest confidence that counts; raises AuditError for a word that is not a confidence."""
    if value.value is None:
        return Confidence.LOW
    known = {item.label: item for item in Confidence}
    word = value.value.lower()
    return known[word] if word in known else _refuse(value, value.value, known)


def severity_of(value: Value) -> str | None:
    """Returns the lowest severity to look for (None: all); raises AuditError for a word that is not a severity."""
    if value.value is None:
        return None
    word = value.value.lower()
    return word if word in SEVERITIES else _refuse(value, value.value, SEVERITIES)


def days_of(value: Value) -> int | None:
    """Returns a number of days (None: no limit); raises AuditError for a word that is not such a number."""
    if value.value is None:
        return None
    word = value.value
    return int(word) if word.isascii() and word.isdigit() and len(word) < 6 else _refuse(value, word, ("0, 1, 2, …",))
