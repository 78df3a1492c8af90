"""Patch queues: what is applied, in which order, and two queues that disagree."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import Evidence, Presence
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
