"""Tests of facts about a distribution's builds: how far each extends along its own line of builds."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.series import series_evidence

_FIX_6 = "d6083f040d5d"


def _answer(catalog: Catalog, start: str, present: bool, build: str) -> Presence | None:
    """What one made fact about el9 says of a build; None if it says nothing."""
    fact = SeriesFact("rhel", "el9", "5.14", _FIX_6, present, start, False, "made for this test", None)
    found = list(series_evidence(catalog._replace(series=(fact,), path="made"), parse_release(build, catalog)))
    return found[0].presence if found else None


# 5.14.0-427.el9 is where 9.4's z-stream (427.13.1.el9_4, 427.40.1.el9_4) leaves the main line, which goes on with 430.
@pytest.mark.parametrize(
    ("start", "build", "extends"),
    [
        ("5.14.0-425.el9", "5.14.0-425.el9.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-427.13.1.el9_4.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-503.11.1.el9_5.x86_64", True),
        ("5.14.0-425.el9", "5.14.0-424.9.1.el9.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.40.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.42.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.13.1.el9_4.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-430.el9.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-503.11.1.el9_5.x86_64", False),
    ],
)
def test_what_a_build_has_only_its_own_line_has(catalog: Catalog, start: str, build: str, extends: bool) -> None:
    assert _answer(catalog, start, True, build) is (Presence.PRESENT if extends else None)


@pytest.mark.parametrize(
    ("start", "build", "extends"),
    [
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.13.1.el9_4.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.el9.x86_64", True),
        ("5.14.0-427.40.1.el9_4", "5.14.0-362.el9.x86_64", True),
        # A z-stream of 9.3 may have had the fix by itself.
        ("5.14.0-427.40.1.el9_4", "5.14.0-362.24.1.el9_3.x86_64", False),
        ("5.14.0-427.40.1.el9_4", "5.14.0-427.42.1.el9_4.x86_64", False),
        ("5.14.0-425.el9", "5.14.0-362.24.1.el9_3.x86_64", False),
    ],
)
def test_what_a_build_lacks_its_ancestors_lack(catalog: Catalog, start: str, build: str, extends: bool) -> None:
    assert _answer(catalog, start, False, build) is (Presence.ABSENT if extends else None)


def test_a_rebuild_inherits_presence_and_no_absence(catalog: Catalog) -> None:
    build = "5.14.0-427.13.1.el9_4_ciq.x86_64"
    assert _answer(catalog, "5.14.0-425.el9", True, build) is Presence.PRESENT
    assert _answer(catalog, "5.14.0-427.40.1.el9_4", False, build) is None
