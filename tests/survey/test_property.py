"""A property of surveys: an audit with the survey of a changelog never disagrees with the audit of that changelog."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog
from tailcall_audit.analyzer.model import State
from tailcall_audit.analyzer.subjects.open_changelog import open_changelog
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.types import SurveyError

_SUBJECTS = (
    "bpf, x86: Fix tail call count offset calculation on bpf2bpf call",
    "bpf, x64: Fix tailcall infinite loop",
    "bpf, x64: Fix tailcall hierarchy",
    "bpf: Fix null pointer dereference in resolve_prog_type() for BPF_PROG_TYPE_EXT",
    "bpf: Prevent tailcall infinite loop caused by freplace",
    "bpf: Resolve to prog->aux->dst_prog->type only for BPF_PROG_TYPE_EXT",
)
_ITEMS = st.lists(
    st.one_of(
        st.just("mm: a fix"),
        st.sampled_from(_SUBJECTS),
        st.sampled_from(_SUBJECTS).map('Revert "{}"'.format),
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def _changelogs(draw: st.DrawFn) -> tuple[tuple[str, list[str]], ...]:
    """Builds of RHEL 9 with their entries, newest first: some of the main line, and a z-stream of the newest of them."""
    main = sorted(draw(st.sets(st.integers(2, 400), min_size=1, max_size=4)))
    streams = sorted(draw(st.sets(st.integers(1, 60), max_size=3)))
    builds = ["5.14.0-1.el9", *(f"5.14.0-{number}.el9" for number in main)]
    builds += [f"5.14.0-{main[-1]}.{number}.1.el9_2" for number in streams]
    return tuple((build, draw(_ITEMS)) for build in reversed(builds))


def _text(builds: tuple[tuple[str, list[str]], ...]) -> str:
    return "\n".join(
        f"* Wed Aug 09 2023 N N <n@example.org> [{build}]\n" + "".join(f"- {item} (N N) [1]\n" for item in items)
        for build, items in builds
    )


@settings(max_examples=12, deadline=None)
@given(builds=_changelogs(), cut=st.booleans())
def test_an_audit_with_the_survey_never_disagrees_with_the_audit_of_the_changelog(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, builds: tuple[tuple[str, list[str]], ...], cut: bool
) -> None:
    kept = builds[:-1] if cut and len(builds) > 1 else builds
    text = _text(kept)
    path: Path = tmp_path_factory.mktemp("changelog") / "changelog"
    path.write_text(text)
    bare = catalog._replace(series=(), path="made")
    try:
        opened = open_changelog(bare, decode_changelog(text.encode(), "changelog"), None)
        survey = survey_changelogs(bare, [opened], "changelog", "2026-11-26")
    except SurveyError:  # a changelog that lists nothing of the catalogue
        return
    known = with_surveys(bare, [survey])
    for build, _ in kept:
        theirs = audit(changelog=str(path), package_version=build, arch="x86_64", catalog=bare).targets[0].states
        ours = audit(kernels=[f"{build}.x86_64"], catalog=known).targets[0].states
        for slug, state in ours.items():
            if State.UNKNOWN not in (state, theirs[slug]):
                # A survey makes no fact of a commit that was taken back: without it a kernel may only be known as fixed.
                assert theirs[slug] in ((State.FIXED, State.NOT_AFFECTED) if state is State.FIXED else (state,)), (
                    build,
                    slug,
                )
