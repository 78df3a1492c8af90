"""Frames that carry a guest's results."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.frames import SEPARATOR, checksum, frame, parse, short

FIELDS = st.lists(st.text(max_size=30).filter(lambda text: SEPARATOR not in text), min_size=1, max_size=5).filter(any)


@given(
    st.integers(0, 10**6), FIELDS, st.binary(max_size=20).filter(lambda noise: b"\n" not in noise and b"~" not in noise)
)
def test_a_frame_is_read_behind_noise(number: int, fields: list[str], noise: bytes) -> None:
    text = [field.encode("utf-8", "replace").decode() for field in fields]
    line = noise + frame(number, fields).strip(b"\n")
    assert parse(line) == (number, text)


@given(FIELDS, st.data())
def test_a_frame_that_noise_has_torn_is_no_frame(fields: list[str], data: st.DataObject) -> None:
    whole = frame(3, fields).strip(b"\n")
    place = data.draw(st.integers(len(b"~TCA 3 "), len(whole) - 1))
    torn = whole[:place] + data.draw(st.sampled_from([b"[    1.0] noise", b"0", b"z"])) + whole[place:]
    assert parse(torn) is None


@given(st.binary(max_size=200))
def test_garbage_is_no_frame(line: bytes) -> None:
    assert parse(line) is None or line.find(b"~TCA ") >= 0


@given(st.binary(max_size=3000))
def test_the_checksum_is_adler_32(data: bytes) -> None:
    assert checksum(data) == zlib.adler32(data)


def test_no_two_probes_have_the_same_short_name() -> None:
    assert len({short(probe.slug) for probe in PROBES}) == len(PROBES)
