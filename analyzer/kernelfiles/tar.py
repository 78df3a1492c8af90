"""The files in a tar archive, read as a stream by tarfile, within bounds. The reader accepts and refuses the same
archives as dpkg(1), which installs them.

dpkg knows plain headers and GNU's long names (lib/dpkg/tarfn.c; `dpkg-deb -x` runs tar, which knows more). A pax
header, which may rename the next file, and a sparse file are errors there, and so they are here. If a file occurs
twice, one could be read here and the other one installed.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, Self

from tailcall_audit.analyzer.kernelfiles.compression import Readable
from tailcall_audit.analyzer.libraries import tar_errors

__all__ = ["BoundedHeader", "TarError", "TarFile", "next_member", "read_tar", "stream_members"]

_MAX_MEMBERS = 50_000
_MAX_NAME = 4097
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_READ = frozenset(
    (
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        *_LONG_NAMES,
    )
)


class TarError(ValueError):
    """Data that is no tar archive, a broken one, or one that dpkg would refuse."""


class _LookedAt(tarfile.TarInfo):
    """A header that `look` sees before tarfile reads what it claims, and that `was_looked_at` afterwards.

    tarfile calls frombuf(), which is documented. Since the security fix for CVE-2025-13462 it calls _frombuf(), which
    is not. A Python that calls another method would read headers without a look: `next_member` refuses them.
    """

    was_looked_at = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Reads a header; raises TarError if `look` refuses it."""
        return cls._after_a_look(super().frombuf(buf, encoding, errors))

    @classmethod
    def _frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str, **how: bool) -> Self:
        found: Self = super()._frombuf(buf, encoding, errors, **how)  # type: ignore[misc]  # unknown to typeshed
        return cls._after_a_look(found)

    @classmethod
    def _after_a_look(cls, found: Self) -> Self:
        found.look()
        found.was_looked_at = True
        return found

    def look(self) -> None:
        """Raises TarError if what follows this header is not to be read."""


class _Header(_LookedAt):
    """A header of a package's archive, which dpkg has to be able to read."""

    def look(self) -> None:
        """Raises TarError if dpkg would refuse the header."""
        if self.type not in _READ:
            raise TarError(f"a header of type {self.type!r}, which dpkg does not read")
        if self.size < 0 or (self.type in _LONG_NAMES and self.size > _MAX_NAME):
            raise TarError(f"a header that claims {self.size:,} bytes")


_MAX_HEADER = 1 << 20
_READ_WHOLE = frozenset((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *_LONG_NAMES))
"""The types of headers whose content tarfile reads into memory."""


class BoundedHeader(_LookedAt):
    """A header of an archive that may have pax headers, as those of container images do."""

    def look(self) -> None:
        """Raises TarError if tarfile would read more than a mebibyte of the header into memory."""
        if self.size < 0 or (self.type in _READ_WHOLE and self.size > _MAX_HEADER):
            raise TarError(f"a header that claims {self.size:,} bytes")


def next_member(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """Returns the next member of an archive that was opened with one of these headers; None at its end.

    Raises TarError if this Python's tarfile has read the header without a look at it, and the errors of tarfile.
    """
    member = archive.next()
    if member is not None and not getattr(member, "was_looked_at", False):
        raise TarError("tarfile of this Python reads headers in a way that is not known: use another version of Python")
    return member


def stream_members(
    stream: Readable, fail: Callable[[str], Exception], most: int, too_many: Exception
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yields each member of an archive that is read as a stream, and the archive, which can extract that member until
    the next one is asked for. Raises what `fail` returns for a broken archive, and `too_many` behind `most` members.
    """
    with tar_errors(fail):
        archive = tarfile.open(fileobj=stream, mode="r|", tarinfo=BoundedHeader)  # type: ignore[call-overload]  # noqa: SIM115
    for _ in range(most):
        with tar_errors(fail):
            member = next_member(archive)
        if member is None:
            return
        archive.members = []  # tarfile would keep every header
        yield archive, member
    raise too_many


class TarFile(NamedTuple):
    """A regular file of an archive. `content` reads it, and works only until the next file is asked for. `link` is
    where a link leads, from the root if it begins with a slash; it is empty for a file.
    """

    name: str
    size: int
    content: Callable[[], bytes]
    link: str = ""


def read_tar(stream: Readable, with_links: bool = False) -> Iterator[TarFile]:
    """Yields every regular file, by its name without ``./`` in front, and every link if links are wanted. Raises
    TarError, and the errors of `stream`. Only an archive that was read to its end is known to have no name twice.
    """
    kinds: dict[str, bool] = {}
    with tar_errors(TarError):
        archive = tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header)  # type: ignore[call-overload]  # noqa: SIM115
    with archive:
        while (item := _next(archive)) is not None:
            name = _plain(item.name)
            _enter(kinds, name, item.isdir())
            if item.isfile():
                yield TarFile(name, item.size, partial(_content, archive, item))
            elif with_links and (item.issym() or item.islnk()):
                yield TarFile(name, 0, bytes, item.linkname if item.issym() else f"/{_plain(item.linkname)}")


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with tar_errors(TarError):
        return next_member(archive)


def _content(archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    with tar_errors(TarError):
        file = archive.extractfile(item)
        return b"" if file is None else file.read()


def _plain(name: str) -> str:
    """Returns a name as dpkg installs it: ``./a//b`` and ``/a/b`` as ``a/b``; raises TarError if it leads upwards."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise TarError(f"a name that leads out of the package: {name[:200]!r}")
    return "/".join(parts)


def _enter(kinds: dict[str, bool], name: str, is_folder: bool) -> None:
    """Records a name and the folders above it; raises TarError if one of them is already something else."""
    if name in kinds and not (is_folder and kinds[name]):
        raise TarError(f"{name[:200]!r} stands there twice")
    kinds[name] = is_folder
    if len(kinds) > _MAX_MEMBERS:
        raise TarError(f"more than {_MAX_MEMBERS:,} files")
    # A link instead of a folder would redirect the files below it.
    end = name.rfind("/")
    while end > 0:
        if not kinds.setdefault(name[:end], True):
            raise TarError(f"{name[:end][:200]!r} is both a file and a folder")
        end = name.rfind("/", 0, end)
