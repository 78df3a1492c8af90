"""QEMU: its path, its abilities, and its confinement. The kernel that it boots may be hostile."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from typing import NamedTuple

from tailcall_audit.probes.guest.firmware import FOLDERS, find_firmware
from tailcall_audit.probes.guest.machines import MACHINES, Machine
from tailcall_audit.probes.processes import ProgramError, find_program, missing_program, run

__all__ = ["NOBODY", "GuestError", "Qemu", "find_machine", "find_qemu", "is_native", "limits"]

NOBODY = 65534
"""The user and the group that own nothing, on every Linux distribution."""
_PLACES = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_OVERHEAD = 3 << 30
"""Bytes of address space that QEMU maps beside the guest's memory: translated code, threads, libraries."""


class GuestError(RuntimeError):
    """A guest that cannot be started; the message says why, and what to do."""


class Qemu(NamedTuple):
    """A QEMU: its path, the options that confine it (none where it was built without seccomp), and the firmware that
    starts EFI images (None: QEMU starts them itself).
    """

    program: str
    confinement: tuple[str, ...] = ()
    firmware: str | None = None


def find_machine(architecture: str | None = None) -> Machine:
    """Returns the machine of an architecture, as this tool or ``uname -m`` names it (None: this host's); raises
    GuestError.
    """
    wanted = architecture or os.uname().machine
    found = next((machine for machine in MACHINES if wanted == machine.architecture or wanted in machine.uname), None)
    if found is None:
        known = ", ".join(machine.architecture for machine in MACHINES)
        raise GuestError(
            f"no guest of {wanted} can be booted: guests of {known} were tried; run --confirm on a host of that architecture"
        )
    return found


def is_native(machine: Machine) -> bool:
    """Returns True if guests of this machine have this host's architecture."""
    return os.uname().machine in machine.uname


def find_qemu(architecture: str | None = None) -> Qemu:
    """Returns the QEMU for an architecture; raises GuestError if there is none, one that is too old, or one without the
    firmware that the architecture's images need.
    """
    machine = find_machine(architecture)
    found = find_program(machine.program, _PLACES if is_native(machine) else ())
    if found is None:
        raise GuestError(f"{missing_program(machine.program)}: install it ({machine.install})")
    try:
        done = run([found, "--version"], timeout=20)
        confined = run([found, "-sandbox", _SANDBOX, "--version"], timeout=20)
    except ProgramError as error:
        raise GuestError(str(error)) from error
    output = done.output.decode("utf-8", "replace").strip()
    match = re.search(r"version (\d{1,4})\.(\d{1,4})", output)
    if match is None:
        raise GuestError(f"{found} does not say its version: {(output or done.complaint())[:200]}")
    if (int(match.group(1)), int(match.group(2))) < machine.minimum:
        needed = ".".join(map(str, machine.minimum))
        raise GuestError(f"{found} is version {match.group(1)}.{match.group(2)}; {needed} is needed")
    firmware = find_firmware(machine.firmware) if machine.firmware else None
    if machine.firmware and firmware is None:
        raise GuestError(
            f"no UEFI firmware for {machine.architecture} in {' or '.join(FOLDERS)}: install it ({machine.install})"
        )
    return Qemu(found, ("-sandbox", _SANDBOX) if confined.status == 0 else (), firmware)


def limits(memory: int, seconds: float) -> Mapping[int, int]:
    """Returns the limits of a QEMU: `memory` MiB of the guest and what QEMU needs, and processor time for `seconds`."""
    return {
        resource.RLIMIT_AS: (memory << 20) + _OVERHEAD,
        # Two processors' worth: the guest has one, and QEMU's own threads run beside it.
        resource.RLIMIT_CPU: int(2 * seconds) + 10,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
