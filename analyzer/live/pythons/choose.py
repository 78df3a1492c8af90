"""Chooses the files that a guest needs from a root file system: an interpreter, its libraries, the modules that probes
import.

The interpreter is not run. Its modules are those that the running Python loads for the same probes, and those that
these import by their sources. The libraries are those that the ELF files name, and the libraries that these name.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.elf import Elf, ElfError, Linking
from tailcall_audit.analyzer.live.pythons.roots import Root, RootError, open_root, resolve
from tailcall_audit.probes.guest.archive import init_files
from tailcall_audit.probes.guest.interpreter import Loaded, byte_code
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.reading import read_file

__all__ = ["Chosen", "check_root", "choose"]

_OLDEST = (3, 11)
_PREFIXES = ("usr", "usr/local", "")
_LIBRARY = re.compile(r"python3\.(\d{1,3})", re.ASCII)
_DEFAULT_FOLDERS = ("lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib")
_MAX_SOURCE = 4 << 20
_MAX_MODULES = 400


class Chosen(NamedTuple):
    """The files of a guest by their place there, and the version of its Python, as (3, 11)."""

    contents: dict[str, bytes]
    version: tuple[int, int]


class _Place(NamedTuple):
    """The place of a Python in a root: its interpreter, the folder of its library, and its version."""

    interpreter: str
    library: str
    version: tuple[int, int]


def choose(root: Root, machine: Machine, loaded: Loaded) -> Chosen:
    """Returns the files of a guest of this machine; raises RootError if the root holds no Python for it."""
    place = _find(root)
    linking = _linking(root, place.interpreter)
    if linking is None or (linking.machine, linking.byte_order) != machine.elf:
        raise RootError(f"{root.name}: its {place.interpreter} is no program for {machine.architecture}")
    compiles = place.version == sys.version_info[:2]
    contents = {f"/{place.interpreter}": root.content(place.interpreter), f"/{place.library}/os.py": b""}
    for path in sorted(_modules(root, place, loaded.names)):
        data = root.content(path)
        if path.endswith(".py"):
            contents |= _source(f"/{path}", data, compiles)
        else:
            contents[f"/{path}"] = data
    contents |= _libraries(root, [path.lstrip("/") for path, data in contents.items() if data[:4] == b"\x7fELF"])
    for where, origin in loaded.sources.items():
        contents |= _source(where, read_file(origin, _MAX_SOURCE), compiles)
    contents |= init_files(f"/{place.interpreter}", compiled=compiles)
    return Chosen(contents, place.version)


def check_root(path: Path) -> None:
    """Raises RootError if a path names no root file system, or one without a Python for a guest of any architecture."""
    root = open_root(path)
    _find(root)


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _find(root: Root) -> _Place:
    """Returns the newest Python of a root; raises RootError if there is none."""
    found = []
    for prefix in _PREFIXES:
        for name in root.names(f"{prefix}/lib"):
            match = _LIBRARY.fullmatch(name)
            library = f"{prefix}/lib/{name}".lstrip("/")
            interpreter = resolve(root, f"{prefix}/bin/{name}")
            if match is not None and interpreter is not None and resolve(root, f"{library}/os.py") is not None:
                found.append(_Place(interpreter, library, (3, int(match.group(1)))))
    running = sys.version_info[:2]
    # The running version comes first: its modules can be compiled here.
    found.sort(key=lambda place: (place.version == running, place.version))
    if not found:
        raise RootError(f"{root.name}: no Python 3 in it (usr/bin/python3.N with usr/lib/python3.N, or in usr/local)")
    newest = found[-1]
    if newest.version < _OLDEST:
        raise RootError(
            f"{root.name}: its Python is {_shown(newest.version)}, and the probes need {_shown(_OLDEST)} or newer"
        )
    return newest


def _source(place: str, data: bytes, compiles: bool) -> dict[str, bytes]:
    """Returns a module as byte code, or its source if the guest's Python has another version than the running one."""
    if compiles:
        try:
            return {f"{place}c": byte_code(data, place)}
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    return {place: data}


