"""Compression formats, recognised by their first bytes: gzip, xz, lzma, bzip2, zstd, lz4 and lzo.

The module `compression` sets the limits and converts the errors of the libraries.
"""

from __future__ import annotations

import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple, Protocol

__all__ = ["CutOffError", "Decoder", "Form", "form_of"]

_MEMORY = 256 << 20
"""The memory limit of a decoder, in bytes. xz -9 needs 65 MiB, zstd --ultra -22 (used by the kernel's build)
128 MiB.
"""
_ZSTD_WINDOW = 27
"""The exponent of the largest window: 128 MiB."""
_LZ4_BLOCK = 8 << 20
_LZO_BLOCK = 64 << 20


class CutOffError(Exception):
    """Compressed data that ends too early."""


class Decoder(Protocol):
    """A decoder of one compressed stream, with the interface of the decoders in lzma and bz2."""

    @property
    def eof(self) -> bool:
        """True at the end of the stream."""

    @property
    def needs_input(self) -> bool:
        """True if there is no more output until there is more input."""

    @property
    def unused_data(self) -> bytes | None:
        """The input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Takes more input and returns at most `max_length` bytes of output."""


class _Gzip:
    """Gives zlib's decoder the interface of the decoders in lzma and bz2."""

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


def _zstd() -> Decoder:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    found: Decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})
    return found


def _xz() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)


def _lzma() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=_MEMORY)


def _bzip2() -> Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _lz4() -> Decoder:
    import lz4.frame

    found: Decoder = lz4.frame.LZ4FrameDecompressor()
    return found


def _lz4_legacy(data: bytes) -> Iterator[bytes]:
    """Yields the content of the legacy frame that `lz4 -l` writes: blocks with their sizes. Each unpacks to 8 MiB, the
    last one to less.
    """
    import lz4.block

    position, size = 4, 0
    while position + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, position)
        if position + 4 + length > len(data) or length == 0:
            break  # the size that the kernel's build appends to the payload
        part = lz4.block.decompress(data[position + 4 : position + 4 + length], uncompressed_size=_LZ4_BLOCK)
        size += len(part)
        yield part
        position += 4 + length
    left = len(data) - position
    (claimed,) = struct.unpack_from("<I", data, len(data) - 4) if left == 4 else (size,)
    if left not in (0, 4) or claimed != size:
        raise CutOffError


def _lzo(data: bytes) -> Iterator[bytes]:
    """Yields the content of what `lzop` writes (see the kernel's lib/decompress_unlzo.c): a header, then blocks with
    sizes and checksums.
    """
    from lzallright import LZOCompressor

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
            raise CutOffError
        yield block if packed == length else LZOCompressor.decompress(block, output_size_hint=length)
        position += packed


class Form(NamedTuple):
    """A format: its first bytes, the module that reads it, and either a stream decoder or a function that reads all
    data at once.
    """

    name: str
    magic: bytes
    module: str
    stream: Callable[[], Decoder] | None
    whole: Callable[[bytes], Iterator[bytes]] | None = None

    @property
    def is_installed(self) -> bool:
        """True if the module that reads the format can be imported."""
        try:
            import_module(self.module)
        except ImportError:
            return False
        return True


_FORMS = (
    Form("gzip", b"\x1f\x8b", "zlib", _Gzip),
    Form("xz", b"\xfd7zXZ\0", "lzma", _xz),
    Form("zstd", b"\x28\xb5\x2f\xfd", "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", _zstd),
    Form("lz4", b"\x04\x22\x4d\x18", "lz4.frame", _lz4),
    Form("lz4", b"\x02\x21\x4c\x18", "lz4.block", None, _lz4_legacy),
    Form("bzip2", b"BZh", "bz2", _bzip2),
    Form("lzma", b"\x5d\0\0", "lzma", _lzma),
    Form("lzo", b"\x89LZO\0\r\n\x1a\n", "lzallright", None, _lzo),
)


def form_of(start: bytes) -> Form | None:
    """Returns the format of data with these first nine bytes, None if it is not compressed."""
    return next((form for form in _FORMS if start.startswith(form.magic)), None)
