"""The file system of a guest, made from the running Python: the interpreter, its shared libraries, and the modules that
probes import.

Nothing prebuilt, no root: the archive is written here (the "newc" form of the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed, since an emulated guest unpacks slower than
QEMU copies. Every file keeps its place, so that the interpreter finds its parts as it does on the host.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import stat
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.probes.private_folder import PrivateFolder
from tailcall_audit.probes.processes import PYTHON_OPTIONS, Finished, ProgramError, run
from tailcall_audit.probes.reading import read_file
from tailcall_audit.probes.writing import TEMPORARY

__all__ = [
    "INIT_WORDS",
    "InitramfsError",
    "Loaded",
    "Member",
    "build_initramfs",
    "byte_code",
    "init_files",
    "interpreter",
    "keep_archive",
    "loaded_by_a_guest",
    "write_cpio",
]

_LOADED = """\
import ctypes, os, sys
sys.path.append(sys.argv[1])
print("library folder", os.path.dirname(os.__file__), sep="\\t")
import tailcall_audit.probes.guest.first_process, tailcall_audit.probes.runner
from tailcall_audit.probes.defects import PROBES
class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]
names = []
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
def each(info, size, data):
    names.append((info.contents.name or b"").decode())
    return 0
ctypes.CDLL(None).dl_iterate_phdr(each, None)
for name in names:
    if name.startswith("/"):
        print("library", name, sep="\\t")
for name, module in sorted(sys.modules.items()):
    print("name", name, sep="\\t")
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.has_location and spec.origin and not name.startswith("__main__"):
        print("module", name, spec.origin, "package" if spec.submodule_search_locations is not None else "", sep="\\t")
"""
"""A script that the guest's interpreter runs on this host: it prints the files and modules that a guest loads."""

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
_INIT = "/init"
_FOLDER = "/tailcall-audit"
_PACKAGE = "tailcall_audit"
_TIMEOUT = 60
_KEPT = 8
"""Archives that are kept, the latest used ones: of each architecture, of other Pythons, and of other versions of the
probes. Each has some 9 MB.
"""
_UNFINISHED = 3600
"""Seconds after which an unfinished file was left by a process that ended."""
_SUFFIX = ".cpio"
_MAX_ARCHIVE = 256 << 20
_MAX_FILE = 128 << 20


class InitramfsError(RuntimeError):
    """The running Python can't be made into a guest's; the message says why."""


class Loaded(NamedTuple):
    """The modules that the first process of a guest loads, and the sources of this project's own, by their place in the
    guest without the last letter (``….py``).
    """

    names: tuple[str, ...]
    sources: Mapping[str, str]


Member = tuple[str, int, bytes, tuple[int, int]]
"""A member of an archive: path without a leading slash, mode with its type, content, device number (major, minor)."""


