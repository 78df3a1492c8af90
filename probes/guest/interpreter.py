"""What a guest gets of the running Python: the interpreter, its shared libraries, and the modules that the probes import.

The interpreter is asked each time: it loads the probes, and prints what it has loaded then.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.probes.processes import PYTHON_OPTIONS, Finished, ProgramError, run

__all__ = [
    "InitramfsError",
    "Loaded",
    "Parts",
    "byte_code",
    "compile_all",
    "find_parts",
    "interpreter",
    "loaded_by_a_guest",
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

_FOLDER = "/tailcall-audit"
_PACKAGE = "tailcall_audit"
_TIMEOUT = 60


class InitramfsError(RuntimeError):
    """The running Python can't be made into a guest's; the message says why."""


class Loaded(NamedTuple):
    """The modules that the first process of a guest loads, and the sources of this project's own, by their place in the
    guest without the last letter (``….py``).
    """

    names: tuple[str, ...]
    sources: Mapping[str, str]


class Parts(NamedTuple):
    """What an interpreter loads for a guest: the names of its modules, the folder of its library, and files by their
    place in the guest: those that are copied, and the sources of modules that are compiled (``….pyc``).
    """

    names: tuple[str, ...]
    library: str
    files: Mapping[str, str]
    sources: Mapping[str, str]


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


def _python(python: str, verb: str, script: str, *arguments: str, given: str = "") -> Finished:
    """Runs a script in the interpreter that a guest gets; raises InitramfsError if it does not `verb` the probes."""
    try:
        done = run([python, *PYTHON_OPTIONS, "-c", script, *arguments], timeout=_TIMEOUT, given=os.fsencode(given))
    except ProgramError as error:
        raise InitramfsError(str(error)) from error
    if done.status != 0:
        raise InitramfsError(f"{python} can't {verb} the probes: {done.complaint()}")
    return done


def find_parts(python: str) -> Parts:
    """Returns the files and modules that the interpreter loads for a guest; raises InitramfsError."""
    root = _root()
    done = _python(python, "load", _LOADED, str(root))
    names: list[str] = []
    files, sources, library = {python: python}, dict[str, str](), ""
    for line in os.fsdecode(done.output).splitlines():
        kind, name, *rest = line.split("\t")
        if kind == "library folder":
            library = name
        elif kind == "library":
            files[name] = name
        elif kind == "name":
            names.append(name)
        else:
            origin = rest[0]
            ours = name.partition(".")[0] == _PACKAGE
            place = f"{_FOLDER}/{Path(origin).relative_to(root)}" if ours else origin
            if origin.endswith(".py"):
                sources[f"{place}c"] = origin
            else:
                files[place] = origin
    return Parts(tuple(names), library, files, sources)


def compile_all(python: str, sources: Mapping[str, str]) -> dict[str, bytes]:
    """Returns modules as byte code, by their place in the guest, compiled by the interpreter that will load them. Each
    starts with the header of a .pyc without a check of its source. Raises InitramfsError.
    """
    script = (
        "import importlib.util, marshal, sys\n"
        "out = sys.stdout.buffer\n"
        "for path in sys.stdin.read().split('\\0'):\n"
        "    data = open(path, 'rb').read()\n"
        "    code = importlib.util.MAGIC_NUMBER + b'\\1\\0\\0\\0' + b'\\0' * 8 + marshal.dumps(compile(data, path, 'exec', dont_inherit=True, optimize=2))\n"
        "    out.write(len(code).to_bytes(8, 'little') + code)\n"
    )
    output = _python(python, "compile", script, given="\0".join(sources.values())).output
    found, position = [], 0
    while position < len(output):
        size = int.from_bytes(output[position : position + 8], "little")
        found.append(output[position + 8 : position + 8 + size])
        position += 8 + size
    return dict(zip(sources, found, strict=True))


def loaded_by_a_guest() -> Loaded:
    """Returns what the running Python loads for a guest; raises InitramfsError."""
    parts = find_parts(interpreter())
    ours = {
        place.removesuffix("c"): origin for place, origin in parts.sources.items() if place.startswith(f"{_FOLDER}/")
    }
    return Loaded(parts.names, ours)
