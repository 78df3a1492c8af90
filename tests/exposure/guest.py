"""Runs the scenarios in a guest, and never here: what each of them returned, or the kernel's refusal."""

from __future__ import annotations

import ast
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.probes.guest.archive import build_initramfs, write_cpio
from tailcall_audit.probes.guest.machines import MACHINES
from tailcall_audit.probes.guest.qemu import GuestError, find_qemu
from tests.kernels import cache_directory

_FOLDER = "tailcall-audit/tailcall_audit/probes/defects"
_INIT = """\
#!{python} -PSBs
import sys
sys.path.insert(0, '/tailcall-audit')
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
for kind, where in (('proc', '/proc'), ('sysfs', '/sys')):
    os.makedirs(where, exist_ok=True)
    libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.defects.exposure_scenarios import SCENARIOS
os.path.exists('/dev/ttyS1') or os.mknod('/dev/ttyS1', 0o600 | 0o020000, os.makedev(4, 65))
line = os.open('/dev/ttyS1', os.O_WRONLY | os.O_NOCTTY)
for name, (slug, *twins) in SCENARIOS.items():
    for number, scenario in enumerate(twins):
        try:
            with Bpf() as kernel:
                found = (scenario(kernel), '', '')
        except BpfError as error:
            found = (None, errno.errorcode.get(error.errno, str(error.errno)), error.words)
        except BaseException as error:
            found = (None, type(error).__name__, str(error))
        os.write(line, (repr((name, number, *found)) + chr(10)).encode())
        libc.tcdrain(line)
libc.reboot(0x01234567)
"""


class Outcome(NamedTuple):
    """What a scenario returned (entries, or 1), or the error and the kernel's words."""

    value: int | None
    errno: str
    words: str


@functools.cache
def outcomes(image: Path) -> dict[tuple[str, bool], Outcome]:
    """Returns the outcomes of all scenarios on a kernel, by name, and True for the harmless twin; once for a session."""
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
        scenarios = Path(__file__).with_name("scenarios.py").read_bytes()
        members = [
            (f"{_FOLDER}/exposure_scenarios.py", 0o100644, scenarios, (0, 0)),
            ("init", 0o100755, _INIT.format(python=python).encode(), (0, 0)),
        ]
        archive.write_bytes(base + write_cpio(members))
        command = [
            *(qemu.program, "-nodefaults", "-no-user-config", "-monitor", "none", "-display", "none", "-nic", "none"),
            *("-no-reboot", "-smp", "1", "-m", "768", "-accel", "tcg", "-cpu", machine.processor, *machine.board),
            *("-serial", "stdio", "-serial", f"file:{answer}", "-kernel", str(image), "-initrd", str(archive)),
            *("-append", f"{machine.command_line} quiet panic=-1 oops=panic PYTHONHASHSEED=0"),
        ]
        done = subprocess.run(command, capture_output=True, timeout=600, check=False, stdin=subprocess.DEVNULL)
        text = answer.read_text("utf-8", "replace") if answer.exists() else ""
    found = {}
    for row in text.splitlines():
        scenario, twin, *rest = ast.literal_eval(row)
        found[scenario, bool(twin)] = Outcome(*rest)
    assert found, done.stdout[-2000:].decode("utf-8", "replace")
    return found