def write_cpio(members: list[Member]) -> bytes:
    """A "newc" archive of members."""
    out = bytearray()
    for number, (name, mode, content, device) in enumerate([*members, ("TRAILER!!!", 0, b"", (0, 0))], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, device[0], device[1], len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


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


def _python(python: str, verb: str, script: str, *arguments: str, given: str = "") -> Finished:
    """Runs a script in the interpreter that a guest gets; raises InitramfsError if it does not `verb` the probes."""
    try:
        done = run([python, *PYTHON_OPTIONS, "-c", script, *arguments], timeout=_TIMEOUT, given=os.fsencode(given))
    except ProgramError as error:
        raise InitramfsError(str(error)) from error
    if done.status != 0:
        raise InitramfsError(f"{python} can't {verb} the probes: {done.complaint()}")
    return done


def _parts(python: str, root: Path) -> list[list[str]]:
    """Returns the files and modules that the interpreter loads for a guest, as rows of `_LOADED`."""
    done = _python(python, "load", _LOADED, str(root))
    return [line.split("\t") for line in os.fsdecode(done.output).splitlines()]


def _bytecode(python: str, sources: list[str]) -> list[bytes]:
    """Compiled modules, by the interpreter that will load them; each starts with the header of a .pyc without a check
    of its source.
    """
    script = (
        "import importlib.util, marshal, sys\n"
        "out = sys.stdout.buffer\n"
        "for path in sys.stdin.read().split('\\0'):\n"
        "    data = open(path, 'rb').read()\n"
        "    code = importlib.util.MAGIC_NUMBER + b'\\1\\0\\0\\0' + b'\\0' * 8 + marshal.dumps(compile(data, path, 'exec', dont_inherit=True, optimize=2))\n"
        "    out.write(len(code).to_bytes(8, 'little') + code)\n"
    )
    output = _python(python, "compile", script, given="\0".join(sources)).output
    found, position = [], 0
    while position < len(output):
        size = int.from_bytes(output[position : position + 8], "little")
        found.append(output[position + 8 : position + 8 + size])
        position += 8 + size
    return found


def build_initramfs(cache: Path) -> Path:
    """Makes the archive, or finds it in the cache; raises InitramfsError.

    Its name has the hash of its inputs and that of its content: one that another user could have written, or whose
    content does not match, is made anew. Takes 0.3 s if nothing has changed, because the interpreter is asked each time
    what it loads.
    """
    python, root = interpreter(), _root()
    parts = _parts(python, root)
    files, sources = _places(python, root, parts)

    def contents() -> dict[str, bytes]:
        found = {place: _without_sections(read_file(origin, _MAX_FILE)) for place, origin in files.items()}
        found |= dict(zip(sources, _bytecode(python, list(sources.values())), strict=True))
        # os is frozen into the interpreter, but its file is the mark by which it knows its library's folder.
        found |= {f"{row[1]}/os.py": b"" for row in parts if row[0] == "library folder"}
        return found | init_files(python, compiled=True)

    return keep_archive(cache, _digest({**files, **sources}), contents)


def interpreter() -> str:
    """Returns the path of the running Python, which guests of this architecture get. A virtual environment's is a link: it
    finds its library from where it really is.
    """
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def _root() -> Path:
    """Returns the folder that has the package: of a checkout or of an installation. A checkout's links are not
    resolved.
    """
    return Path(os.path.abspath(__file__)).parents[3]


def byte_code(source: bytes, place: str) -> bytes:
    """Returns a module as a .pyc of the running version, which is loaded without a check of its source (PEP 552).
    Raises what compile() does.
    """
    code = compile(source, place, "exec", dont_inherit=True, optimize=2)
    return importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + marshal.dumps(code)


def init_files(python: str, *, compiled: bool) -> dict[str, bytes]:
    """Returns the first process of a guest, a link to the Python at this place there, and what that Python runs: as
    byte code if it has the running version, as source otherwise.
    """
    data = _START.encode()
    if compiled:
        data = byte_code(data, _START_PLACE)
    return {_INIT: python.encode(), _START_PLACE: data}


def loaded_by_a_guest() -> Loaded:
    """Returns what the running Python loads for a guest; raises InitramfsError."""
    python, root = interpreter(), _root()
    parts = _parts(python, root)
    _, sources = _places(python, root, parts)
    ours = {place.removesuffix("c"): origin for place, origin in sources.items() if place.startswith(f"{_FOLDER}/")}
    return Loaded(tuple(row[1] for row in parts if row[0] == "name"), ours)


def keep_archive(cache: Path, digest: str, contents: Callable[[], Mapping[str, bytes]]) -> Path:
    """Finds the archive that was made of what a digest names, or makes it of these files, by their place in the guest.

    Raises InitramfsError if it cannot be kept.
    """
    folder, stem = PrivateFolder(cache), f"initramfs-{digest[:32]}-"
    kept = _kept(folder, stem)
    if kept is not None:
        return cache / kept
    data = write_cpio(_members(contents()))
    name = f"{stem}{hashlib.sha256(data).hexdigest()}{_SUFFIX}"
    try:
        folder.write(name, data)
        _remove_old(folder)
    except OSError as error:
        raise _not_kept(cache, error) from error
    return cache / name


def _places(python: str, root: Path, parts: list[list[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns where files go in the guest and where they are here: those that are copied, and the sources of modules
    that are compiled.
    """
    files = {python: python} | {row[1]: row[1] for row in parts if row[0] == "library"}
    sources: dict[str, str] = {}
    for kind, *row in parts:
        if kind != "module":
            continue
        name, origin = row[0], row[1]
        ours = name.partition(".")[0] == _PACKAGE
        place = f"{_FOLDER}/{Path(origin).relative_to(root)}" if ours else origin
        if origin.endswith(".py"):
            sources[f"{place}c"] = origin
        else:
            files[place] = origin
    return files, sources


def _digest(places: dict[str, str]) -> str:
    """Returns the digest of these files, as they are now."""
    digest = hashlib.sha256()
    for place, origin in sorted(places.items()):
        state = os.stat(origin)
        digest.update(f"{place}\0{origin}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    digest.update(read_file(__file__, _MAX_FILE))
    return digest.hexdigest()


def _members(contents: Mapping[str, bytes]) -> list[Member]:
    """Returns the members of an archive: folders, the devices that a first process needs, and files."""
    members: list[Member] = [
        (name, stat.S_IFDIR | 0o755, b"", (0, 0))
        for name in _folders([*contents, "/dev/x", "/proc/x", "/sys/x", "/tmp/x"])  # noqa: S108
    ]
    members.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    members.append(("dev/null", stat.S_IFCHR | 0o666, b"", (1, 3)))
    members.append(("dev/urandom", stat.S_IFCHR | 0o666, b"", (1, 9)))
    members += [
        (place.lstrip("/"), (stat.S_IFLNK if place == _INIT else stat.S_IFREG) | 0o755, content, (0, 0))
        for place, content in sorted(contents.items())
    ]
    return members


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


def _folders(places: list[str]) -> list[str]:
    """Returns every folder that these files need, parents first."""
    found = {str(parent).strip("/") for place in places for parent in Path(place).parents}
    return sorted(found - {""}, key=lambda name: (name.count("/"), name))
