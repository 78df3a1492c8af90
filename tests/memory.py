"""A tree in memory, for tests that read thousands of small ones."""

from __future__ import annotations

from collections.abc import Mapping

from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES, FileRead, ReadState


class MemoryReader:
    """Reads files from a dictionary."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Returns a file, or that it is missing."""
        if len(self._files.get(path, b"")) > limit:
            return FileRead(path, ReadState.UNREADABLE, reason="too large")
        if path in self._files:
            return FileRead(path, ReadState.READ, self._files[path])
        return FileRead(path, ReadState.MISSING, reason="no such file")

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Lists a folder by the paths of its files."""
        prefix = folder + "/" if folder else ""
        found = {path[len(prefix) :].split("/", 1)[0] for path in self._files if path.startswith(prefix)}
        return tuple(sorted(found)) or None
