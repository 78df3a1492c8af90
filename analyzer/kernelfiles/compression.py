"""Compressed data, told by what it is and read up to a bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import IO, Protocol

import zstandard

from tailcall_audit.analyzer.libraries import compression_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["Bounded", "BrokenDataError", "Readable", "decompress", "decompressing"]

_WINDOW = 1 << 27


class BrokenDataError(AuditError):
    """Compressed data that is broken, or that holds more than it may."""


class Readable(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        ...


class Bounded:
    """A stream that raises `error` when more than `limit` bytes have come out of it."""

    def __init__(self, stream: Readable, limit: int, error: Exception) -> None:
        self._stream = stream
        self._left = limit
        self._error = error

    def read(self, size: int = -1) -> bytes:
        """Read from the stream below."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise self._error
        return data


class _Decompressing:
    """A decompressed stream. What the libraries raise on broken data becomes BrokenDataError where it is read, whoever reads."""

    def __init__(self, stream: Readable, kind: str, name: str) -> None:
        self._stream = stream
        self._kind = kind
        self._name = name

    def _fail(self, words: str) -> BrokenDataError:
        return BrokenDataError(f"{self._name}: broken {self._kind} data: {words}")

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes; raises BrokenDataError."""
        with compression_errors(self._fail):
            return self._stream.read(size)


def decompressing(stream: IO[bytes], start: bytes, name: str) -> Readable:
    """The decompressed content of a stream whose first bytes are `start`; the stream itself where it is not compressed.

    `name` is what the BrokenDataError of its reader names.
    """
    if start[:2] == b"\x1f\x8b":
        return _Decompressing(gzip.GzipFile(fileobj=stream), "gzip", name)
    if start[:6] == b"\xfd7zXZ\0" or start[:3] == b"\x5d\0\0":
        return _Decompressing(lzma.LZMAFile(stream), "xz", name)
    if start[:3] == b"BZh":
        return _Decompressing(bz2.BZ2File(stream), "bzip2", name)
    if start[:4] == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(stream)
        return _Decompressing(reader, "zstd", name)
    return stream


def decompress(data: bytes, name: str, limit: int) -> bytes:
    """Decompress gzip, xz, bzip2 or zstd, or return data that is none of them; raises BrokenDataError."""
    content = decompressing(io.BytesIO(data), data[:6], name).read(limit + 1)
    if len(content) > limit:
        raise BrokenDataError(f"{name}: holds more than {limit >> 20} MiB, which nothing of its kind does")
    return content
