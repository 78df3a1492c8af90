"""Tests of the survey of a stable tree: made repositories with tags, backports, reverts, and what is missing from a
clone.
"""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.stable import survey_stable
from tailcall_audit.analyzer.survey.types import State, Survey, SurveyError
from tailcall_audit.analyzer.version import parse_version
from tests.repositories import FIX_3, FIX_3_SUBJECT, FIX_6, FIX_6_SUBJECT, History, backport, git, makefile

_FIX_6, _FIX_3 = FIX_6[:12], FIX_3[:12]


def _survey(catalog: Catalog, history: History, *branches: str) -> Survey:
    return survey_stable(catalog, history.repository, "linux", "2026-11-25", branches)


def _claims(survey: Survey, branch: str, commit: str) -> list[tuple[str, str]]:
    return [(c.state.value, c.release) for c in survey.claims if (c.branch, c.commit) == (branch, commit)]


@pytest.fixture
def stable(tmp_path: Path) -> History:
    """Mainline 6.1 and 6.2, then the first commits of 6.1.y, all of it bare."""
    history = History(tmp_path / "linux", "6.0", bare=True)
    history.release("6.0")
    history.release("6.1")
    return history


def _stable_release(history: History, version: str) -> None:
    history.commit(f"Linux {version}\n", {"Makefile": makefile(version)})
    history.tag(f"v{version}")


def test_a_backport_counts_from_the_earliest_tag_that_has_it(catalog: Catalog, stable: History) -> None:
    _stable_release(stable, "6.1.1")
    name = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.2")
    _stable_release(stable, "6.1.3")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == [("present-from", "6.1.2")]
    assert next(c.id for c in survey.claims if c.commit == _FIX_6) == name
    assert _claims(survey, "6.1", _FIX_3) == [("absent-through", "6.1.3")]
    assert survey.reach == {"6.1": "6.1.3"}
    assert survey.notes == ()


def test_a_commit_behind_the_newest_tag_is_in_no_release(catalog: Catalog, stable: History) -> None:
    _stable_release(stable, "6.1.1")
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    assert _claims(_survey(catalog, stable), "6.1", _FIX_6) == [("absent-through", "6.1.1")]


def test_a_revert_and_a_re_application_in_later_releases_are_claims_of_their_own(
    catalog: Catalog, stable: History
) -> None:
    applied = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {applied}.\n')
    _stable_release(stable, "6.1.2")
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.3")
    assert _claims(_survey(catalog, stable), "6.1", _FIX_6) == [
        ("present-from", "6.1.1"),
        ("reverted-in", "6.1.2"),
        ("present-from", "6.1.3"),
    ]


def test_a_revert_and_a_re_application_between_two_tags_leave_it_there(catalog: Catalog, stable: History) -> None:
    applied = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {applied}.\n')
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.2")
    assert _claims(_survey(catalog, stable), "6.1", _FIX_6) == [("present-from", "6.1.1")]


def test_the_revert_of_what_came_in_an_unknown_form_claims_no_absence(catalog: Catalog, stable: History) -> None:
    """Until the revert the branch had it: under a rewritten subject, and without the id of the original."""
    stable.commit("bpf: something else altogether\n")
    _stable_release(stable, "6.1.1")
    _stable_release(stable, "6.1.2")
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nIt breaks things.\n')
    _stable_release(stable, "6.1.3")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == []
    (conflict,) = [item for item in survey.conflicts if item.commit == _FIX_6]
    assert "in 6.1.3 reverts it, and nothing before it brings it" in conflict.words
    assert _claims(survey, "6.1", _FIX_3) == [("absent-through", "6.1.3")]


def test_the_revert_of_what_the_base_has_is_a_claim(catalog: Catalog, stable: History) -> None:
    key = "be8704ff07d2"  # in mainline since 5.6
    commit = catalog.commits[key]
    stable.commit(f'Revert "{commit.subject}"\n\nThis reverts commit {commit.id}.\n')
    _stable_release(stable, "6.1.1")
    assert _claims(_survey(catalog, stable), "6.1", key) == [("reverted-in", "6.1.1")]


def test_a_branch_whose_newest_release_is_a_merge_is_read(catalog: Catalog, stable: History) -> None:
    _stable_release(stable, "6.1.1")
    below = str(stable.repository.head.target)
    fix = stable.commit(backport(FIX_6, FIX_6_SUBJECT), parents=[below])
    stable.commit("Merge the fix\n", {"Makefile": makefile("6.1.2")}, parents=[below, fix])
    stable.tag("v6.1.2")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == [("present-from", "6.1.2")]
    assert survey.notes == ()


