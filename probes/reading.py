"""Reads files: regular ones only, within a limit. A FIFO, a device or a folder under a file's name is an error, not a
wait.

What is opened is what is looked at: a look before opening would be a race.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["open_file", "read_file"]

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file to read bytes from, through links; raises OSError."""
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
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes; raises OSError, with EFBIG where it is larger."""
    with open_file(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", os.fspath(path))
    return data
