"""The machines that guests are: one row an architecture. A new architecture is a row here."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MACHINES", "Machine"]


class Machine(NamedTuple):
    """The machine that QEMU emulates for an architecture.

    `architecture` is this tool's name of it, `uname` what ``uname -m`` prints there. `program` is QEMU; `board` are
    its options for the machine, `processor` is the one that is emulated, `kvm_board` stands for `board` where the
    processor is the host's. `command_line` has the kernel's console; `results` is the second serial line, as device,
    major and minor number (empty: there is none, and results share the console). `is_unwrapped` says that QEMU is given
    the kernel inside of what is shipped: some versions cannot unpack it. `elf` is what an ELF file of the architecture
    says: e_machine and its byte order. `minimum` is the oldest QEMU that has the processor, an emulation of `max` and
    serial lines to files. `firmware` is QEMU's name of the target whose UEFI firmware starts an EFI image (empty: QEMU
    starts every image itself). `debian` is Debian's name, `install` says how to get the program.
    """

    architecture: str
    uname: tuple[str, ...]
    program: str
    board: tuple[str, ...]
    processor: str
    command_line: str
    install: str
    elf: tuple[int, str]
    debian: str
    results: str = ""
    is_unwrapped: bool = False
    kvm_board: tuple[str, ...] = ()
    minimum: tuple[int, int] = (5, 0)
    firmware: str = ""


MACHINES = (
    Machine(
        "x86_64",
        ("x86_64",),
        "qemu-system-x86_64",
        (),
        "max",
        # An emulated timer may miss its check on a busy host ("IO-APIC + timer doesn't work"):
        # Linux Documentation/admin-guide/kernel-parameters.txt, no_timer_check.
        "console=ttyS0 no_timer_check",
        "Debian and Ubuntu: apt-get install qemu-system-x86; Fedora and RHEL: dnf install qemu-kvm;"
        " SUSE: zypper install qemu-x86; Arch: pacman -S qemu-system-x86",
        (62, "little"),
        "amd64",
        results="ttyS1,4,65",
    ),
    Machine(
        "arm64",
        ("aarch64",),
        "qemu-system-aarch64",
        ("-machine", "virt"),
        # Kernels before 5.12 stop without a word on a processor that has LPA2, as `max` has; those with pages of 16 KiB
        # do on one that has none, as Cortex-A72; and signing pointers takes emulation time that no probe needs.
        "neoverse-n1",
        # This processor needs other page tables in the kernel than in user space (Linux arch/arm64/kernel/cpufeature.c,
        # unmap_kernel_at_el0()). Each system call would then empty the emulator's tables: half of the probes' time.
        "console=ttyAMA0 kpti=off",
        "Debian and Ubuntu: apt-get install qemu-system-arm; Fedora: dnf install qemu-system-aarch64;"
        " SUSE: zypper install qemu-arm; Arch: pacman -S qemu-system-aarch64",
        (183, "little"),
        "arm64",
        is_unwrapped=True,
        kvm_board=("-machine", "virt,gic-version=host"),
        minimum=(7, 0),
    ),
    Machine(
        "riscv64",
        ("riscv64",),
        "qemu-system-riscv64",
        ("-machine", "virt", "-bios", "default"),
        "rv64",
        "console=ttyS0",
        "Debian and Ubuntu: apt-get install qemu-system-misc (later qemu-system-riscv); Fedora: dnf install"
        " qemu-system-riscv; SUSE: zypper install qemu-extra; Arch: pacman -S qemu-system-riscv",
        (243, "little"),
        "riscv64",
        is_unwrapped=True,
    ),
    Machine(
        "powerpc64",
        ("ppc64le",),
        "qemu-system-ppc64",
        # What the emulation lacks against Spectre and Meltdown; QEMU warns of each of them otherwise.
        ("-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"),
        "power10",
        "console=hvc0",
        "Debian and Ubuntu: apt-get install qemu-system-ppc; Fedora: dnf install qemu-system-ppc;"
        " SUSE: zypper install qemu-ppc; Arch: pacman -S qemu-system-ppc",
        (21, "little"),
        "ppc64el",
    ),
    Machine(
        "s390x",
        ("s390x",),
        "qemu-system-s390x",
        ("-machine", "s390-ccw-virtio"),
        "max",
        "console=ttysclp0",
        "Debian and Ubuntu: apt-get install qemu-system-misc (later qemu-system-s390x); Fedora: dnf install"
        " qemu-system-s390x; SUSE: zypper install qemu-s390x; Arch: pacman -S qemu-system-s390x",
        (22, "big"),
        "s390x",
    ),
    Machine(
        "loongarch64",
        ("loongarch64",),
        "qemu-system-loongarch64",
        ("-machine", "virt"),
        "max",
        # An arena allocates with kmalloc_nolock(), which takes debugged caches only on a processor that does not compare and
        # swap 16 bytes (Linux mm/slub.c, _kmalloc_nolock_noprof()). LoongArch's emulation in QEMU 10.0 does not.
        "console=ttyS0 slab_debug=F,kmalloc-*",
        "Debian 13 and Ubuntu 25.04: apt-get install qemu-system-misc (later qemu-system-loongarch64) qemu-efi-loongarch64;"
        " Fedora: dnf install qemu-system-loongarch64 edk2-loongarch64",
        (258, "little"),
        "loong64",
        # QEMU 7.2 refuses the firmware for its size; 10.0 is the oldest one that was seen to start it.
        minimum=(10, 0),
        firmware="loongarch64",
    ),
)
"""Every architecture whose kernels are booted."""
