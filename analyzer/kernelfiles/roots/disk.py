"""Reads root file systems in disk images: raw, qcow2, vmdk and ISO 9660; ext2 to ext4, XFS, Btrfs and SquashFS, with or
without partitions and LVM.

The dissect libraries and pycdlib read them. They are an extra (AGPL-3.0, LGPL-2.1: docs/dependencies.md). An image
that needs another file (a qcow2 with a backing file, a vmdk in several files) is refused, because it could name any
file of this host.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, NamedTuple

from tailcall_audit.analyzer.kernelfiles.roots.extra import broken, library
from tailcall_audit.analyzer.kernelfiles.roots.iso import open_iso
from tailcall_audit.analyzer.kernelfiles.roots.lvm import is_physical_volume, volumes_of
from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.kernelfiles.roots.tree import TreeRoot
from tailcall_audit.analyzer.kernelfiles.roots.volume import Volume, beyond, opened
from tailcall_audit.analyzer.libraries import dissect_errors
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.probes.reading import open_file

__all__ = ["DiskRoot", "Unread", "is_disk", "roots_of_disk"]

_MOST_PARTITIONS = 128
_MOST_SUBVOLUMES = 100
_QCOW2, _VMDK = b"QFI\xfb", b"KDMV"
_FILE_SYSTEMS: tuple[tuple[int, bytes, str, str], ...] = (
    (0x438, b"\x53\xef", "dissect.extfs.extfs", "ExtFS"),
    (0, b"XFSB", "dissect.xfs.xfs", "XFS"),
    (0x10040, b"_BHRfS_M", "dissect.btrfs.btrfs", "Btrfs"),
    (0, b"hsqs", "dissect.squashfs.squashfs", "SquashFS"),
)
"""The offset and bytes of each file system's signature, and the class that reads it."""
_SEALED = (
    (0, b"LUKS\xba\xbe", "it is encrypted (LUKS): open it, mount it, and audit it as a root file system"),
    (
        0x1000,
        b"\xfc\x4e\x2b\xa9",
        "it is a member of a RAID (md): assemble it, mount it, and audit it as a root file system",
    ),
    (
        0,
        b"\xfc\x4e\x2b\xa9",
        "it is a member of a RAID (md): assemble it, mount it, and audit it as a root file system",
    ),
)
"""The offset and bytes of what holds a file system and is not read, and the reason."""
_ISO = (0x8001, b"CD001")


_GPT = (512, b"EFI PART")
_DESCRIPTOR = b"# Disk DescriptorFile"


def is_disk(head: bytes) -> bool:
    """Returns True if a file begins as an image of a disk that names itself: by a file system, by a table of partitions
    other than MBR, which images of kernels have too, or by the format of a virtual machine.
    """
    marks = [_ISO, _GPT, *(entry[:2] for entry in _FILE_SYSTEMS), *(entry[:2] for entry in _SEALED)]
    is_machine = head.startswith((_QCOW2, _VMDK, _DESCRIPTOR))
    return (
        is_machine
        or any(head.startswith(mark, place) for place, mark in marks)
        or is_physical_volume(io.BytesIO(head[:4096]))
    )


class Unread(NamedTuple):
    """A part of a disk that is not read, and the reason."""

    label: str
    error: RootError


class DiskRoot(TreeRoot[Any]):
    """A file system on a disk as a root. The nodes are dissect's inodes."""

    def _children(self, folder: Any) -> Mapping[str, Any]:  # noqa: ANN401
        found: Mapping[str, Any] = folder.listdir()
        return found

    def _kind(self, node: Any) -> int:  # noqa: ANN401
        if hasattr(node, "filetype"):
            return stat.S_IFMT(node.filetype) or int(node.filetype)
        marks = ((node.is_dir, stat.S_IFDIR), (node.is_file, stat.S_IFREG), (node.is_symlink, stat.S_IFLNK))
        return next((kind for test, kind in marks if test()), 0)

    def _target(self, link: Any) -> str:  # noqa: ANN401
        return str(link.link)

    def _size(self, file: Any) -> int:  # noqa: ANN401
        return int(file.size)

    def _stream(self, file: Any) -> IO[bytes]:  # noqa: ANN401
        stream: IO[bytes] = file.open()
        return stream


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
        with dissect_errors(broken(label)):
            return library("dissect.hypervisor.disk.qcow2", "QCow2")(file).open()
    if head.startswith(_VMDK):
        with dissect_errors(broken(label)):
            return library("dissect.hypervisor.disk.vmdk", "VMDK")([_Nameless(file)])
    if head.startswith(_DESCRIPTOR):
        raise RootError(f"{label}: its content is in other files: qemu-img convert -O qcow2 makes one of them")
    return file


