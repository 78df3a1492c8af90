"""Runs a function in a guest: what it loads and what the reader sees of it. Never on the machine of the tests."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from tailcall_audit.probes.kernel import loaded, netlink, objects, records
from tailcall_audit.probes.kernel.netlink import LoadedHook
from tailcall_audit.probes.kernel.records import Loaded, LoadedBtf, LoadedLink, LoadedMap, LoadedProgram
from tests.first_process import boot

_SCRIPT = """
import struct
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.assembler import Program as Assembly
from tailcall_audit.probes.kernel.loaded import read_kernel

{source}

try:
    text = repr({name}())
except BaseException as error:
    text = repr((type(error).__name__, str(error), getattr(error, 'log', '')))
data = b'\\n<' + text.encode().hex().encode() + b'>\\n'
while data:
    data = data[os.write(line, data):]
"""
_TYPES = {item.__name__: item for item in (Loaded, LoadedBtf, LoadedHook, LoadedLink, LoadedMap, LoadedProgram)}


def in_guest(
    image: Path,
    function: Callable[[], object],
    append: str = "",
    *,
    beside: tuple[Callable[..., object], ...] = (),
    files: Iterable[tuple[str, bytes]] = (),
) -> object:
    """Returns what a function returns that runs in a guest of this kernel; it uses what `_SCRIPT` imports and the
    functions `beside` it, and its answer is written by repr(). `files` are further files at the guest's root. Skips
    where there is no QEMU.
    """
    source = "\n\n".join(textwrap.dedent(inspect.getsource(item)) for item in (*beside, function))
    script = _SCRIPT.format(source=source, name=function.__name__)
    paths = [Path(inspect.getfile(module)) for module in (loaded, netlink, objects, records)]
    modules = [(f"tailcall-audit/tailcall_audit/probes/kernel/{path.name}", path.read_bytes()) for path in paths]
    answer = boot(image, script, [*modules, *files], append, seconds=900)
    text = answer.written
    if b"<" not in text:
        raise AssertionError(answer.console)
    answered = bytes.fromhex(text[text.index(b"<") + 1 : text.rindex(b">")].decode()).decode()
    return eval(answered, {"__builtins__": {}, **_TYPES})


@functools.cache
def loaded_in(image: Path, function: Callable[[], object]) -> Loaded:
    """Returns what the reader sees of what a function loads, once for a session."""
    found = in_guest(image, function)
    assert isinstance(found, Loaded), found
    return found
