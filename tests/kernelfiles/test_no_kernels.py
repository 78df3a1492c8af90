"""Files that carry a kernel's banner, or its form, and are no kernel that this tool reads: programs, libraries, ARM's
zImage.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tailcall_audit import AuditError, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, unpack

BANNER = "Linux version 6.1.170 (a@b) (gcc 12) #1 SMP x"
SOURCE = f"""
const char linux_banner[] = "{BANNER}\\n";
int other(void);
int main(void) {{ return linux_banner[0] == 'x'; }}
int other(void) {{ return 0; }}
"""
HEADER_END = 0x30


def zimage(order: str, magic_first: bool = False) -> bytes:
    """The start of a zImage of 32-bit ARM: eight times `mov r0, r0`, a branch, the mark, start and end
    (Linux arch/arm/boot/compressed/head.S)."""
    words = [0xE1A00000] * 8 + [0xEA000006, 0x016F2818, 0, 0x400000]
    return struct.pack(f"{order}12I", *words).ljust(HEADER_END, b"\0") + b"\0" * 64 + gzip.compress(BANNER.encode())


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_zimage_of_32_bit_arm_is_named(tmp_path: Path, order: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zImage"
    path.write_bytes(zimage(order))
    assert main(["--image", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a zImage of 32-bit ARM, which this tool does not unpack: audit its release string" in captured.err


def test_a_zimage_in_another_container_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="zImage of 32-bit ARM"):
        unpack(gzip.compress(zimage("<")), "zImage.gz")


def test_the_mark_of_a_zimage_elsewhere_is_none() -> None:
    with pytest.raises(ImageError, match="not a kernel image"):
        unpack(b"\0" * 0x28 + struct.pack("<I", 0x016F2818) + b"\0" * 64, "x")


def compiled(folder: Path, *options: str) -> Path:
    """A program or library with a kernel's banner in it."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    source, out = folder / "x.c", folder / "x"
    source.write_text(SOURCE)
    done = subprocess.run(["cc", "-o", str(out), *options, str(source)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this compiler cannot link with {' '.join(options)}: {done.stderr[-100:]}")
    return out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "a program with an interpreter or libraries"),
        (("-shared", "-fPIC"), "a program with an interpreter or libraries|none of the sections"),
        (("-static",), "none of the sections of a kernel"),
        (("-static-pie",), "none of the sections of a kernel"),
        (("-c",), "none of the sections of a kernel"),
    ],
)
def test_a_program_with_a_banner_is_no_kernel(tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    path = compiled(tmp_path, *options)
    assert BANNER.encode() in path.read_bytes()
    with pytest.raises(AuditError, match=reason):
        audit(images=[str(path)])


@pytest.mark.parametrize("machine", [62, 183, 243, 21, 258])
def test_a_program_without_section_headers_is_known_by_its_addresses(tmp_path: Path, machine: int) -> None:
    """A static program whose section headers were taken off, of each architecture that has its kernels in the upper
    half.
    """
    data = bytearray(compiled(tmp_path, "-static").read_bytes())
    struct.pack_into("<H", data, 18, machine)
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<HH", data, 60, 0, 0)  # e_shnum, e_shstrndx
    path = tmp_path / "stripped"
    path.write_bytes(data)
    with pytest.raises(AuditError, match=r"is not linked where .* its kernels"):
        audit(images=[str(path)])


def test_a_shell_is_no_kernel() -> None:
    with pytest.raises(AuditError, match=r"a program with an interpreter or libraries|no banner"):
        audit(images=["/bin/sh"])
