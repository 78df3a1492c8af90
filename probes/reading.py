"""Reads regular files up to a limit. A FIFO, a device or a folder in place of a file raises an error and never blocks.

The type is checked on the open file: a check before opening would be a race.
"""

from __future__ import annotations

import errno
import io
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["open_file", "read_file"]

_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Reader(io.BufferedReader):
    """A file whose `read` allocates memory for the data that exists, not for the size that is requested."""

    def read(self, size: int | None = -1) -> bytes:
        """Returns at most `size` bytes; the rest of the file if `size` is negative or None."""
        if size is None or size <= _CHUNK:
            return super().read(size)
        parts = []
        while size > 0 and (part := super().read(min(size, _CHUNK))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file for reading bytes. Follows links. Raises OSError if it is not a regular file or cannot be
    opened.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, _OPEN)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), name) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        return _Reader(io.FileIO(descriptor, "rb"))
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes. Raises OSError, with EFBIG if it is larger."""
    with open_file(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", os.fspath(path))
    return data