def _modules(root: Root, place: _Place, names: Iterable[str]) -> set[str]:
    """Returns the files of these modules, and of those that they import when they are loaded. A module without a file
    is built into the interpreter.
    """
    binary = {
        name.partition(".")[0]: name for name in root.names(f"{place.library}/lib-dynload") if name.endswith(".so")
    }
    waiting = [name for name in names if name.partition(".")[0] != "tailcall_audit"]
    seen: set[str] = set()
    found: set[str] = set()
    while waiting and len(seen) < _MAX_MODULES:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        plain = f"{place.library}/{name.replace('.', '/')}"
        path = next((path for path in (f"{plain}/__init__.py", f"{plain}.py") if root.entry(path) is not None), None)
        if path is not None:
            found.add(path)
            if place.version != sys.version_info[:2]:
                waiting += _imports(root.content(path), name, path.endswith("__init__.py"))
        elif name in binary:
            found.add(f"{place.library}/lib-dynload/{binary[name]}")
    return found


def _imports(source: bytes, name: str, is_package: bool) -> Iterator[str]:
    """Yields the modules that a module imports when it is loaded; none if this Python cannot parse it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    package = name if is_package else name.rpartition(".")[0]
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "handlers", "finalbody"):
                for item in getattr(node, part, []):
                    waiting += item.body if isinstance(item, ast.ExceptHandler) else [item]


def _linking(root: Root, path: str) -> Linking | None:
    """Returns the library fields of a file; None if it is no ELF file."""
    data = root.content(path)
    if data[:4] != b"\x7fELF":
        return None
    try:
        return Elf(data).linking()
    except ElfError as error:
        raise RootError(f"{root.name}: {path}: a broken ELF file: {error}") from error


def _libraries(root: Root, programs: list[str]) -> dict[str, bytes]:
    """Returns the dynamic linker and the libraries of these ELF files, by their place in the guest; raises RootError
    if one is missing.

    There is no ld.so.cache in a guest: libraries that no path of the file itself leads to are put beside the C library,
    where the dynamic linker looks.
    """
    contents: dict[str, bytes] = {}
    done: set[str] = set()
    home = ""
    waiting = list(programs)
    while waiting:
        path = waiting.pop()
        linking = _linking(root, path)
        if linking is None:
            continue
        if linking.interpreter and linking.interpreter not in contents:
            contents[linking.interpreter] = root.content(_found(root, linking.interpreter, path))
        for name in linking.needed:
            if name in done:
                continue
            done.add(name)
            own = [f"{folder.replace('$ORIGIN', '/' + path.rpartition('/')[0])}/{name}" for folder in linking.search]
            place = next((place for place in own if resolve(root, place) is not None), None)
            real = _found(root, place or name, path)
            waiting.append(real)
            if name.startswith(("libc.so", "libc.musl")):
                home = real.rpartition("/")[0]
            contents[place or f"//{name}"] = root.content(real)
    return {(f"/{home}/{place[2:]}" if place.startswith("//") else place): data for place, data in contents.items()}


def _found(root: Root, name: str, needed_by: str) -> str:
    """Returns the path of a library, by its path or its name alone; raises RootError if it is not there."""
    if "/" in name:
        # The link /lib, which a package of the base system has, may be missing.
        candidates = [name, f"usr/{name.lstrip('/')}"]
    else:
        folders = list(_DEFAULT_FOLDERS)
        for folder in ("lib", "usr/lib"):
            folders += [f"{folder}/{inside}" for inside in root.names(folder) if "linux" in inside]
        candidates = [f"{folder}/{name}" for folder in folders]
    for candidate in candidates:
        real = resolve(root, candidate)
        if real is not None:
            return real
    raise RootError(f"{root.name}: {needed_by} needs {name.rpartition('/')[2]}, which is not in it")
