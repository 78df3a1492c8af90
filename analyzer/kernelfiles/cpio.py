"""The "newc" form of cpio, in which RPM keeps its payload, read as a stream.

A header is ``070701`` and thirteen fields of eight hex digits; names and contents are padded to four bytes (cpio(5);
the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tailcall_audit.analyzer.kernelfiles.compression import Readable

__all__ = ["CpioError", "read_cpio"]

_HEADER = 110
_MAX_NAME = 4096
_CHUNK = 1 << 20
_NUMBERS = re.compile(rb"[0-9a-fA-F]{104}")


class CpioError(ValueError):
    """Data that is no such archive."""


def _exactly(stream: Readable, size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(min(size, _CHUNK))
        if not part:
            raise CpioError("it is cut off")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _skip(stream: Readable, size: int) -> None:
    while size:
        part = stream.read(min(size, _CHUNK))
        if not part:
            raise CpioError("it is cut off")
        size -= len(part)


def read_cpio(stream: Readable) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yields name, size in bytes and a reader for the content of each member; raises CpioError. Content that is not
    read before the next member is skipped.
    """
    while True:
        header = _exactly(stream, _HEADER)
        if header[:6] not in (b"070701", b"070702"):
            raise CpioError("a header is not where it should be")
        if not _NUMBERS.fullmatch(header, 6):
            raise CpioError("a header with something else than numbers")
        fields = [int(header[6 + 8 * index : 14 + 8 * index], 16) for index in range(13)]
        size, length = fields[6], fields[11]
        if not 0 < length <= _MAX_NAME:
            raise CpioError(f"a name of {length:,} bytes")
        name = _exactly(stream, length)[:-1].decode("utf-8", "replace")
        _skip(stream, -(_HEADER + length) % 4)
        if name == "TRAILER!!!":
            return
        taken = False

        def content(size: int = size) -> bytes:
            nonlocal taken
            taken = True
            return _exactly(stream, size)

        yield name, size, content
        if not taken:
            _skip(stream, size)
        _skip(stream, -size % 4)
