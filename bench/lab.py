"""Measures the cost of proof: boot and probes in a guest, compared with a bare boot of the same kernel to a busybox
that ends at once.

    python -m bench.lab [IMAGE|PACKAGE …]      (without: the images of TAILCALL_AUDIT_LAB)

Kernels of any architecture with an installed QEMU can be measured. A foreign one needs its Python (tailcall-audit guest
fetch ARCH) and gets Debian's busybox-static of its architecture from the machine's Debian mirror. The same QEMU
emulates both boots alternately, with the same processor and board. The smallest of three counts, in seconds of
processor time of QEMU: other load on the machine does not count. The existing detector for these pitfalls needs clang,
capstone and about a minute by its own account; it is not run here.
"""

from __future__ import annotations

import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.images import given_images
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.kernelfiles.deb import read_deb_tree
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.live.bootfile import BootFile, read_boot_file
from tailcall_audit.analyzer.live.pythons.store import guest_archive
from tailcall_audit.analyzer.model import Bootable
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.boot import Guest, find_qemu, run_in_guest
from tailcall_audit.probes.guest.cpio import write_cpio
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import GuestError, find_machine, is_native
from tailcall_audit.probes.probe import slug_on
from tests.kernels import package_file

_ROUNDS = 3
_INIT = b"#!/bin/busybox sh\n/bin/busybox reboot -f\n"


class _Kernel(NamedTuple):
    """A kernel to boot: its name, its file for QEMU, and its machine."""

    name: str
    file: Path
    machine: Machine


def _busybox(machine: Machine) -> bytes:
    """Returns a static busybox for a machine."""
    if not is_native(machine):
        package = package_file("busybox-static", None, machine.debian)
        return next(item.content() for item in read_deb_tree(package) if item.name.endswith("bin/busybox"))
    found = shutil.which("busybox")
    if found is None:
        sys.exit("no busybox here: apt-get install busybox-static")
    return Path(found).read_bytes()


def _bare_archive(folder: Path, machine: Machine) -> Path:
    """Returns an initramfs with a busybox and an init that ends the guest."""
    path = folder / f"busybox-{machine.architecture}.cpio"
    if not path.exists():
        members = [(name, stat.S_IFDIR | 0o755, b"", (0, 0)) for name in ("bin", "dev")]
        members.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
        members.append(("bin/busybox", stat.S_IFREG | 0o755, _busybox(machine), (0, 0)))
        members.append(("init", stat.S_IFREG | 0o755, _INIT, (0, 0)))
        path.write_bytes(write_cpio(members))
    return path


def _used() -> float:
    """Returns the seconds of processor time of the programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(kernel: _Kernel, initramfs: Path) -> float:
    machine = kernel.machine
    command = [find_qemu(machine.architecture).program, "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-no-reboot", "-m", "512", "-accel", "tcg", "-cpu", machine.processor, *machine.board]
    command += ["-serial", "stdio", "-kernel", str(kernel.file), "-initrd", str(initramfs)]
    command += ["-append", f"{machine.command_line} quiet panic=-1"]
    start = _used()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=True)
    taken = _used() - start
    if b"Kernel panic" in done.stdout:
        raise GuestError(f"the bare boot panicked: {done.stdout[-300:].decode(errors='replace')}")
    return taken


def _kernel(folder: Path, path: Path) -> _Kernel:
    """Writes the file that QEMU boots, from an image or a package."""
    package = read_package(str(path)) if path.suffix in (".deb", ".rpm") else None
    bootable = Bootable(str(path)) if package is None else package.bootable
    if bootable is None:
        raise AuditError(f"{path}: no kernel image in it")
    image: BootFile = read_boot_file(bootable)
    machine = find_machine(image.architecture)
    file = folder / path.name
    file.write_bytes(image.kernel if machine.is_unwrapped and image.kernel is not None else image.file)
    return _Kernel(path.name, file, machine)


def _slugs(architecture: str) -> list[str]:
    """Returns the probes for kernels of an architecture: those of defects that it can have."""
    ours = {
        item.slug for item in load_catalog().defects if not item.architectures or architecture in item.architectures
    }
    return [probe.slug for probe in PROBES if slug_on(probe, architecture) in ours]


def _measure(kernel: _Kernel, folder: Path) -> str:
    """Boots both ways alternately and returns the line of the table."""
    name = kernel.machine.architecture
    busybox, ours = _bare_archive(folder, kernel.machine), guest_archive(kernel.machine, None)
    bare, probed, probes = [], [], []
    for _ in range(_ROUNDS):
        bare.append(_bare(kernel, busybox))
        start = _used()
        run = run_in_guest(kernel.file, ours, Guest(), _slugs(name), architecture=name)
        probed.append((_used() - start) / run.boots)
        if run.failure is not None:
            return f"{kernel.name[:42]:42} {name:10} {run.failure}"
        if run.seconds is not None:
            probes.append(run.seconds)
    shown = f"{min(probes):7.2f}s" if probes else "panicked"
    size = ours.stat().st_size / 1e6
    ratio = min(probed) / min(bare)
    return (
        f"{kernel.name[:42]:42} {name:10} {min(bare):8.2f}s {min(probed):7.2f}s {ratio:5.2f}x {shown:>8} {size:5.1f}MB"
    )


def main() -> None:
    """Prints one line for each kernel. One that cannot be measured costs no other one its line."""
    names = given_images(__doc__ or "")
    print(f"{'image':42} {'':10} {'bare boot':>9} {'probed':>8} {'ratio':>6} {'probes':>8} {'archive':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                print(_measure(_kernel(Path(folder), Path(name)), Path(folder)), flush=True)
            except (AuditError, GuestError) as error:
                print(f"{Path(name).name[:42]:42} not measured: {error}", flush=True)


if __name__ == "__main__":
    main()
