"""The bounds of headers hold whatever method this Python's tarfile reads them with.

Since the security fix for CVE-2025-13462 (in Debian 12's 3.11.2-6+deb12u9) tarfile calls _frombuf() where it called
frombuf().
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tailcall_audit.analyzer.kernelfiles import tar
from tailcall_audit.analyzer.kernelfiles.tar import BoundedHeader, TarError, next_member, read_tar, stream_members

_BIG = 1_900_000_000


def _frombuf(cls: type[tarfile.TarInfo], buf: bytes, encoding: str, errors: str, *, dircheck: bool = True) -> Any:
    assert isinstance(dircheck, bool)
    made: Callable[..., Any] = tarfile.TarInfo.frombuf.__func__  # type: ignore[attr-defined]
    return made(cls, buf, encoding, errors)


def _fromtarfile(cls: Any, archive: Any) -> Any:
    found = cls._frombuf(archive.fileobj.read(tarfile.BLOCKSIZE), archive.encoding, archive.errors)
    found.offset = archive.fileobj.tell() - tarfile.BLOCKSIZE
    return found._proc_member(archive)


@pytest.fixture(params=["as it is", "since the fix"])
def _tarfile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile as this Python has it, and as the fix has made it."""
    if request.param == "since the fix" and not hasattr(tarfile.TarInfo, "_frombuf"):
        monkeypatch.setattr(tarfile.TarInfo, "_frombuf", classmethod(_frombuf), raising=False)
        monkeypatch.setattr(tarfile.TarInfo, "fromtarfile", classmethod(_fromtarfile))


def _archive(*headers: tuple[str, bytes, int]) -> io.BytesIO:
    """An archive of headers, with a mebibyte of zeros behind them."""
    data = b""
    for name, kind, size in headers:
        head = tarfile.TarInfo(name)
        head.type, head.size = kind, size
        data += head.tobuf(format=tarfile.GNU_FORMAT)
    return io.BytesIO(data + bytes(1 << 20))


@pytest.mark.usefixtures("_tarfile")
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_long_name_of_two_gigabytes_is_refused_by_its_header(kind: bytes) -> None:
    with pytest.raises(TarError, match="claims 1,900,000,000 bytes"):
        list(read_tar(_archive(("././@LongLink", kind, _BIG))))
    with pytest.raises(TarError, match="claims 1,900,000,000 bytes"):
        list(read_tar(_archive(("plain", tarfile.REGTYPE, 0), ("././@LongLink", kind, _BIG))))


@pytest.mark.usefixtures("_tarfile")
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE])
def test_what_dpkg_does_not_read_is_refused_by_its_header(kind: bytes) -> None:
    with pytest.raises(TarError, match="which dpkg does not read"):
        list(read_tar(_archive(("x", kind, _BIG))))


@pytest.mark.usefixtures("_tarfile")
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_layers_header_of_two_gigabytes_is_refused_by_its_header(kind: bytes) -> None:
    stream = _archive(("plain", tarfile.REGTYPE, 0), ("x", kind, _BIG))
    with pytest.raises(TarError, match="claims 1,900,000,000 bytes"):
        list(stream_members(stream, TarError, 10, TarError("too many")))


@pytest.mark.usefixtures("_tarfile")
def test_long_names_and_pax_headers_within_bounds_are_read() -> None:
    for form, name in ((tarfile.GNU_FORMAT, "a" * 300), (tarfile.PAX_FORMAT, "ä" * 200)):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=form) as archive:
            archive.addfile(tarfile.TarInfo(name))
        data.seek(0)
        found = [item.name for _, item in stream_members(data, TarError, 10, TarError("too many"))]
        assert found == [name]


def test_a_header_that_was_read_without_a_look_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tar._LookedAt, "frombuf")
    monkeypatch.delattr(tar._LookedAt, "_frombuf")
    with pytest.raises(TarError, match="use another version of Python"):
        list(read_tar(_archive(("plain", tarfile.REGTYPE, 0))))
    plain = _archive(("plain", tarfile.REGTYPE, 0))
    with (
        tarfile.open(fileobj=plain, mode="r:", tarinfo=BoundedHeader) as archive,
        pytest.raises(TarError, match="use another version of Python"),
    ):
        next_member(archive)
