"""Reads root file systems in disk images: raw, qcow2 and vmdk; ext2 to ext4, XFS, Btrfs and SquashFS, with or without
partitions.

The dissect libraries read them. They are an extra (AGPL-3.0: docs/dependencies.md). An image that needs another file (a
qcow2 with a backing file, a vmdk in several files) is refused, because it could name any file of this host.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import IO, Any

from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.libraries import dissect_errors
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.probes.reading import open_file

__all__ = ["DiskRoot", "roots_of_disk"]

_MOST_LINKS = 40
_MOST_NAMES = 20_000
_MOST_PARTITIONS = 128
_QCOW2, _VMDK = b"QFI\xfb", b"KDMV"
_FILE_SYSTEMS: tuple[tuple[int, bytes, str, str], ...] = (
    (0x438, b"\x53\xef", "extfs.extfs", "ExtFS"),
    (0, b"XFSB", "xfs.xfs", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs.btrfs", "Btrfs"),
    (0, b"hsqs", "squashfs.squashfs", "SquashFS"),
)
"""The offset and bytes of each file system's signature, and the class that reads it."""
_LVM = b"LABELONE"
_ISO = (0x8001, b"CD001")


def _fail(label: str, words: str) -> RootError:
    return RootError(f"{label}: a broken disk: {words[:300]}")


def _library(name: str, what: str) -> Any:  # noqa: ANN401 (the libraries have no common type)
    try:
        return getattr(import_module(f"dissect.{name}"), what)
    except ImportError as error:
        raise RootError(
            "to read disks, install the extra: pip install 'tailcall-audit[disk]' (docs/dependencies.md)"
        ) from error


class DiskRoot:
    """A file system on a disk as a `Root`. `system` has the method `get` of dissect's file systems."""

    def __init__(self, label: str, system: Any) -> None:  # noqa: ANN401
        self.label = label
        self._system = system

    def _kind(self, inode: Any) -> int:  # noqa: ANN401
        if hasattr(inode, "filetype"):
            return stat.S_IFMT(inode.filetype) or int(inode.filetype)
        marks = ((inode.is_dir, stat.S_IFDIR), (inode.is_file, stat.S_IFREG), (inode.is_symlink, stat.S_IFLNK))
        return next((kind for test, kind in marks if test()), 0)

    def _find(self, path: str) -> Any:  # noqa: ANN401
        """Returns the inode of a path, None if it does not exist. Links are resolved within this file system."""
        waiting = [part for part in path.split("/") if part not in ("", ".")][::-1]
        top = self._system.get("/")
        done = [top]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1] or [top]
                continue
            if self._kind(done[-1]) != stat.S_IFDIR:
                return None
            found = done[-1].listdir().get(part)
            if found is None:
                return None
            if self._kind(found) != stat.S_IFLNK:
                done.append(found)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            target = str(found.link)
            done = [top] if target.startswith("/") else done
            waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
        return done[-1]

    def names(self, folder: str) -> list[str]:
        """See `Root`."""
        with dissect_errors(partial(_fail, self.label)):
            found = self._find(folder)
            if found is None or self._kind(found) != stat.S_IFDIR:
                return []
            return sorted(name for name in found.listdir() if name not in (".", ".."))[:_MOST_NAMES]

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Root`."""
        with dissect_errors(partial(_fail, self.label)):
            found = self._find(path)
            if found is None or self._kind(found) != stat.S_IFREG:
                return None
            if found.size > limit:
                raise RootError(f"{self.label}: {path} is larger than {limit >> 20} MiB, which no such file is")
            data: bytes = found.open().read(found.size)
            return data


class _Nameless(io.BufferedReader):
    """A file object without a name. With a name, the library would open the parent file that a vmdk names, next
    to it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(io.FileIO(os.dup(file.fileno()), "rb"))
        self.seek(0)

    @property
    def name(self) -> str:
        """Raises AttributeError, so that the file has no name."""
        raise AttributeError("name")


def _disk(file: IO[bytes], label: str) -> Any:  # noqa: ANN401
    """Returns the content of the disk as a stream."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(_QCOW2):
        if any(head[8:16]):
            raise RootError(f"{label}: it needs its backing file: qemu-img convert -O qcow2 makes one that does not")
        with dissect_errors(partial(_fail, label)):
            return _library("hypervisor.disk.qcow2", "QCow2")(file).open()
    if head.startswith(_VMDK):
        with dissect_errors(partial(_fail, label)):
            return _library("hypervisor.disk.vmdk", "VMDK")([_Nameless(file)])
    if head.startswith(b"# Disk DescriptorFile"):
        raise RootError(f"{label}: its content is in other files: qemu-img convert -O qcow2 makes one of them")
    return file


def _system(stream: Any, label: str) -> DiskRoot | None:  # noqa: ANN401
    for place, mark, module, name in _FILE_SYSTEMS:
        with dissect_errors(partial(_fail, label)):
            stream.seek(place)
            found = stream.read(len(mark)) == mark
        if found:
            made: Callable[[Any], Any] = _library(module, name)
            with dissect_errors(partial(_fail, label)):
                stream.seek(0)
                return DiskRoot(label, made(stream))
    return None


def _partitions(stream: Any, label: str) -> Iterator[DiskRoot]:  # noqa: ANN401
    disk = _library("volume.disk.disk", "Disk")
    with dissect_errors(partial(_fail, label)):
        stream.seek(0)
        found = list(disk(stream).partitions)[:_MOST_PARTITIONS]
    for partition in found:
        with dissect_errors(partial(_fail, label)):
            content = partition.open()
        root = _system(content, f"{label} (partition {partition.number})")
        if root is not None:
            yield root
            continue
        with dissect_errors(partial(_fail, label)):
            content.seek(512)
            head = content.read(8)
        if head == _LVM:
            raise RootError(
                f"{label} (partition {partition.number}): LVM is not read: activate it, mount it, and use --rootfs"
            )


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], str]]:
    path = expanded(name)
    try:
        with open_file(path) as file:
            yield file, str(path)
    except OSError as error:
        raise RootError(f"{path}: cannot read: {error.strerror or error}") from error


def roots_of_disk(name: str) -> Iterator[DiskRoot]:
    """Yields every file system of a disk that can be read. Raises RootError if there is none."""
    with _opened(name) as (file, label):
        stream = _disk(file, label)
        whole = _system(stream, label)
        if whole is not None:
            yield whole
            return
        with dissect_errors(partial(_fail, label)):
            stream.seek(_ISO[0])
            is_iso = stream.read(5) == _ISO[1]
        if is_iso:
            raise RootError(f"{label}: an ISO 9660 image is not read: unpack it (bsdtar -xf), and use --rootfs")
        count = 0
        for root in _partitions(stream, label):
            count += 1
            yield root
        if not count:
            raise RootError(f"{label}: no file system that is known here: ext2 to ext4, XFS, Btrfs or SquashFS")
