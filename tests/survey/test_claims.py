"""The claims about the builds of a series, from the state of a commit in each build."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.survey.claims import Build, claims_of
from tailcall_audit.analyzer.survey.types import Series, State

_FIX = "116e04ba1459"
_FROM, _THROUGH, _REVERTED = State.PRESENT_FROM, State.ABSENT_THROUGH, State.REVERTED_IN


def _build(version: str, state: bool | None, *, reverted: bool = False) -> Build:
    states = {} if state is None else {_FIX: state}
    return Build(version, states, dict.fromkeys(states, f"of {version}"), frozenset((_FIX,) if reverted else ()))


def _claims(catalog: Catalog, series: Series, *builds: Build, dated: bool = False) -> set[tuple[State, str]]:
    distribution = next(item for item in catalog.distributions if item.name == series.distro)
    found = list(claims_of(series, builds, distribution, "log: ", frozenset((_FIX,) if dated else ())))
    assert all((claim.commit, claim.series) == (_FIX, str(series)) for claim in found)
    assert len(found) == len({(claim.state, claim.release) for claim in found})
    return {(claim.state, claim.release) for claim in found}


NOBLE, EL9 = Series("ubuntu", "6.8", "generic"), Series("rhel", "5.14", "el9")


def test_an_excerpt_whose_first_build_lists_a_fix_claims_no_absence(catalog: Catalog) -> None:
    """No build before it was read, and the later ones have the fix."""
    builds = (_build("6.8.0-53.55", True), _build("6.8.0-54.56", True))
    assert _claims(catalog, NOBLE, *builds, dated=True) == {(_FROM, "6.8.0-53.55")}


def test_an_excerpt_claims_the_absence_before_the_build_that_lists_a_fix(catalog: Catalog) -> None:
    builds = (_build("6.8.0-50.51", None), _build("6.8.0-52.53", None), _build("6.8.0-53.55", True))
    assert _claims(catalog, NOBLE, *builds, dated=True) == {(_THROUGH, "6.8.0-52.53"), (_FROM, "6.8.0-53.55")}
    assert _claims(catalog, NOBLE, *builds) == {(_FROM, "6.8.0-53.55")}
    # What a build was seen to lack is no entry that lists it: only that build itself says so.
    builds = (_build("6.8.0-50.51", None), _build("6.8.0-52.53", False), _build("6.8.0-53.55", True))
    assert _claims(catalog, NOBLE, *builds, dated=True) == {(_THROUGH, "6.8.0-52.53"), (_FROM, "6.8.0-53.55")}


def test_builds_that_all_lack_a_commit_lack_it_through_the_last(catalog: Catalog) -> None:
    builds = (_build("6.8.0-50.51", False), _build("6.8.0-52.53", False))
    assert _claims(catalog, NOBLE, *builds) == {(_THROUGH, "6.8.0-52.53")}
    # A build of which nothing is known ends what is claimed.
    assert _claims(catalog, NOBLE, *builds, _build("6.8.0-53.55", None)) == set()


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_revert_of_what_no_build_lists_is_claimed_once_and_no_absence(catalog: Catalog, after: int) -> None:
    """Earlier builds may have had it from their base. The entry is read again with each later build."""
    later = [_build(f"6.8.0-{60 + number}.1", False, reverted=True) for number in range(after)]
    assert _claims(catalog, NOBLE, _build("6.8.0-50.51", None), *later) == {(_REVERTED, "6.8.0-60.1")}
    again = _build("6.8.0-70.1", True)
    expected = {(_REVERTED, "6.8.0-60.1"), (_FROM, "6.8.0-70.1")}
    assert _claims(catalog, NOBLE, _build("6.8.0-50.51", None), *later, again) == expected


def test_each_change_is_claimed_at_its_build(catalog: Catalog) -> None:
    builds = (
        _build("6.8.0-50.51", False),
        _build("6.8.0-51.1", True),
        _build("6.8.0-52.1", True),
        _build("6.8.0-53.1", False, reverted=True),
        _build("6.8.0-54.1", True),
    )
    expected = {
        (_THROUGH, "6.8.0-50.51"),
        (_FROM, "6.8.0-51.1"),
        (_REVERTED, "6.8.0-53.1"),
        (_FROM, "6.8.0-54.1"),
    }
    assert _claims(catalog, NOBLE, *builds) == expected
    assert _claims(catalog, NOBLE, *reversed(builds)) == expected  # an order of versions, not of reading


def test_a_z_stream_starts_with_what_the_main_line_has_where_it_leaves(catalog: Catalog) -> None:
    """5.14.0-427.13.1.el9_4 leaves the main line at 427."""
    had = (_build("5.14.0-425.el9", True), _build("5.14.0-430.el9", True))
    assert _claims(catalog, EL9, *had, _build("5.14.0-427.13.1.el9_4", True)) == {(_FROM, "5.14.0-425.el9")}
    at = (_build("5.14.0-426.el9", False), _build("5.14.0-427.el9", True))
    expected = {(_THROUGH, "5.14.0-426.el9"), (_FROM, "5.14.0-427.el9")}
    assert _claims(catalog, EL9, *at, _build("5.14.0-427.13.1.el9_4", True)) == expected
    # A z-stream of an excerpt that lists again what its main line has was not without it before.
    again = (_build("5.14.0-427.13.1.el9_4", None), _build("5.14.0-427.16.1.el9_4", True))
    expected = {(_FROM, "5.14.0-425.el9"), (_FROM, "5.14.0-427.16.1.el9_4")}
    assert _claims(catalog, EL9, *had, *again, dated=True) == expected
    assert _claims(catalog, EL9, *had, _build("5.14.0-284.30.1.el9_2", None), dated=True) == {(_FROM, "5.14.0-425.el9")}
    later = (_build("5.14.0-425.el9", False), _build("5.14.0-430.el9", True))
    assert _claims(catalog, EL9, *later, _build("5.14.0-427.13.1.el9_4", True)) == {
        (_THROUGH, "5.14.0-425.el9"),
        (_FROM, "5.14.0-430.el9"),
        (_FROM, "5.14.0-427.13.1.el9_4"),
    }
