"""Decompression within bounds; all of the tool's decompression is here, its formats are in `decoders`.

The output has a limit in bytes and as a multiple of the input, and a format may ask for only so much memory. Every
error of the libraries becomes a `BrokenDataError`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Protocol

from tailcall_audit.analyzer.kernelfiles.decoders import CutOffError, Decoder, Form, form_of
from tailcall_audit.analyzer.libraries import compression_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = [
    "BrokenDataError",
    "Decompressed",
    "Joined",
    "Readable",
    "compression_of",
    "decompress",
    "decompress_payload",
]

_PIECE = 1 << 18
_OUTPUT = 1 << 20
_FREE = 64 << 20
_RATIO = 250
"""The output may be this many times the input, once it is larger than `_FREE` bytes. Real kernels shrink to a third,
changelogs to a tenth, repositories of changelogs to a hundredth.
"""
_MAGIC = 9


class BrokenDataError(AuditError):
    """Compressed data that is broken, holds more than the limit, or needs a library that is not installed."""


class Readable(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads at most `size` bytes."""
        ...


class Joined:
    """A stream that returns bytes that were read ahead, then the rest of the source."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes:
        """Reads at most `size` bytes, first from the head. The last read from the head may return fewer."""
        if not self._head:
            return self._rest.read(size)
        part, self._head = (self._head[:size], self._head[size:]) if size >= 0 else (self._head, b"")
        return part


def compression_of(start: bytes) -> str | None:
    """Returns the name of the format that data with these first nine bytes are in, None if they are not compressed."""
    form = form_of(start)
    return None if form is None else form.name


def _check_installed(form: Form, name: str) -> None:
    """Raises BrokenDataError if the library that reads a format is missing."""
    if not form.is_installed:
        library = form.module.partition(".")[0]
        raise BrokenDataError(
            f"{name}: {form.name} data, and the library {library} is not installed: pip install 'tailcall-audit[images]'"
        )


class _Budget:
    """Counts what goes in and comes out; raises BrokenDataError if that is too much."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self.fed = 0
        self.got = 0

    def take(self, part: bytes) -> bytes:
        """Counts output, and returns it."""
        self.got += len(part)
        if self.got > self._limit:
            size = f"{self._limit >> 30} GiB" if self._limit >= 1 << 30 else f"{self._limit >> 20} MiB"
            raise BrokenDataError(f"{self._name}: unpacks to more than {size}, the limit for data of its kind")
        if self.got > _FREE and self.got > _RATIO * self.fed:
            raise BrokenDataError(
                f"{self._name}: unpacks to more than {_RATIO} times its size: no kernel, package or index does"
            )
        return part


class Decompressed:
    """The content of a stream, decompressed if it is compressed, and bounded in both cases.

    Reading raises BrokenDataError if the data is broken, cut off, or holds more than `limit` bytes. `start` is the
    first nine bytes of the stream, which `source` returns again.
    """

    def __init__(self, source: Readable, start: bytes, name: str, limit: int) -> None:
        self._source = source
        self._form = form_of(start)
        self._name = name
        self._budget = _Budget(name, limit)
        self._decoder: Decoder | None = None
        self._left = b""
        if self._form is not None:
            if self._form.stream is None:
                raise BrokenDataError(f"{name}: {self._form.name} data of a form that only kernel images have")
            _check_installed(self._form, name)
            self._decoder = self._form.stream()

    def read(self, size: int = -1) -> bytes:
        """Returns at most `size` bytes, all the rest if it is negative, and nothing at the end."""
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
        """Returns some more of the content; nothing at the end."""
        assert self._form is not None
        with compression_errors(self._fail):
            while self._decoder is not None:
                data = b""
                if self._decoder.eof:
                    # Parts that were compressed separately may follow each other; padding ends the data.
                    data = self._decoder.unused_data or b""  # lz4 returns None if nothing follows
                    data += self._source.read(_PIECE) if len(data) < _MAGIC else b""
                    if form_of(data) is not self._form or self._form.stream is None:
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
    """Returns decompressed data, or the data itself if it is not compressed; raises BrokenDataError."""
    return Decompressed(io.BytesIO(data), data[:9], name, limit).read()


def decompress_payload(data: bytes, name: str, limit: int) -> bytes:
    """Returns the decompressed payload of a kernel image, which other data may follow; raises BrokenDataError.

    The kernel's build puts the size of the content behind the payload, and its lzma streams have no end mark
    (scripts/Makefile.lib, cmd_lzma).
    """
    form = form_of(data[:9])
    if form is None:
        raise BrokenDataError(f"{name}: not compressed in a way that is known here")
    _check_installed(form, name)
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
        except CutOffError:
            size = int.from_bytes(data[-4:], "little")
            if form.name != "lzma" or not 0 < size <= budget.got:
                raise fail("it is cut off") from None
            return b"".join(parts)[:size]
    content = b"".join(parts)
    if not content:
        raise fail("there is nothing in it")
    return content


def _one_stream(data: bytes, form: Form, decoder: Decoder, budget: _Budget) -> Iterator[bytes]:
    position = 0
    while not decoder.eof:
        piece = b""
        if decoder.needs_input:
            piece = data[position : position + _PIECE]
            position += len(piece)
            budget.fed = position
            if not piece:
                raise CutOffError
        part = decoder.decompress(piece, _OUTPUT)
        if part:
            yield part
