"""Reads RPM's database without rpm, in its three forms: SQLite and ndb (both current), and Berkeley DB (until 2020).

All forms contain a header for each installed package, which `rpm_header` reads. They are defined in rpm's
lib/backend/sqlite.c and ndb/rpmpkg.c, and by the hash pages of Berkeley DB (dbinc/db_page.h).
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.roots.root import Root, RootError
from tailcall_audit.analyzer.kernelfiles.rpm_header import Header, HeaderError, read_blob

__all__ = ["rpm_headers"]

_PLACES = ("usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm")
_MOST = 1 << 30
_MOST_PACKAGES = 200_000
_MOST_HEADER = 64 << 20
"""Bytes of a package's header. Those of kernels have some 10 MB."""
_NDB_MAGIC, _NDB_SLOT, _NDB_BLOB = b"RpmP", b"Slot", b"BlbS"
_NDB_PAGE, _NDB_BLOCK = 4096, 16
_BDB_MAGIC, _BDB_SWAPPED = 0x061561, 0x61150600
_BDB_HASH, _BDB_HASH_UNSORTED, _BDB_OVERFLOW = 13, 2, 7
_BDB_HEADER = 26
_OFF_PAGE = 3


def _of_sqlite(data: bytes) -> Iterator[bytes]:
    # SQLite cannot open a database in write-ahead mode from memory. Two bytes of its header are changed to the other
    # mode.
    plain = data[:18] + b"\x01\x01" + data[20:]
    connection = sqlite3.connect(":memory:")
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_HEADER)
        connection.deserialize(plain)
        connection.execute("PRAGMA trusted_schema = OFF")
        kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchall()
        if kinds != [("table",)]:
            raise HeaderError("no table of packages in it")
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if isinstance(blob, bytes):
                yield blob
    except sqlite3.Error as error:
        raise HeaderError(f"SQLite: {error}") from error
    finally:
        connection.close()


def _of_ndb(data: bytes) -> Iterator[bytes]:
    if len(data) < 32:
        raise HeaderError("it is cut off")
    (pages,) = struct.unpack_from("<I", data, 12)
    end = min(len(data), pages * _NDB_PAGE)
    for place in range(32, end - 15, 16):
        magic, package, block, _ = struct.unpack_from("<4sIII", data, place)
        if magic != _NDB_SLOT:
            raise HeaderError("a slot is not where it should be")
        if not package:
            continue
        start = block * _NDB_BLOCK
        if start + 16 > len(data):
            raise HeaderError("a package that lies behind its end")
        magic, owner, _, size = struct.unpack_from("<4sIII", data, start)
        if magic != _NDB_BLOB or owner != package or start + 16 + size > len(data):
            raise HeaderError("a package is not where its slot says")
        yield data[start + 16 : start + 16 + size]


def _overflow(data: bytes, page: int, size: int, length: int, order: str) -> bytes:
    """Returns an item that is longer than a page. It is stored in a chain of pages."""
    parts: list[bytes] = []
    left = length
    for _ in range(len(data) // size + 1):
        start = page * size
        if not 0 < page < len(data) // size or data[start + 25] != _BDB_OVERFLOW:
            raise HeaderError("a page of an item is not where it should be")
        (following,) = struct.unpack_from(f"{order}I", data, start + 16)
        part = data[start + _BDB_HEADER : start + _BDB_HEADER + min(left, size - _BDB_HEADER)]
        parts.append(part)
        left -= len(part)
        if left <= 0 or not following:
            break
        page = following
    if left > 0:
        raise HeaderError("an item is cut off")
    return b"".join(parts)


def _of_bdb(data: bytes) -> Iterator[bytes]:
    (magic,) = struct.unpack_from("<I", data, 12)
    order = ">" if magic == _BDB_SWAPPED else "<"
    (size,) = struct.unpack_from(f"{order}I", data, 20)
    if size < 512 or size > 65536 or size & (size - 1):
        raise HeaderError(f"pages of {size} bytes")
    for start in range(size, len(data) - size + 1, size):
        if data[start + 25] not in (_BDB_HASH, _BDB_HASH_UNSORTED):
            continue
        (count,) = struct.unpack_from(f"{order}H", data, start + 20)
        if _BDB_HEADER + 2 * count > size:
            raise HeaderError("a page that claims more items than fit on it")
        offsets = struct.unpack_from(f"{order}{count}H", data, start + _BDB_HEADER)
        for offset in offsets[1::2]:  # keys and values alternate
            if offset + 12 > size or data[start + offset] != _OFF_PAGE:
                continue
            page, length = struct.unpack_from(f"{order}II", data, start + offset + 4)
            if length > _MOST >> 2:
                raise HeaderError(f"an item of {length:,} bytes")
            yield _overflow(data, page, size, length, order)


def _blobs(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"SQLite format 3\0"):
        return _of_sqlite(data)
    if data.startswith(_NDB_MAGIC):
        return _of_ndb(data)
    if len(data) >= 512 and struct.unpack_from("<I", data, 12)[0] in (_BDB_MAGIC, _BDB_SWAPPED):
        return _of_bdb(data)
    raise HeaderError("of a form that is not known")


def rpm_headers(root: Root) -> Iterator[Header]:
    """Yields the headers of the installed packages, none if there is no database. Raises RootError if the database is
    broken.
    """
    for folder in _PLACES:
        for name in ("rpmdb.sqlite", "Packages.db", "Packages"):
            data = root.read(f"{folder}/{name}", _MOST)
            if not data:
                continue
            try:
                for number, blob in enumerate(_blobs(data)):
                    if number >= _MOST_PACKAGES:
                        raise HeaderError(f"more than {_MOST_PACKAGES:,} packages")
                    yield read_blob(blob)
            except (HeaderError, struct.error) as error:
                raise RootError(f"{root.label}: {folder}/{name}: a broken database of RPM: {error}") from error
            return
