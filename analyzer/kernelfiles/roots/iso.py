"""Reads ISO 9660 images: installers and live systems. Names are those of Rock Ridge, else of Joliet, else ISO 9660's
own.

pycdlib reads them (LGPL-2.1: docs/dependencies.md). The system of a live image is in a SquashFS file, which is a root
of its own.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any, NamedTuple

from tailcall_audit.analyzer.kernelfiles.roots.extra import broken, library
from tailcall_audit.analyzer.kernelfiles.roots.root import IMAGE_NAME, RootError
from tailcall_audit.analyzer.kernelfiles.roots.tree import TreeRoot
from tailcall_audit.analyzer.kernelfiles.roots.volume import Volume, beyond, opened
from tailcall_audit.analyzer.libraries import dissect_errors

__all__ = ["IsoRoot", "open_iso"]

_MOST_FOLDERS = 2000
_MOST_SYSTEMS = 20
_DEPTH = 4
_SYSTEM = re.compile(r".+\.(?:squashfs|sfs)|squashfs\.img|airootfs\.sfs", re.IGNORECASE)
"""The names of the files that hold a live system (casper and live-boot, dracut, archiso)."""


class _Record(NamedTuple):
    """A file or folder: its path, in the library's spelling, and the library's record of it."""

    path: str
    record: Any


def _own_name(text: str) -> str:
    """Returns a name of ISO 9660 as people write it: ``VMLINUZ.;1`` is vmlinuz."""
    return text.partition(";")[0].rstrip(".").lower()


class IsoRoot(TreeRoot[_Record]):
    """An ISO 9660 image as a root. Images of kernels are looked for in all of its folders, because each distribution
    has its own (``live``, ``casper``, ``images/pxeboot``).
    """

    def __init__(self, label: str, disk: Any) -> None:  # noqa: ANN401
        self._disk = disk
        self._by = "rr_path" if disk.has_rock_ridge() else "joliet_path" if disk.has_joliet() else "iso_path"
        super().__init__(label, _Record("/", disk.get_record(**{self._by: "/"})))
        self._known: dict[str, dict[str, _Record]] = {}
        self.image_folders = tuple(self._with_images())

    def _name(self, record: Any) -> tuple[str, str]:  # noqa: ANN401
        """Returns the name of a record as people write it, and as the library does."""
        if self._by == "rr_path":
            name = record.rock_ridge.name().decode("utf-8", "surrogateescape") if record.rock_ridge else ""
            return name, name
        data: bytes = record.file_identifier()
        text = data.decode("utf-16-be" if self._by == "joliet_path" else "utf-8", "surrogateescape")
        return (text.partition(";")[0], text) if self._by == "joliet_path" else (_own_name(text), text)

    def _children(self, folder: _Record) -> Mapping[str, _Record]:
        known = self._known.get(folder.path)
        if known is None:
            known = self._known[folder.path] = {}
            for record in self._disk.list_children(**{self._by: folder.path}):
                if record is None or record.is_dot() or record.is_dotdot():
                    continue
                name, own = self._name(record)
                if name and "/" not in name:
                    known.setdefault(name, _Record(f"{folder.path.rstrip('/')}/{own}", record))
        return known

    def _kind(self, node: _Record) -> int:
        ridge = node.record.rock_ridge
        if ridge is not None and ridge.is_symlink():
            return stat.S_IFLNK
        if node.record.is_dir():
            return stat.S_IFDIR
        mode = ridge.get_file_mode() if ridge is not None else 0
        return stat.S_IFMT(mode) or stat.S_IFREG

    def _target(self, link: _Record) -> str:
        path: bytes = link.record.rock_ridge.symlink_path()
        return path.decode("utf-8", "surrogateescape")

    def _size(self, file: _Record) -> int:
        return int(file.record.get_data_length())

    def _stream(self, file: _Record) -> IO[bytes]:
        opened = self._disk.open_file_from_iso(**{self._by: file.path})
        return io.BufferedReader(opened.__enter__())

    def _files(self) -> Iterator[tuple[str, str, _Record]]:
        """Yields the folder, the name and the record of every file that is not too deep."""
        waiting = [("", self._top, 0)]
        for _ in range(_MOST_FOLDERS):
            if not waiting:
                return
            place, folder, depth = waiting.pop(0)
            for name, node in self._children(folder).items():
                kind = self._kind(node)
                if kind == stat.S_IFDIR and depth < _DEPTH:
                    waiting.append((f"{place}/{name}".lstrip("/"), node, depth + 1))
                elif kind == stat.S_IFREG:
                    yield place, name, node

    def _with_images(self) -> list[str]:
        return list(dict.fromkeys(place for place, name, _ in self._files() if IMAGE_NAME.fullmatch(name)))

    def systems(self) -> Iterator[Volume]:
        """Yields every file that holds a live system."""
        with dissect_errors(broken(self.label)):
            found = [
                (f"{place}/{name}".lstrip("/"), node) for place, name, node in self._files() if _SYSTEM.fullmatch(name)
            ]
        for path, node in found[:_MOST_SYSTEMS]:
            yield opened(f"{self.label} ({path})", partial(self._stream, node))
        if len(found) > _MOST_SYSTEMS:
            yield Volume(self.label, beyond(self.label, _MOST_SYSTEMS, "live systems"))


def open_iso(label: str, stream: IO[bytes]) -> IsoRoot:
    """Returns an ISO 9660 image as a root. Raises RootError if it is broken or cut off: the library takes a file whose
    end is missing for a shorter one.
    """
    made = library("pycdlib", "PyCdlib")
    with dissect_errors(broken(label)):
        disk = made()
        disk.open_fp(stream)
        size, there = disk.pvd.space_size * disk.pvd.logical_block_size(), stream.seek(0, io.SEEK_END)
        if there < size:
            raise RootError(f"{label}: it is cut off: {there:,} of {size:,} bytes are there")
        return IsoRoot(label, disk)
