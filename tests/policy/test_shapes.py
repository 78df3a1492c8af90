"""Kernels whose evidence differs in words only share a decision: it is the one that each would get by itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Verdict
from tailcall_audit.analyzer.policy import facts as memory
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import _judge_everywhere, judge_all
from tailcall_audit.analyzer.readers.release import release_evidence
from tailcall_audit.analyzer.readers.series import series_evidence

CATALOG = load_catalog()
STRINGS = Path(__file__).parents[1] / "kernelfiles/release_strings.tsv"


def alone(facts: Facts) -> tuple[Verdict, ...]:
    ordered = sorted(CATALOG.defects, key=lambda defect: defect.pitfall or 99)
    return tuple(verdict for defect in ordered for verdict in _judge_everywhere(CATALOG, defect, facts))


def together(every: Iterable[Facts]) -> list[tuple[Verdict, ...]]:
    """Judges targets as a fleet, all of them by their shapes."""
    memory.MEMORY.of(CATALOG).targets = 100
    return [judge_all(CATALOG, facts, CATALOG.defects) for facts in every]


def texts() -> Iterable[str]:
    for line in STRINGS.read_text().splitlines():
        if not line.startswith("#"):
            yield line.split("\t", 2)[2].replace("\\t", "\t")
    for number in range(20, 40):
        yield from (f"6.1.0-{number}-amd64", f"5.15.0-{number}-generic", f"5.14.0-{number + 400}.el9_4.x86_64")


def test_a_fleet_s_verdicts_are_those_that_each_kernel_gets_by_itself() -> None:
    releases = []
    for text in texts():
        try:
            releases.append(parse_release(text, CATALOG))
        except ReleaseError:
            continue
    assert len(releases) > 100
    cases = [
        ([*series_evidence(CATALOG, release), *release_evidence(CATALOG, release)], release.architecture, live)
        for release in releases
        for live in (LivePatches.NONE, LivePatches.UNKNOWN)
    ]
    seen = together(Facts(items, arch, live_patches=live) for items, arch, live in cases)
    for (items, arch, live), verdicts in zip(cases, seen, strict=True):
        assert verdicts == alone(Facts(items, arch, live_patches=live))


NAMES = sorted({name for defect in CATALOG.defects for name in (*defect.commits, *defect.capabilities)})
WORDS = st.sampled_from(["", "a", "b", "\0", "\0x\0000\0", "%s", "{}", f"\0{NAMES[0]}\0000\0"])
STATEMENTS = st.builds(
    Evidence,
    kind=st.sampled_from([EvidenceKind.RELEASE, EvidenceKind.SERIES, EvidenceKind.CHANGELOG, EvidenceKind.SOURCE]),
    commit=st.sampled_from(NAMES),
    presence=st.sampled_from(Presence),
    citation=WORDS,
    detail=WORDS,
    confidence=st.sampled_from(Confidence),
    conditional=st.booleans(),
    settle=st.none() | WORDS,
    architecture=st.sampled_from([None, "x86_64", "arm64"]),
    unreadable=st.booleans(),
    guessed=st.booleans(),
    steps=st.sampled_from([(), ("one",), ("two",)]),
)


@given(st.lists(st.lists(STATEMENTS, max_size=40), min_size=1, max_size=4), st.sampled_from([None, "x86_64", "s390x"]))
def test_any_evidence_gives_the_same_verdicts(fleets: list[list[Evidence]], architecture: str | None) -> None:
    """Words are what they are, also where they look like a mark."""
    seen = together(Facts(items, architecture) for items in fleets)
    assert seen == [alone(Facts(items, architecture)) for items in fleets]
