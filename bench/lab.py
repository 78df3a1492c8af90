"""What proof costs: boot and probes in a guest, against the same kernel's bare boot to a busybox that ends it at once.

    python -m bench.lab [IMAGE …]      (without: the images of TAILCALL_AUDIT_LAB)

Needs qemu-system-x86_64 and a static busybox (Debian's busybox-static). Both boots are emulated by the same QEMU in the
same run, in turns; the smallest of three counts. The detector that exists for these pitfalls says of itself that it
wants clang, capstone and a minute or so; it is not run here.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tailcall_audit.probes.guest.archive import build_initramfs, write_cpio
from tailcall_audit.probes.guest.boot import Guest, find_qemu, run_in_guest

_ROUNDS = 3
_INIT = b"#!/bin/busybox sh\n/bin/busybox reboot -f\n"


def _busybox(folder: Path) -> Path:
    """An initramfs with a busybox and an init that ends the guest."""
    found = shutil.which("busybox")
    if found is None:
        sys.exit("no busybox here: apt-get install busybox-static")
    members = [(name, stat.S_IFDIR | 0o755, b"", (0, 0)) for name in ("bin", "dev")]
    members.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    members.append(("bin/busybox", stat.S_IFREG | 0o755, Path(found).read_bytes(), (0, 0)))
    members.append(("init", stat.S_IFREG | 0o755, _INIT, (0, 0)))
    path = folder / "busybox.cpio"
    path.write_bytes(write_cpio(members))
    return path


def _bare(qemu: str, image: Path, initramfs: Path) -> float:
    command = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "512", "-accel", "tcg"]
    command += ["-cpu", "max", "-serial", "stdio", "-kernel", str(image), "-initrd", str(initramfs)]
    command += ["-append", "console=ttyS0 quiet panic=-1"]
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=True)
    taken = time.monotonic() - start
    if b"panic" in done.stdout:
        sys.exit(f"{image.name}: the bare boot panicked: {done.stdout[-300:].decode(errors='replace')}")
    return taken


def main() -> None:
    """Prints a line a kernel."""
    names = sys.argv[1:] or sorted(map(str, Path(os.environ.get("TAILCALL_AUDIT_LAB", ".")).glob("kernels/vmlinuz-*")))
    if not names:
        sys.exit("no kernel image: name some, or set TAILCALL_AUDIT_LAB")
    qemu = find_qemu()
    print(f"{'image':42} {'bare boot':>9} {'probed':>8} {'ratio':>6} {'probes':>8}")
    with tempfile.TemporaryDirectory() as folder:
        busybox, ours = _busybox(Path(folder)), build_initramfs(Path(folder))
        for image in map(Path, names):
            bare, probed, probes = [], [], []
            for _ in range(_ROUNDS):
                bare.append(_bare(qemu.program, image, busybox))
                start = time.monotonic()
                run = run_in_guest(image, ours, Guest(), qemu=qemu)
                probed.append((time.monotonic() - start) / run.boots)
                if run.seconds is not None:
                    probes.append(run.seconds)
            shown = f"{min(probes):7.2f}s" if probes else "panicked"
            print(
                f"{image.name[:42]:42} {min(bare):8.2f}s {min(probed):7.2f}s {min(probed) / min(bare):5.2f}x {shown:>8}"
            )


if __name__ == "__main__":
    main()
