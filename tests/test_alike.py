"""Kernels of which the same is known share their verdicts: each gets those that it gets by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.alike import judge_alike
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.judging import judge_alone
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.model import LivePatches, Verdict
from tailcall_audit.analyzer.readers.alike import MARK, stand_in
from tailcall_audit.analyzer.subjects.release import open_subjects
from tailcall_audit.analyzer.subjects.subject import Request, Subject

CATALOG = load_catalog()
REQUEST = Request(CATALOG, CATALOG.defects, today="2026-11-26")
STRINGS = Path(__file__).parent / "kernelfiles/release_strings.tsv"


def alone(subject: Subject, request: Request) -> tuple[Verdict, ...]:
    return judge_alone(subject, request)[0]


def subjects(text: str, request: Request = REQUEST) -> Iterator[Subject]:
    try:
        yield from open_subjects(request, text)
    except ReleaseError:
        return


def texts() -> Iterator[str]:
    for line in STRINGS.read_text().splitlines():
        if not line.startswith("#"):
            yield line.split("\t", 2)[2].replace("\\t", "\t")
    for number in range(1, 60, 3):
        yield from (f"6.1.0-{number}-amd64", f"6.1.0-{number}-cloud-arm64", f"5.15.0-{number * 3}-generic")
        yield from (
            f"5.14.0-{number * 10}.el9_4.x86_64",
            f"6.8.0-{number}-generic",
            f"6.6.{number}-next",
            f"6.1.{number}+",
        )


@pytest.mark.parametrize("max_age", [None, 30])
def test_each_kernel_gets_the_verdicts_that_it_gets_by_itself(max_age: int | None) -> None:
    request = REQUEST._replace(max_age=max_age)
    seen = 0
    for text in texts():
        for subject in subjects(text, request):
            seen += 1
            live = LivePatches.UNKNOWN if seen % 3 == 0 else LivePatches.NONE
            item = subject._replace(live_patches=live)
            assert judge_alike(item, request, alone) == alone(item, request), text
    assert seen > 200


RELEASES = st.builds(
    "{}.{}{}".format, st.sampled_from(sorted(CATALOG.branches)), st.integers(0, 400), st.sampled_from(["", "+"])
)


@given(RELEASES)
def test_every_release_of_a_stable_branch_gets_its_own_verdicts(text: str) -> None:
    for subject in subjects(text):
        assert judge_alike(subject, REQUEST, alone) == alone(subject, REQUEST)


@given(st.sampled_from(sorted(CATALOG.branches)), st.integers(0, 400), st.integers(0, 400))
def test_releases_between_which_nothing_is_known_to_have_changed_are_one_case(
    branch: str, one: int, other: int
) -> None:
    found = [
        stand_in(CATALOG, item.release) for n in (one, other) for item in subjects(f"{branch}.{n}") if item.release
    ]
    named = {
        version.sublevel
        for commit in CATALOG.commits.values()
        if (fact := commit.branches.get(branch)) is not None
        for version in (fact.release, fact.present_by, fact.surveyed_through)
        if version is not None
    }
    if len(found) == 2 and any(min(one, other) < turn <= max(one, other) for turn in named):
        assert found[0] is not None and found[1] is not None
        assert found[0].key != found[1].key


def test_a_word_that_looks_like_a_mark_stays_in_its_place() -> None:
    (subject,) = subjects("6.1.70")
    assert subject.release is not None
    named = subject._replace(release=subject.release._replace(settle=f"run {MARK}1 {MARK}0"))
    first = judge_alike(named, REQUEST, alone)
    assert first == alone(named, REQUEST)


def test_a_kernel_with_a_name_of_nothing_is_judged_by_itself() -> None:
    calls = []

    def judge(subject: Subject, request: Request) -> tuple[Verdict, ...]:
        calls.append(subject.label)
        return alone(subject, request)

    for text in ("6.13-rc1", "6.13-rc2"):
        for subject in subjects(text):
            judge_alike(subject, REQUEST, judge)
    assert calls == ["6.13-rc1", "6.13-rc2"]
