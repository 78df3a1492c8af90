"""Files of a signature that cannot be read, or are not there: what that leaves open, and what it proves."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.source_part import PartReader
from tests.memory import MemoryReader

LARGE = b"/" * (MAX_BYTES + 1)
"""More than is read of any file."""


def _reader(files: dict[str, bytes]) -> PartReader:
    return PartReader(MemoryReader({"Makefile": b"VERSION = 6\n", **files}), lambda _: None)


@pytest.mark.parametrize("key", ["f7866c358733", "d6083f040d5d", "2b5dcb31a19a", "1c123c567fb1"])
def test_a_file_that_cannot_be_read_is_named_and_leaves_its_part_open(catalog: Catalog, key: str) -> None:
    for part in catalog.commits[key].signature:
        for path in part.files:
            found = _reader(dict.fromkeys(part.files, b"") | {path: LARGE}).part(part)
            assert (found.presence, found.unreadable, found.missing, found.no_file) == (
                Presence.UNKNOWN,
                True,
                False,
                False,
            )
            assert found.citation == path
            assert found.detail == f"cannot read {path}: too large"
            assert found.settle is None


def test_a_file_that_is_not_there_is_to_be_unpacked(catalog: Catalog) -> None:
    for part in catalog.commits["f7866c358733"].signature:
        found = _reader({}).part(part)
        assert (found.presence, found.unreadable, found.no_file) == (Presence.UNKNOWN, True, True)
        assert found.settle is not None
        assert all(path in found.settle for path in part.files)


def test_a_file_without_the_function_is_a_shape_that_is_not_known(catalog: Catalog) -> None:
    for part in catalog.commits["d6083f040d5d"].signature:
        found = _reader(dict.fromkeys(part.files, b"int other(void)\n{\n\treturn 0;\n}\n")).part(part)
        assert (found.presence, found.unreadable, found.no_file) == (Presence.UNKNOWN, False, False)
        assert found.missing
        assert "a shape that the catalogue does not know" in found.detail
