"""Decompression, the only place of it: gzip, xz, lzma, bzip2, zstd, lz4 and lzo, recognised by their first bytes.

Everything is bounded: by the bytes that come out, by how many times larger they are than what went in, and by the
memory that a format may ask for. Every error of the libraries becomes a `BrokenDataError`.
"""

from __future__ import annotations

import io
import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tailcall_audit.analyzer.libraries import compression_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["BrokenDataError", "Decompressed", "Readable", "compression_of", "decompress", "decompress_payload"]

_PIECE = 1 << 18
_OUTPUT = 1 << 20
_MEMORY = 256 << 20
"""Bytes that a decoder may ask for: xz -9 needs 65 MiB, zstd --ultra -22 (as the kernel's build uses it) 128 MiB."""
_ZSTD_WINDOW = 27
"""The largest window, as a power of two: 128 MiB."""
_FREE = 64 << 20
_RATIO = 250
"""Real kernels shrink to a third, changelogs to a tenth, repositories of changelogs to a hundredth. Below `_FREE` bytes
no ratio is looked at.
"""
_MAGIC = 9
_LZ4_BLOCK = 8 << 20
_LZO_BLOCK = 64 << 20


class BrokenDataError(AuditError):
    """Compressed data that is broken, or that holds more than it may."""


class _CutOffError(Exception):
    """Data that ends before its stream does."""


class Readable(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads at most `size` bytes."""
        ...


class _Decoder(Protocol):
    """One compressed stream. `decompress` takes the next input and returns at most so many bytes; `eof` is its end."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decoder behind the interface that those of lzma and bz2 have."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _zstd() -> _Decoder:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    found: _Decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})
    return found


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)


def _lzma() -> _Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=_MEMORY)


def _bzip2() -> _Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _lz4() -> _Decoder:
    import lz4.frame

    found: _Decoder = lz4.frame.LZ4FrameDecompressor()
    return found


def _lz4_legacy(data: bytes) -> Iterator[bytes]:
    """Yields the legacy frame that `lz4 -l` writes: blocks, each with its size, that unpack to 8 MiB but for the last."""
    import lz4.block

    position, size = 4, 0
    while position + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, position)
        if position + 4 + length > len(data) or length == 0:
            break  # the size that the kernel's build puts behind the payload
        part = lz4.block.decompress(data[position + 4 : position + 4 + length], uncompressed_size=_LZ4_BLOCK)
        size += len(part)
        yield part
        position += 4 + length
    left = len(data) - position
    (claimed,) = struct.unpack_from("<I", data, len(data) - 4) if left == 4 else (size,)
    if left not in (0, 4) or claimed != size:
        raise _CutOffError


def _lzo(data: bytes) -> Iterator[bytes]:
    """Yields what `lzop` writes (the kernel's lib/decompress_unlzo.c reads it so): a header, and blocks with their
    sizes and checksums.
    """
    try:
        from lzallright import LZOCompressor
    except ImportError as error:
        raise BrokenDataError(
            "lzo data, and the library to unpack it is not installed (pip install lzallright)"
        ) from error

    position = 9
    (version,) = struct.unpack_from(">H", data, position)
    position += 7 if version >= 0x940 else 5
    position += 1 if version >= 0x940 else 0  # level
    (flags,) = struct.unpack_from(">I", data, position)
    position += 4 + (4 if flags & 0x800 else 0)  # a filter
    position += 12 if version >= 0x940 else 8  # mode and times
    position += 1 + data[position] + 4  # name, checksum
    while True:
        (length,) = struct.unpack_from(">I", data, position)
        position += 4
        if length == 0:
            return
        (packed,) = struct.unpack_from(">I", data, position)
        if length > _LZO_BLOCK or packed > length:
            raise ValueError("a block of an impossible size")
        position += 4 + (4 if flags & 0x1 else 0) + (4 if flags & 0x100 else 0)
        if packed < length:
            position += (4 if flags & 0x2 else 0) + (4 if flags & 0x200 else 0)
        block = data[position : position + packed]
        if len(block) != packed:
            raise _CutOffError
        yield block if packed == length else LZOCompressor.decompress(block, output_size_hint=length)
        position += packed


class _Form(NamedTuple):
    """A format: its first bytes, and how a stream of it is read, or else the whole of it."""

    name: str
    magic: bytes
    stream: Callable[[], _Decoder] | None
    whole: Callable[[bytes], Iterator[bytes]] | None = None


