"""Reverts in histories: what they undo, what brings a fix back, and what they leave open."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.types import Catalog, NotAFix
from tailcall_audit.analyzer.model import Presence
from tests.readers.histories import KEY_6, about, read
from tests.repositories import FIX_6, FIX_6_SUBJECT, History, backport

P, A, U = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def test_a_revert_undoes_a_backport_and_its_revert_brings_it_back(
    catalog: Catalog, stable: History, walker: str
) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    assert about(read(catalog, stable.path)).presence is P
    revert = stable.commit(
        f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {local} which is\ncommit {FIX_6} upstream.\n\nIt broke the build.\n'
    )
    item = about(read(catalog, stable.path))
    assert (item.presence, item.confidence.label) == (A, "high")
    assert revert[:12] in item.citation
    stable.commit(f'Revert "Revert "{FIX_6_SUBJECT}""\n\nThis reverts commit {revert}.\n')
    assert about(read(catalog, stable.path)).presence is P
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {local}.\n')
    stable.commit(f'Reapply "{FIX_6_SUBJECT}"\n')
    assert about(read(catalog, stable.path)).presence is P


def test_a_revert_on_one_line_with_the_upstream_id_is_no_backport(catalog: Catalog, stable: History) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(f"bpf: drop the freplace check\n\nThis reverts commit {local} which is commit {FIX_6} upstream.\n")
    assert about(read(catalog, stable.path)).presence is A


def test_a_revert_of_a_local_id_under_another_subject_is_found(catalog: Catalog, stable: History) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(f"bpf: go back to the old ways\n\nThis reverts commit {local[:12]}.\n")
    assert about(read(catalog, stable.path)).presence is A


def test_a_revert_of_what_the_base_has_makes_it_absent(catalog: Catalog, stable: History) -> None:
    stable.commit(
        'Revert "bpf, x86: Fix tail call count offset calculation on bpf2bpf call"\n\nThis reverts commit ff672c67ee7635ca1e28fb13729e8ef0d1f08ce5.\n'
    )
    assert about(read(catalog, stable.path), "ff672c67ee76").presence is A


def test_a_partial_revert_is_unknown(catalog: Catalog, stable: History) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(f"bpf: allow some\n\nThis partially reverts commit {local}.\n")
    item = about(read(catalog, stable.path))
    assert item.presence is U
    assert item.settle is not None


def test_a_reverted_merge_leaves_what_it_may_have_brought_unknown(
    catalog: Catalog, stable: History, walker: str
) -> None:
    fork = str(stable.repository.head.target)
    topic = stable.commit(backport(FIX_6, FIX_6_SUBJECT), parents=[fork])
    main = stable.commit("net: on the other side\n", parents=[fork])
    merge = stable.commit("Merge branch 'topic'\n", parents=[main, topic])
    stable.commit(
        f"Revert \"Merge branch 'topic'\"\n\nThis reverts commit {merge}, reversing\nchanges made to {main}.\n"
    )
    item = about(read(catalog, stable.path))
    assert item.presence is U
    assert "merge" in item.detail


def test_a_fix_that_says_what_it_reverts_is_still_the_fix(catalog: Catalog, stable: History) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT, "This reverts commit 0123456789abcdef0123456789abcdef01234567.\n\n"))
    assert about(read(catalog, stable.path)).presence is P


def test_a_cosmetic_revert_of_the_catalogue_takes_nothing_back(catalog: Catalog, stable: History) -> None:
    subject = "bpf: undo the white space of the loop check"
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(f"{subject}\n\nThis reverts commit {local}.\n")
    assert about(read(catalog, stable.path)).presence is A
    known = catalog._replace(cosmetic_reverts=(NotAFix(subject, KEY_6, "white space only", "made for this test"),))
    assert about(read(known, stable.path)).presence is P


def test_another_backport_after_a_revert_counts(catalog: Catalog, stable: History) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {local}.\n')
    stable.commit(backport(FIX_6, FIX_6_SUBJECT, "Second try.\n\n"))
    assert about(read(catalog, stable.path)).presence is P


def test_a_revert_before_the_backport_in_date_but_after_in_history_undoes_it(
    catalog: Catalog, stable: History, walker: str
) -> None:
    local = stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.time -= 100_000
    stable.commit(f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {local}.\n')
    stable.commit("net: on top\n")
    assert about(read(catalog, stable.path)).presence is A
