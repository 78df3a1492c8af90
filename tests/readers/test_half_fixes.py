"""Half a fix is not a fix: each part of each fix, taken out of a real source alone, is never called fixed."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES, DiskReader, FileRead
from tailcall_audit.analyzer.model import State
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.readers.source import SourceReader
from tests.kernels import kernel_source
from tests.readers.half_fixes import HALVES, Half, edited

CATALOG = load_catalog()
NEWEST = {"5.10": "5.10.262-1", "6.1": "6.1.192-2", "6.12": "6.12.117-1", "7.3": "7.3.4-1~bpo13+1"}


class Edited(DiskReader):
    """Reads a source from disk, one file of it changed."""

    change: tuple[str, bytes] | None = None

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        found = super().read(path, limit)
        if self.change is not None and self.change[0] == path:
            return FileRead(path, found.state, self.change[1])
        return found


def state(half: Half, change: bool) -> State:
    path, _ = kernel_source(half.series, NEWEST[half.series])
    reader = Edited(path)
    if change:
        reader.change = half.path, edited((path / half.path).read_text(), half).encode()
    (defect,) = CATALOG.find(half.slug)
    evidence = list(SourceReader(reader).evidence(CATALOG))
    return judge(defect, Facts(evidence, half.architecture), half.architecture).state


@pytest.mark.parametrize("half", HALVES, ids=lambda half: f"{half.slug}: {half.part}")
def test_a_part_of_a_fix_alone_is_never_fixed(half: Half) -> None:
    assert state(half, True) is not State.FIXED


@pytest.mark.parametrize("slug", dict.fromkeys(half.slug for half in HALVES))
def test_the_whole_fix_is_fixed(slug: str) -> None:
    """The control: without it a signature that never says fixed would pass."""
    half = next(item for item in HALVES if item.slug == slug)
    assert state(half, False) is State.FIXED


def test_every_defect_with_a_fix_is_taken_apart() -> None:
    """A fix whose part was only read makes nothing fixed, whole or in part."""
    taken = {half.slug for half in HALVES}
    proven = {defect.slug for defect in CATALOG.defects if leaves(defect.fixed) and not _only_read(defect)}
    assert proven - taken == set()


def _only_read(defect: Defect) -> bool:
    return defect.unproven.issuperset(leaves(defect.fixed))
