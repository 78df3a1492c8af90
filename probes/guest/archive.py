"""The file system of a guest, made from the running Python: the interpreter, its shared libraries, and the modules that
probes import.

Nothing prebuilt, no root: `tailcall_audit.probes.guest.cpio` writes the archive, uncompressed, since an emulated guest
unpacks slower than QEMU copies. Every file keeps its place, so that the interpreter finds its parts as it does on the
host. Archives are kept in a folder of the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tailcall_audit.probes.guest import cpio
from tailcall_audit.probes.guest import interpreter as interpreters
from tailcall_audit.probes.guest.cpio import INIT, members_of, write_cpio
from tailcall_audit.probes.guest.interpreter import (
    InitramfsError,
    byte_code,
    compile_all,
    find_parts,
    interpreter,
)
from tailcall_audit.probes.private_folder import PrivateFolder
from tailcall_audit.probes.reading import read_file
from tailcall_audit.probes.writing import TEMPORARY

__all__ = ["INIT_WORDS", "InitramfsError", "build_initramfs", "init_files", "keep_archive"]

_START = """\
import gc, sys
gc.disable()
sys.path.insert(0, '/tailcall-audit')
from tailcall_audit.probes.guest.first_process import main
main()
"""
_START_PLACE = "/tailcall-audit/start"
INIT_WORDS = f"-- -PSBs {_START_PLACE}"
"""The last words of a guest's command line: the kernel passes what is behind ``--`` to the first process. That is Python
itself, and no script that names it: in an emulated guest, the compiler of its five lines takes a twentieth of a second.
"""
_KEPT = 8
"""Archives that are kept, the latest used ones: of each architecture, of other Pythons, and of other versions of the
probes. Each has some 9 MB.
"""
_UNFINISHED = 3600
"""Seconds after which an unfinished file was left by a process that ended."""
_SUFFIX = ".cpio"
_MAX_ARCHIVE = 256 << 20
_MAX_FILE = 128 << 20


def build_initramfs(cache: Path) -> Path:
    """Makes the archive, or finds it in the cache; raises InitramfsError.

    Its name has the hash of its inputs and that of its content: one that another user could have written, or whose
    content does not match, is made anew. Takes 0.3 s if nothing has changed, because the interpreter is asked each time
    what it loads.
    """
    python = interpreter()
    parts = find_parts(python)

    def contents() -> dict[str, bytes]:
        found = {place: _without_sections(read_file(origin, _MAX_FILE)) for place, origin in parts.files.items()}
        found |= compile_all(python, parts.sources)
        # os is frozen into the interpreter, but its file is the mark by which it knows its library's folder.
        found[f"{parts.library}/os.py"] = b""
        return found | init_files(python, compiled=True)

    return keep_archive(cache, _digest({**parts.files, **parts.sources}), contents)


def _without_sections(data: bytes) -> bytes:
    """Returns an ELF file without the data behind its loaded parts: symbols and debug data are several times as large."""
    if data[:5] != b"\x7fELF\x02" or data[5] != 1:
        return data
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    end = offset + size * count
    for index in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, offset + index * size)
        if kind != 0:
            end = max(end, start + length)
    if end >= len(data):
        return data
    header = bytearray(data[:end])
    struct.pack_into("<Q", header, 40, 0)  # e_shoff, and below e_shnum and e_shstrndx
    struct.pack_into("<HH", header, 60, 0, 0)
    return bytes(header)


def init_files(python: str, *, compiled: bool) -> dict[str, bytes]:
    """Returns the first process of a guest, a link to the Python at this place there, and what that Python runs: as
    byte code if it has the running version, as source otherwise.
    """
    data = _START.encode()
    if compiled:
        data = byte_code(data, _START_PLACE)
    return {INIT: python.encode(), _START_PLACE: data}


def keep_archive(cache: Path, digest: str, contents: Callable[[], Mapping[str, bytes]]) -> Path:
    """Finds the archive that was made of what a digest names, or makes it of these files, by their place in the guest.

    Raises InitramfsError if it cannot be kept.
    """
    folder, stem = PrivateFolder(cache), f"initramfs-{digest[:32]}-"
    kept = _kept(folder, stem)
    if kept is not None:
        return cache / kept
    data = write_cpio(members_of(contents()))
    name = f"{stem}{hashlib.sha256(data).hexdigest()}{_SUFFIX}"
    try:
        folder.write(name, data)
        _remove_old(folder)
    except OSError as error:
        raise _not_kept(cache, error) from error
    return cache / name


def _digest(places: dict[str, str]) -> str:
    """Returns the digest of these files, as they are now, and of the modules that make the archive of them."""
    digest = hashlib.sha256()
    for place, origin in sorted(places.items()):
        state = os.stat(origin)
        digest.update(f"{place}\0{origin}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    for module in (__file__, cpio.__file__, interpreters.__file__):
        digest.update(read_file(module, _MAX_FILE))
    return digest.hexdigest()


def _not_kept(cache: Path, error: OSError) -> InitramfsError:
    return InitramfsError(
        f"{cache}: the guest's archive cannot be kept there: {error.strerror or error} (XDG_CACHE_HOME names another place)"
    )


def _kept(folder: PrivateFolder, stem: str) -> str | None:
    """Returns the name of an archive that is this user's, and whose content is what its name says; None if there is
    none.
    """
    try:
        for name in folder.names():
            digest = name.removeprefix(stem).removesuffix(_SUFFIX)
            if f"{stem}{digest}{_SUFFIX}" != name:
                continue
            data = folder.read(name, _MAX_ARCHIVE)
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                folder.touch(name)
                return name
            folder.remove(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _not_kept(Path(folder.path), error) from error
    return None


def _remove_old(folder: PrivateFolder) -> None:
    """Removes all archives but the latest used ones, and what a killed process left unfinished."""
    archives = [name for name in folder.names() if name.startswith("initramfs-") and name.endswith(_SUFFIX)]
    now = time.time()
    unfinished = [name for name in folder.names() if name.startswith(TEMPORARY) and folder.age(name, now) > _UNFINISHED]
    for name in (*archives[_KEPT:], *unfinished):
        with suppress(OSError):
            folder.remove(name)
