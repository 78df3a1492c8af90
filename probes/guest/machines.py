"""The machines that guests are: one row an architecture. A new architecture is a row here."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MACHINES", "Machine"]


class Machine(NamedTuple):
    """How QEMU is a machine of an architecture.

    `architecture` is what ``uname -m`` prints. `program` is QEMU, `options` are its machine and processor under
    emulation. `command_line` has the kernel's console. `install` says how to get the program.
    """

    architecture: str
    program: str
    options: tuple[str, ...]
    command_line: str
    install: str


MACHINES = (
    Machine(
        "x86_64",
        "qemu-system-x86_64",
        ("-cpu", "max"),
        # An emulated timer may miss its check on a busy host ("IO-APIC + timer doesn't work"):
        # Linux Documentation/admin-guide/kernel-parameters.txt, no_timer_check.
        "console=ttyS0 no_timer_check",
        "Debian and Ubuntu: apt-get install qemu-system-x86; Fedora and RHEL: dnf install qemu-kvm;"
        " SUSE: zypper install qemu-x86; Arch: pacman -S qemu-system-x86",
    ),
)
"""Every architecture whose kernels are booted."""
