"""Patch queues: what is applied, in which order, and two queues that disagree."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence
from tailcall_audit.analyzer.policy.weigh import weigh
from tailcall_audit.analyzer.readers.patches import read_patch_queue
from tests.memory import MemoryReader

CATALOG = load_catalog()
KEY, ID = "d6083f040d5d", "d6083f040d5d8f8d748462c77e90547097df936e"
SUBJECT = "bpf: Prevent tailcall infinite loop caused by freplace"
FIX = f"From: A\nSubject: [PATCH] {SUBJECT}\n\ncommit {ID} upstream.\n---\n".encode()
REVERT = f'From: A\nSubject: [PATCH] Revert "{SUBJECT}"\n\nThis reverts commit {ID}.\n---\n'.encode()
PARTIAL = f'From: A\nSubject: Partially revert "{SUBJECT}"\n---\n'.encode()


def about(files: dict[str, bytes]) -> list[Evidence]:
    queue = read_patch_queue(CATALOG, MemoryReader(files), "6.1")
    return [item for item in queue.evidence if item.commit == KEY]


def queue(order: str, series: str = "fix.patch\nrevert.patch\n", folder: str = "debian/patches/") -> dict[str, bytes]:
    return {
        f"{folder}series": series.encode(),
        ".pc/applied-patches": order.encode(),
        f"{folder}fix.patch": FIX,
        f"{folder}revert.patch": REVERT,
        f"{folder}partial.patch": PARTIAL,
    }


def test_the_order_in_which_patches_were_applied_decides() -> None:
    assert [item.presence for item in about(queue("fix.patch\nrevert.patch\n"))] == [Presence.ABSENT]
    assert [item.presence for item in about(queue("revert.patch\nfix.patch\n"))] == [Presence.PRESENT]
    assert [item.presence for item in about(queue("fix.patch\n"))][-1] is Presence.PRESENT


def test_a_part_that_is_taken_back_leaves_it_open() -> None:
    found = about(queue("fix.patch\npartial.patch\n", "fix.patch\npartial.patch\n"))
    assert [item.presence for item in found] == [Presence.UNKNOWN]
    assert not found[0].unreadable


def test_two_queues_that_disagree_are_shown_and_decide_nothing() -> None:
    files = queue("fix.patch\n", "fix.patch\n") | {"patches/series": b"other.patch\n", "patches/other.patch": REVERT}
    files[".pc/applied-patches"] = b"fix.patch\nother.patch\n"
    found = weigh(about(files))
    assert found.presence is Presence.UNKNOWN
    assert len(found.disagreements) == 2


def _one(patch: str, series: str = "x.patch\n") -> list[tuple[Presence, Confidence]]:
    files = {"series.conf": series.encode(), ".pc/applied-patches": b"x.patch\n", "x.patch": patch.encode()}
    return [(item.presence, item.confidence) for item in about(files)]


@pytest.mark.parametrize(
    "line",
    [
        f"Git-commit: {ID}",
        f"Upstream-commit: {ID}",
        f"commit {ID} upstream.",
        f"[ Upstream commit {ID} ]",
        f"(cherry picked from commit {ID})",
        f"Origin: https://git.kernel.org/linus/{ID}",
    ],
)
def test_a_patch_under_another_subject_is_known_by_its_id(line: str) -> None:
    assert _one(f"Subject: [PATCH] kabi: our form of it\n\n{line}\n---\n") == [(Presence.PRESENT, Confidence.MEDIUM)]


def test_an_id_in_a_revert_of_something_else_is_no_backport() -> None:
    """A revert names ids too: of what it takes back, and of what made that necessary."""
    assert _one(f'Subject: [PATCH] Revert "net: something else"\n\nGit-commit: {ID}\n---\n') == []


def test_an_id_behind_the_header_counts_for_nothing() -> None:
    assert _one(f"Subject: [PATCH] kabi: x\n---\n+/*\n+commit {ID} upstream.\n") == []


def test_a_patch_that_is_applied_in_reverse_takes_the_commit_back() -> None:
    assert _one(FIX.decode(), "x.patch -R\n") == [(Presence.ABSENT, Confidence.MEDIUM)]
    assert _one(REVERT.decode(), "x.patch -R\n") == [(Presence.PRESENT, Confidence.MEDIUM)]
    assert _one(PARTIAL.decode(), "x.patch -R\n") == [(Presence.UNKNOWN, Confidence.LOW)]


def test_applied_patches_that_contradict_each_other_are_named_once() -> None:
    files = queue("fix.patch\nrevert.patch\n")
    notes = read_patch_queue(CATALOG, MemoryReader(files), "6.1").notes
    assert [note for note in notes if "contradicts" in note] == [
        "patch queue: debian/patches/series:2 (revert.patch) is applied after debian/patches/series:1 (fix.patch) and contradicts it"
    ]
    twice = queue("fix.patch\nagain.patch\n", "fix.patch\nagain.patch\n") | {"debian/patches/again.patch": FIX}
    assert not any("contradicts" in note for note in read_patch_queue(CATALOG, MemoryReader(twice), "6.1").notes)


def test_a_patch_outside_of_its_folder_is_not_read() -> None:
    for name in ("../x.patch", "/x.patch", "a/../../x.patch"):
        files = {"debian/patches/series": f"{name}\n".encode(), ".pc/applied-patches": f"{name}\n".encode()}
        assert about({**files, f"debian/patches/{name}": FIX}) == []


def test_a_patch_that_is_not_applied_is_open_and_names_the_remedy() -> None:
    (item,) = about(queue("", "fix.patch\n"))
    assert (item.presence, item.confidence, item.unreadable) == (Presence.UNKNOWN, Confidence.LOW, True)
    assert item.settle == "quilt push -a   and audit the tree again"
    assert "carries it and is not applied" in item.detail
    notes = read_patch_queue(CATALOG, MemoryReader(queue("", "fix.patch\n")), "6.1").notes
    assert notes[0].startswith("patch not applied yet: debian/patches/series:1 (fix.patch) carries ")
    assert notes[1:] == ("patch queue debian/patches/series: 0 applied, 1 not",)
