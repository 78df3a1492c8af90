"""Compares the time of an image's audit with the decompression of its payload by a standard tool.

    python -m bench.image [IMAGE …]      (without: the images of TAILCALL_AUDIT_LAB)

The payload is written to a file first, so that `lz4 -dc`, `zstd -dc`, `gzip -dc` or `xz -dc` only decompresses it. A
second column has the same decompression by a Python that does nothing else. The audit is the command as users start it,
including the start of the interpreter, with `--no-emulation`: `bench.emulation` measures what running functions costs.
The fastest of five runs counts. Memory is the audit's largest resident set.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.images import given_images
from tailcall_audit.analyzer.kernelfiles.containers import _bzimage

_ROUNDS = 5
_TOOLS = {b"\x1f\x8b": "gzip", b"\xfd7": "xz", b"\x28\xb5": "zstd", b"\x02\x21": "lz4", b"BZ": "bzip2"}


def _fastest(command: list[str], output: Path) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        with output.open("wb") as file:
            start = time.monotonic()
            # The kernel's build appends a size to the payload, so these tools print an error after their work.
            subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=False)
            best = min(best, time.monotonic() - start)
    return best


def main() -> None:
    """Prints one line for each image."""
    names = given_images(__doc__ or "")
    print(f"{'image':42} {'MB':>5} {'tool':>6} {'bare':>7} {'python':>7} {'audit':>7} {'/bare':>6} {'/python':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for image in map(Path, names):
            data = image.read_bytes()
            payload = _bzimage(data, image.name)
            tool = _TOOLS.get(payload[:2])
            if tool is None or shutil.which(tool) is None:
                print(f"{image.name[:42]:42} no {tool or payload[:2].hex()} here to compare with")
                continue
            packed = Path(folder) / "payload"
            packed.write_bytes(payload)
            unpacked = Path(folder) / "vmlinux"
            bare = _fastest([tool, "-dc", str(packed)], unpacked)
            if unpacked.stat().st_size < 2 * len(data):
                sys.exit(f"{tool} did not unpack {image.name}")
            script = "import sys; from tailcall_audit.analyzer.kernelfiles.containers import unpack; unpack(open(sys.argv[1], 'rb').read(), 'x')"
            python = _fastest([sys.executable, "-c", script, str(image)], unpacked)
            audit = _fastest(
                [sys.executable, "-m", "tailcall_audit", "--image", str(image), "--no-emulation"],
                Path(folder) / "report",
            )
            row = f"{image.name[:42]:42} {len(data) / 1e6:5.1f} {tool:>6} {bare:6.3f}s {python:6.3f}s {audit:6.3f}s"
            print(f"{row} {audit / bare:5.2f}x {audit / python:6.2f}x")
    print(f"largest resident set: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
