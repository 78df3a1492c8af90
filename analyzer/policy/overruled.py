"""Notes on commits about which a target's code contradicts its log or its version."""

from __future__ import annotations

from collections.abc import Iterable

from tailcall_audit.analyzer.model import Evidence, EvidenceKind, Presence, Verdict

__all__ = ["overruled_by_code"]

_PLACES = {
    EvidenceKind.EMULATION: "the binary",
    EvidenceKind.CODE: "the binary",
    EvidenceKind.BTF: "the binary",
    EvidenceKind.SOURCE: "the source",
}
"""The words for where evidence from code was seen. It outranks logs and versions."""


def _in_code(verdict: Verdict, commit: str) -> Evidence | None:
    """Returns the strongest evidence about a commit from code; None if only logs and versions say anything."""
    return next(
        (
            item
            for kind in _PLACES
            for item in verdict.evidence
            if item.commit == commit and item.kind is kind and item.presence is not Presence.UNKNOWN
        ),
        None,
    )


def overruled_by_code(verdicts: Iterable[Verdict]) -> list[str]:
    """Returns a note on each commit about which the code contradicts the log or the version."""
    notes: dict[str, str] = {}
    for item in verdicts:
        for disagreement in item.disagreements:
            said = _in_code(item, disagreement.commit)
            if said is not None:
                has = "is in" if said.presence is Presence.PRESENT else "is not in"
                seen = said.detail.partition(" (")[0]
                notes[disagreement.commit] = (
                    f"{disagreement.commit} {has} {_PLACES[said.kind]}: {seen}; but {disagreement.text}"
                )
    return list(notes.values())
