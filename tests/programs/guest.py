"""Runs a function in a guest: what it loads and what the reader sees of it. Never on the machine of the tests.

The archive is a guest's own (the probes), with a second one behind it that has the reader and another first process.
"""

from __future__ import annotations

import functools
import inspect
import subprocess
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit.probes.guest.archive import build_initramfs, write_cpio
from tailcall_audit.probes.guest.machines import MACHINES
from tailcall_audit.probes.guest.qemu import GuestError, find_qemu
from tailcall_audit.probes.kernel import loaded
from tailcall_audit.probes.kernel.loaded import Loaded, LoadedBtf, LoadedLink, LoadedMap, LoadedProgram
from tests.kernels import cache_directory

_INIT = """\
#!{python} -PSBs
import sys
sys.path.insert(0, '/tailcall-audit')
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for kind, where in (('proc', '/proc'), ('sysfs', '/sys')):
    os.makedirs(where, exist_ok=True)
    libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.instructions import Program as Assembly
from tailcall_audit.probes.kernel.loaded import read_kernel

{source}

os.path.exists('/dev/ttyS1') or os.mknod('/dev/ttyS1', 0o600 | 0o020000, os.makedev(4, 65))
line = os.open('/dev/ttyS1', os.O_WRONLY | os.O_NOCTTY)
try:
    text = repr({name}())
except BaseException as error:
    text = repr((type(error).__name__, str(error), getattr(error, 'log', '')))
data = b'\\n<' + text.encode().hex().encode() + b'>\\n'
while data:
    data = data[os.write(line, data):]
libc.tcdrain(line)
# A guest whose first process gave up its privileges ends by a panic.
libc.reboot(0x01234567)
"""
_TYPES = {item.__name__: item for item in (Loaded, LoadedBtf, LoadedLink, LoadedMap, LoadedProgram)}


def in_guest(image: Path, function: Callable[[], object], append: str = "") -> object:
    """Returns what a function returns that runs in a guest of this kernel; it uses what `_INIT` imports, and its
    answer is written by repr(). Skips where there is no QEMU.
    """
    try:
        qemu = find_qemu()
    except GuestError as error:
        pytest.skip(str(error))
    machine = next(item for item in MACHINES if item.architecture == "x86_64")
    with tempfile.TemporaryDirectory() as name:
        archive, answer = Path(name) / "initramfs", Path(name) / "answer"
        base = build_initramfs(cache_directory() / "guest").read_bytes()
        options = base.index(b" -PSBs\nimport sys\n")
        python = base[base.rindex(b"#!", 0, options) + 2 : options].decode()
        source = textwrap.dedent(inspect.getsource(function))
        init = _INIT.format(python=python, source=source, name=function.__name__)
        reader = Path(inspect.getfile(loaded)).read_bytes()
        folder = "tailcall-audit/tailcall_audit/probes/kernel"
        members = [(f"{folder}/loaded.py", 0o100644, reader, (0, 0)), ("init", 0o100755, init.encode(), (0, 0))]
        archive.write_bytes(base + write_cpio(members))
        command = [
            *(qemu.program, "-nodefaults", "-no-user-config", "-monitor", "none", "-display", "none", "-nic", "none"),
            *("-no-reboot", "-smp", "1", "-m", "768", "-accel", "tcg", "-cpu", machine.processor, *machine.board),
            *("-serial", "stdio", "-serial", f"file:{answer}", "-kernel", str(image), "-initrd", str(archive)),
            *("-append", f"{machine.command_line} quiet panic=-1 oops=panic PYTHONHASHSEED=0 {append}"),
        ]
        done = subprocess.run(command, capture_output=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
        text = answer.read_bytes() if answer.exists() else b""
    if b"<" not in text:
        raise AssertionError(done.stdout[-2000:].decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace"))
    answered = bytes.fromhex(text[text.index(b"<") + 1 : text.rindex(b">")].decode()).decode()
    return eval(answered, {"__builtins__": {}, **_TYPES})


@functools.cache
def loaded_in(image: Path, function: Callable[[], object]) -> Loaded:
    """Returns what the reader sees of what a function loads, once for a session."""
    found = in_guest(image, function)
    assert isinstance(found, Loaded), found
    return found