_FORMS = (
    _Form("gzip", b"\x1f\x8b", _Gzip),
    _Form("xz", b"\xfd7zXZ\0", _xz),
    _Form("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    _Form("lz4", b"\x04\x22\x4d\x18", _lz4),
    _Form("lz4", b"\x02\x21\x4c\x18", None, _lz4_legacy),
    _Form("bzip2", b"BZh", _bzip2),
    _Form("lzma", b"\x5d\0\0", _lzma),
    _Form("lzo", b"\x89LZO\0\r\n\x1a\n", None, _lzo),
)


def _form_of(start: bytes) -> _Form | None:
    return next((form for form in _FORMS if start.startswith(form.magic)), None)


def compression_of(start: bytes) -> str | None:
    """Returns the name of the format that data with these first nine bytes are in, None if they are not compressed."""
    form = _form_of(start)
    return None if form is None else form.name


class _Budget:
    """Counts what goes in and comes out; raises BrokenDataError if that is too much."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self.fed = 0
        self.got = 0

    def take(self, part: bytes) -> bytes:
        """Count output."""
        self.got += len(part)
        if self.got > self._limit:
            size = f"{self._limit >> 30} GiB" if self._limit >= 1 << 30 else f"{self._limit >> 20} MiB"
            raise BrokenDataError(f"{self._name}: unpacks to more than {size}, which nothing of its kind does")
        if self.got > _FREE and self.got > _RATIO * self.fed:
            raise BrokenDataError(
                f"{self._name}: unpacks to more than {_RATIO} times its size, which nothing of its kind does"
            )
        return part


class Decompressed:
    """The content of a stream, decompressed where it is compressed, and bounded either way.

    Reading raises BrokenDataError if the data is broken, cut off, or holds more than `limit` bytes. `start` is the
    first nine bytes of the stream, which `source` still has to give.
    """

    def __init__(self, source: Readable, start: bytes, name: str, limit: int) -> None:
        self._source = source
        self._form = _form_of(start)
        self._name = name
        self._budget = _Budget(name, limit)
        self._decoder: _Decoder | None = None
        self._left = b""
        if self._form is not None:
            if self._form.stream is None:
                raise BrokenDataError(f"{name}: {self._form.name} data of a form that only kernel images have")
            self._decoder = self._form.stream()

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, the rest where it is negative; nothing at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_OUTPUT), b""))
        if self._form is None:
            part = self._source.read(size)
            self._budget.fed += len(part)
            return self._budget.take(part)
        parts: list[bytes] = []
        while size > 0:
            if not self._left:
                self._left = self._step(size)
                if not self._left:
                    break
            part, self._left = self._left[:size], self._left[size:]
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _step(self, size: int) -> bytes:
        """Some more of the content, nothing at the end."""
        assert self._form is not None
        with compression_errors(self._fail):
            while self._decoder is not None:
                data = b""
                if self._decoder.eof:
                    # Parts that were compressed on their own may follow each other; padding ends the data.
                    data = self._decoder.unused_data or b""  # lz4 says None if nothing follows
                    data += self._source.read(_PIECE) if len(data) < _MAGIC else b""
                    if _form_of(data) is not self._form or self._form.stream is None:
                        self._decoder = None
                        return b""
                    self._decoder = self._form.stream()
                elif self._decoder.needs_input:
                    data = self._source.read(_PIECE)
                    if not data:
                        raise self._fail("it is cut off")
                self._budget.fed += len(data)
                part = self._decoder.decompress(data, max(size, _OUTPUT))
                if part:
                    return self._budget.take(part)
        return b""

    def _fail(self, words: str) -> BrokenDataError:
        return BrokenDataError(f"{self._name}: broken {self._form.name if self._form else ''} data: {words}")


def decompress(data: bytes, name: str, limit: int) -> bytes:
    """Decompress data, or return what is not compressed; raises BrokenDataError."""
    return Decompressed(io.BytesIO(data), data[:9], name, limit).read()


def decompress_payload(data: bytes, name: str, limit: int) -> bytes:
    """Decompress the payload of a kernel image, behind which other data may stand; raises BrokenDataError.

    The kernel's build puts the size of the content behind the payload, and an lzma stream of its has no end of its own
    (scripts/Makefile.lib, cmd_lzma).
    """
    form = _form_of(data[:9])
    if form is None:
        raise BrokenDataError(f"{name}: not compressed in a way that is known here")
    budget = _Budget(name, limit)
    parts: list[bytes] = []

    def fail(words: str) -> BrokenDataError:
        return BrokenDataError(f"{name}: broken {form.name} data: {words}")

    with compression_errors(fail):
        try:
            if form.whole is not None:
                budget.fed = len(data)
                parts += map(budget.take, form.whole(data))
            else:
                assert form.stream is not None
                for part in _one_stream(data, form, form.stream(), budget):
                    parts.append(budget.take(part))
        except _CutOffError:
            size = int.from_bytes(data[-4:], "little")
            if form.name != "lzma" or not 0 < size <= budget.got:
                raise fail("it is cut off") from None
            return b"".join(parts)[:size]
    content = b"".join(parts)
    if not content:
        raise fail("there is nothing in it")
    return content


def _one_stream(data: bytes, form: _Form, decoder: _Decoder, budget: _Budget) -> Iterator[bytes]:
    position = 0
    while not decoder.eof:
        piece = b""
        if decoder.needs_input:
            piece = data[position : position + _PIECE]
            position += len(piece)
            budget.fed = position
            if not piece:
                raise _CutOffError
        part = decoder.decompress(piece, _OUTPUT)
        if part:
            yield part
