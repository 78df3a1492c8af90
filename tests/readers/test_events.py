"""What a walk over several batches of commits gathers: its edge, its base, its count, and where it broke off."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Batch, WalkError
from tailcall_audit.analyzer.readers.events import Walked, follow
from tailcall_audit.analyzer.readers.matching import Matcher
from tests.repositories import FIX_6, FIX_6_SUBJECT, backport

_MATCHER = Matcher(load_catalog(), "6.6")
_BASE = "b" * 40


def _batch(first: int, *messages: str, boundaries: tuple[bytes, ...] = ()) -> Batch:
    ids = [b"%040x" % (first + place) for place in range(len(messages))]
    return Batch(ids, [b""] * len(messages), [message.encode() for message in messages], boundaries)


def _follow(*batches: Batch, base: str | None = _BASE, cut: tuple[int, ...] = ()) -> tuple[Walked, list[int]]:
    shown: list[int] = []
    return follow(batches, _MATCHER, base, frozenset(f"{number:040x}" for number in cut), shown.append), shown


def test_the_edge_of_a_shallow_clone_counts_in_whichever_batch_it_is() -> None:
    first, second = _batch(1, "x\n", "y\n"), _batch(3, "z\n")
    assert [_follow(first, second, cut=cut)[0].cut for cut in ((), (1,), (2,), (3,), (4,))] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_the_base_is_met_in_whichever_batch_it_is_the_boundary() -> None:
    met, other = (_BASE.encode(),), (b"c" * 40,)
    assert _follow(_batch(1, "x\n", boundaries=met), _batch(2, "y\n"))[0].base_met
    assert _follow(_batch(1, "x\n"), _batch(2, "y\n", boundaries=met))[0].base_met
    assert not _follow(_batch(1, "x\n", boundaries=other))[0].base_met
    assert not _follow(_batch(1, "x\n", boundaries=met), base=None)[0].base_met


def test_progress_is_shown_at_every_4096_commits() -> None:
    many = _batch(1, *["x\n"] * 4095)
    walked, shown = _follow(many, _batch(5000, "y\n"), _batch(5001, "z\n"))
    assert (walked.count, shown) == (4097, [4096])


def test_what_was_read_before_the_walk_broke_off_is_kept() -> None:
    def batches() -> Iterator[Batch]:
        yield _batch(1, backport(FIX_6, FIX_6_SUBJECT))
        raise WalkError("an object is missing")

    walked = follow(batches(), _MATCHER, None, frozenset(), lambda _: None)
    assert (walked.broken, walked.count) == ("an object is missing", 1)
    assert list(walked.ordered()) == [FIX_6[:12]]


def test_events_are_in_the_order_of_history_and_a_revert_finds_its_commit() -> None:
    fix = f"{1:040x}"
    revert = f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {fix}.\n'
    newest_first = Batch(
        [b"%040x" % 2, fix.encode()], [b"", b""], [revert.encode(), backport(FIX_6, FIX_6_SUBJECT).encode()]
    )
    walked, _ = _follow(newest_first)
    (events,) = walked.ordered().values()
    assert [item.id for item in events] == [fix, f"{2:040x}"]