def _has(stream: IO[bytes], place: int, mark: bytes) -> bool:
    stream.seek(place)
    return stream.read(len(mark)) == mark


def _systems(stream: IO[bytes], label: str) -> Iterator[DiskRoot | Unread]:
    """Yields the file system of a partition; of Btrfs each subvolume, or the one that is mounted by default if that is
    not the top.
    """
    for place, mark, module, name in _FILE_SYSTEMS:
        with dissect_errors(broken(label)):
            found = _has(stream, place, mark)
        if not found:
            continue
        made = library(module, name)
        with dissect_errors(broken(label)):
            stream.seek(0)
            system = made(stream)
            tops = [(label, system.get("/"))] if name != "Btrfs" else _subvolumes(system, label)
        for named, top in tops[:_MOST_SUBVOLUMES]:
            yield DiskRoot(named, top)
        if len(tops) > _MOST_SUBVOLUMES:
            yield Unread(label, beyond(label, _MOST_SUBVOLUMES, "subvolumes"))
        return


def _subvolumes(system: Any, label: str) -> list[tuple[str, Any]]:  # noqa: ANN401
    default = system.default_subvolume
    is_top = default.objectid == system.fs_tree.objectid
    every = islice(system.subvolumes(), _MOST_SUBVOLUMES + 1) if is_top else [default]
    return [(f"{label} (subvolume {found.path})" if found.path else label, found.get("/")) for found in every]


def _part(stream: IO[bytes], label: str, physical: list[IO[bytes]]) -> Iterator[DiskRoot | Unread]:
    """Yields the file systems of a partition or volume; a physical volume of LVM is added to `physical` instead."""
    count = 0
    for item in _systems(stream, label):
        count += 1
        yield item
    if count:
        return
    with dissect_errors(broken(label)):
        if is_physical_volume(stream):
            physical.append(stream)
            return
        sealed = next((why for place, mark, why in _SEALED if _has(stream, place, mark)), None)
    if sealed is not None:
        yield Unread(label, RootError(f"{label}: {sealed}"))


def _partitions(stream: IO[bytes], label: str) -> Iterator[Volume]:
    disk = library("dissect.volume.disk.disk", "Disk")
    try:
        with dissect_errors(broken(label)):
            stream.seek(0)
            found = list(disk(stream).partitions)
    except RootError:
        return  # the library's complaint lists each kind of table that it tried
    for partition in found[:_MOST_PARTITIONS]:
        yield opened(f"{label} (partition {partition.number})", partition.open)
    if len(found) > _MOST_PARTITIONS:
        yield Volume(label, beyond(label, _MOST_PARTITIONS, "partitions"))


def _contents(volumes: Iterable[Volume], physical: list[IO[bytes]]) -> Iterator[DiskRoot | Unread]:
    """Yields the file systems of volumes, and those that cannot be read; see `_part`."""
    for volume in volumes:
        try:
            if isinstance(volume.content, RootError):
                raise volume.content
            yield from _part(volume.content, volume.label, physical)
        except RootError as error:
            yield Unread(volume.label, error)


def _parts(stream: IO[bytes], label: str) -> Iterator[DiskRoot | Unread]:
    """Yields what is on a disk: on the whole of it, else in its partitions, then in the volumes of LVM."""
    physical: list[IO[bytes]] = []
    count = 0
    for item in _part(stream, label, physical):
        count += 1
        yield item
    if not count and not physical:
        yield from _contents(_partitions(stream, label), physical)
    try:
        yield from _contents(volumes_of(label, physical), []) if physical else ()
    except RootError as error:
        yield Unread(label, error)


def _of_iso(stream: IO[bytes], label: str) -> Iterator[TreeRoot[Any] | Unread]:
    root = open_iso(label, stream)
    yield root
    yield from _contents(root.systems(), [])


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], str]]:
    path = expanded(name)
    try:
        with open_file(path) as file:
            yield file, str(path)
    except OSError as error:
        raise RootError(f"{path}: cannot read: {error.strerror or error}") from error


def roots_of_disk(name: str) -> Iterator[TreeRoot[Any] | Unread]:
    """Yields every file system of a disk, and what is on it and cannot be read. Raises RootError if there is none."""
    with _opened(name) as (file, label):
        stream = _disk(file, label)
        with dissect_errors(broken(label)):
            is_iso = _has(stream, *_ISO)
        count = 0
        for item in _of_iso(stream, label) if is_iso else _parts(stream, label):
            count += 1
            yield item
        if not count:
            raise RootError(
                f"{label}: neither a table of partitions nor a file system that is known here: ext2 to ext4, XFS, Btrfs,"
                " SquashFS or ISO 9660"
            )
