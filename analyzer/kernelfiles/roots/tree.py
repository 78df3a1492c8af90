"""A root whose folders a library lists: links are resolved within it, and no path leads out."""

from __future__ import annotations

import stat
from abc import abstractmethod
from collections.abc import Mapping
from typing import IO, Generic, TypeVar

from tailcall_audit.analyzer.kernelfiles.roots.extra import broken
from tailcall_audit.analyzer.kernelfiles.roots.root import IMAGE_FOLDERS, RootError
from tailcall_audit.analyzer.libraries import dissect_errors

__all__ = ["TreeRoot"]

_Node = TypeVar("_Node")
_MOST_LINKS = 40
_MOST_NAMES = 20_000


class TreeRoot(Generic[_Node]):
    """See `Root`. A subclass says how the nodes of its file system are read. Whatever its library raises is caught
    here.
    """

    image_folders: tuple[str, ...] = IMAGE_FOLDERS

    def __init__(self, label: str, top: _Node) -> None:
        self.label = label
        self._top = top

    @abstractmethod
    def _children(self, folder: _Node) -> Mapping[str, _Node]:
        """Returns the nodes in a folder by their names."""

    @abstractmethod
    def _kind(self, node: _Node) -> int:
        """Returns the type of a node, as the S_IFMT part of its mode (inode(7)); 0 if it is of no known type."""

    @abstractmethod
    def _target(self, link: _Node) -> str:
        """Returns where a symbolic link leads to."""

    @abstractmethod
    def _size(self, file: _Node) -> int:
        """Returns the size of a file in bytes."""

    @abstractmethod
    def _stream(self, file: _Node) -> IO[bytes]:
        """Opens a file."""

    def _find(self, path: str) -> _Node | None:
        """Returns the node of a path, None if it does not exist."""
        waiting = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done = [self._top]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1] or [self._top]
                continue
            if self._kind(done[-1]) != stat.S_IFDIR:
                return None
            found = self._children(done[-1]).get(part)
            if found is None:
                return None
            if self._kind(found) != stat.S_IFLNK:
                done.append(found)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            target = self._target(found)
            done = [self._top] if target.startswith("/") else done
            waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
        return done[-1]

    def names(self, folder: str) -> list[str]:
        """See `Root`."""
        with dissect_errors(broken(self.label)):
            found = self._find(folder)
            if found is None or self._kind(found) != stat.S_IFDIR:
                return []
            return sorted(name for name in self._children(found) if name not in (".", ".."))[:_MOST_NAMES]

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Root`."""
        with dissect_errors(broken(self.label)):
            found = self._find(path)
            if found is None or self._kind(found) != stat.S_IFREG:
                return None
            size = self._size(found)
            if size > limit:
                raise RootError(f"{self.label}: {path} is larger than {limit >> 20} MiB, which no such file is")
            data = self._stream(found).read(size)
        if len(data) != size:
            raise RootError(f"{self.label}: {path} is cut off: {len(data):,} of {size:,} bytes are there")
        return data
