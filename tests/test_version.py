"""Upstream versions: order, and agreement with `packaging` where its rules fit."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from tailcall_audit.analyzer.version import UpstreamVersion, build_key, parse_version

VERSIONS = st.builds(
    UpstreamVersion, st.integers(0, 99), st.integers(0, 99), st.integers(0, 999), st.none() | st.integers(1, 99)
)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.13-rc3", "6.13"),
        ("6.1.9", "6.1.10"),
        ("4.19.255", "4.19.325"),
        ("5.19", "6.0"),
        ("6.12.117", "6.13-rc1"),
        ("6.13-rc9", "6.13-rc10"),
        ("5.9", "5.10"),
        ("6.19.9", "7.0-rc1"),
    ],
)
def test_real_versions_are_in_order(older: str, newer: str) -> None:
    assert parse_version(older) < parse_version(newer)
    assert parse_version(newer) > parse_version(older)
    assert parse_version(older) <= parse_version(older)
    assert parse_version(older) >= parse_version(older)


@given(VERSIONS, VERSIONS)
def test_order_agrees_with_packaging(one: UpstreamVersion, other: UpstreamVersion) -> None:
    assert (one < other) == (Version(str(one)) < Version(str(other)))
    assert (one >= other) == (Version(str(one)) >= Version(str(other)))


@given(VERSIONS)
def test_text_and_back(version: UpstreamVersion) -> None:
    assert parse_version(str(version)) == version
    assert parse_version(f"v{version}") == version


@given(st.text())
def test_garbage_is_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(parse_version(text).major) in text


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("5.14.0-284.30.1.el9_2", "5.14.0-425.el9"),
        ("5.14.0-425.el9", "5.14.0-427.13.1.el9_4"),
        ("6.1.170-3", "6.1.192-1"),
        ("6.1.76-1", "6.1.106-1"),
        ("5.19~rc6-1~exp1", "5.19-1~exp1"),
        ("5.19~rc6-1~exp1", "5.19.6-1"),
        ("5.19~rc4-1~exp1", "5.19~rc6-1~exp1"),
        ("5.19-1~exp1", "5.19-1"),
        ("5.19-9", "5.19.6-1"),
        ("6.12~rc7-1~exp1", "6.12.3-1"),
        ("7.3~rc7-1~exp1", "7.3.4-1~bpo13+1"),
    ],
)
def test_builds_of_a_series_are_in_order(older: str, newer: str) -> None:
    assert build_key(older) < build_key(newer)


@pytest.mark.parametrize("rebuild", ["6.1.170-3~deb11u1", "6.1.170-3~bpo11+1", "6.8.0-58.60~22.04.1", "6.1.170-3+b1"])
def test_a_rebuild_of_an_upload_is_no_earlier_than_the_upload(rebuild: str) -> None:
    assert build_key(rebuild.partition("~")[0].partition("+")[0]) <= build_key(rebuild)


@given(st.text())
def test_any_text_has_a_place_in_the_order_of_builds(text: str) -> None:
    assert build_key(text) <= build_key(f"{text}.1")