def _kernel(catalog: Catalog, survey: Survey, version: str) -> Presence:
    ours = with_surveys(catalog._replace(commits={_FIX_6: catalog.commits[_FIX_6]._replace(branches={})}), [survey])
    return commit_in_release(ours, ours.commits[_FIX_6], parse_version(version)).presence


def test_without_the_tag_before_it_a_commit_may_have_come_earlier(catalog: Catalog, stable: History) -> None:
    _stable_release(stable, "6.1.1")
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit("Linux 6.1.2\n", {"Makefile": makefile("6.1.2")})  # its tag was not fetched
    _stable_release(stable, "6.1.3")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == [("present-by", "6.1.3")]
    assert _kernel(catalog, survey, "6.1.2") is Presence.UNKNOWN
    assert _kernel(catalog, survey, "6.1.3") is Presence.PRESENT


def test_two_changes_around_a_tag_that_is_missing_are_no_claims(catalog: Catalog, stable: History) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {stable.repository.head.target}.\n')
    _stable_release(stable, "6.1.3")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == []
    assert "the release before 6.1.3 is not in this clone" in " ".join(c.words for c in survey.conflicts)


def test_a_revert_of_what_the_base_has_is_a_claim(catalog: Catalog, stable: History) -> None:
    # Linux kernel commit be8704ff07d2 ("bpf: Introduce dynamic program extensions") (in v5.6)
    commit = catalog.commits["be8704ff07d2"]
    stable.commit(f'Revert "{commit.subject}"\n\nThis reverts commit {commit.id}.\n')
    _stable_release(stable, "6.1.1")
    assert _claims(_survey(catalog, stable), "6.1", commit.key) == [("reverted-in", "6.1.1")]


def test_a_fix_on_one_branch_is_not_on_another(catalog: Catalog, stable: History) -> None:
    base = str(stable.repository.head.target)
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.repository.references.create("refs/heads/master", base, force=True)
    stable.release("6.2")
    _stable_release(stable, "6.2.1")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == [("present-from", "6.1.1")]
    assert _claims(survey, "6.2", _FIX_6) == [("absent-through", "6.2.1")]
    assert {c.branch for c in _survey(catalog, stable, "6.2").claims} == {"6.2"}


def test_a_rewritten_subject_with_the_upstream_id_is_the_backport(catalog: Catalog, stable: History) -> None:
    stable.commit(f"bpf: no loops by freplace\n\ncommit {FIX_6} upstream.\n")
    _stable_release(stable, "6.1.1")
    assert _claims(_survey(catalog, stable), "6.1", _FIX_6) == [("present-from", "6.1.1")]


def test_a_subject_that_only_looks_like_it_ends_the_claims(catalog: Catalog, stable: History) -> None:
    stable.commit(f"vendor: something like {FIX_3_SUBJECT} for us\n")
    _stable_release(stable, "6.1.1")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_3) == []
    assert [c.commit for c in survey.conflicts] == [_FIX_3]


def test_without_the_base_tag_nothing_is_absent(catalog: Catalog, stable: History) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.repository.references.delete("refs/tags/v6.1")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", _FIX_6) == [("present-from", "6.1.1")]
    assert not [c for c in survey.claims if c.state is State.ABSENT_THROUGH]
    assert "v6.1 is not in this clone" in survey.notes[0]


def test_a_moved_tag_of_the_base_hides_nothing(catalog: Catalog, stable: History) -> None:
    base = str(stable.repository.head.target)
    known = catalog.branches["6.1"]._replace(mainline=base)
    ours = catalog._replace(branches={**catalog.branches, "6.1": known})
    moved = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    stable.repository.references.create("refs/tags/v6.1", moved, force=True)
    assert _claims(_survey(ours, stable), "6.1", _FIX_6) == [("present-from", "6.1.1")]


def test_a_history_without_mainline_s_base_has_no_absence(catalog: Catalog, stable: History) -> None:
    known = catalog.branches["6.1"]._replace(mainline="0123456789" * 4)
    ours = catalog._replace(branches={**catalog.branches, "6.1": known})
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    _stable_release(stable, "6.1.1")
    read: list[str] = []
    survey = survey_stable(ours, stable.repository, "linux", "2026-11-25", progress=read.append)
    assert not [c for c in survey.claims if c.state is State.ABSENT_THROUGH]
    assert _claims(survey, "6.1", _FIX_6) == [("present-from", "6.1.1")]
    assert "mainline's commit of v6.1 is not in this clone" in survey.notes[0]


def test_in_a_shallow_clone_nothing_is_absent(catalog: Catalog, stable: History, tmp_path: Path) -> None:
    for number in range(1, 4):
        _stable_release(stable, f"6.1.{number}")
    git("clone", "-q", "--bare", "--depth=2", f"file://{stable.path}", str(tmp_path / "shallow"))
    git("-C", str(tmp_path / "shallow"), "fetch", "-q", "--depth=2", "origin", "tag", "v6.1.3")
    survey = survey_stable(catalog, pygit2.Repository(str(tmp_path / "shallow")), "shallow", "2026-11-25")
    assert not [c for c in survey.claims if c.state is State.ABSENT_THROUGH]
    assert survey.notes


def test_code_that_says_the_opposite_is_a_conflict(catalog: Catalog, stable: History) -> None:
    # Linux kernel commit 1a4607ffba35 ("bpf: consider that tail calls invalidate packet pointers") (in v6.13) adds tail calls
    # to this list.
    source = (
        "bool bpf_helper_changes_pkt_data(enum bpf_func_id func_id)\n{\n\tswitch (func_id) {\n"
        "\tcase BPF_FUNC_skb_vlan_push:\n\t\treturn true;\n\tdefault:\n\t\treturn false;\n\t}\n}\n"
    )
    commit = catalog.commits["1a4607ffba35"]
    stable.commit(backport(commit.id, commit.subject), {"net/core/filter.c": source.encode()})
    _stable_release(stable, "6.1.1")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", commit.key) == []
    assert any(c.commit == commit.key and "by its code" in c.words for c in survey.conflicts)


def test_code_of_a_strange_shape_takes_an_absence_back(catalog: Catalog, stable: History) -> None:
    source = "bool bpf_helper_changes_pkt_data(int id)\n{\n\treturn vendor_table[id];\n}\n"
    stable.commit("net: another shape\n", {"net/core/filter.c": source.encode()})
    _stable_release(stable, "6.1.1")
    assert _claims(_survey(catalog, stable), "6.1", "1a4607ffba35") == []


def test_code_of_a_strange_shape_takes_the_absence_after_a_revert_back(catalog: Catalog, stable: History) -> None:
    commit = catalog.commits["1a4607ffba35"]
    applied = stable.commit(backport(commit.id, commit.subject))
    _stable_release(stable, "6.1.1")
    source = "bool bpf_helper_changes_pkt_data(int id)\n{\n\treturn vendor_table[id];\n}\n"
    message = f'Revert "{commit.subject}"\n\nThis reverts commit {applied}.\n'
    stable.commit(message, {"net/core/filter.c": source.encode()})
    _stable_release(stable, "6.1.2")
    survey = _survey(catalog, stable)
    assert _claims(survey, "6.1", commit.key) == []
    (conflict,) = [item for item in survey.conflicts if item.commit == commit.key]
    assert "reverted in 6.1.2 by the history, and its code in 6.1.2 has an unknown form" in conflict.words


def test_mainline_s_commits_have_the_first_tag_that_contains_them(catalog: Catalog, tmp_path: Path) -> None:
    history = History(tmp_path / "linux", "6.12", bare=True)
    history.release("6.12")
    made = history.commit("bpf: one of the catalogue's commits\n")
    history.commit("Linux 6.13-rc1\n", {"Makefile": makefile("6.13.0-rc1")})
    history.tag("v6.13-rc1")
    history.release("6.13")
    history.commit("Linux 6.13.1\n", {"Makefile": makefile("6.13.1")})
    history.tag("v6.13.1")
    # The id of a commit is its content: the catalogue is given the id that this repository has.
    known = catalog.commits[_FIX_6]._replace(id=made)
    ours = catalog._replace(commits={**catalog.commits, _FIX_6: known})
    survey = survey_stable(ours, history.repository, "linux", "2026-11-25")
    assert _claims(survey, "mainline", _FIX_6) == [("present-from", "6.13-rc1")]


def test_where_mainline_s_history_breaks_off_is_noted(catalog: Catalog, tmp_path: Path) -> None:
    history = History(tmp_path / "linux", "6.12", bare=True)
    made = history.commit("bpf: one of the catalogue's commits\n")
    lost = history.commit("bpf: a commit that the clone lacks\n")
    history.release("6.13")
    history.commit("Linux 6.13.1\n", {"Makefile": makefile("6.13.1")})
    history.tag("v6.13.1")
    (history.path / "objects" / lost[:2] / lost[2:]).unlink()
    known = catalog.commits[_FIX_6]._replace(id=made)
    ours = catalog._replace(commits={**catalog.commits, _FIX_6: known})
    survey = survey_stable(ours, history.repository, "linux", "2026-11-25")
    assert _claims(survey, "mainline", _FIX_6) == []
    assert any(note.startswith("mainline: ") for note in survey.notes)


def test_a_clone_without_stable_tags_is_refused(catalog: Catalog, stable: History) -> None:
    with pytest.raises(SurveyError, match="no tag of a stable release"):
        _survey(catalog, stable)
