"""Nasty kernel images, BTF and payloads."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from collections.abc import Callable

import lz4.frame

from tailcall_audit.probes.kernel.btf_writer import Writer
from tests.fuzzing.nasty import blanks, nasty
from tests.strategies.case import Case
from tests.strategies.images import BANNER, arm64_image, elf, kallsyms, kernel

# Images.


@nasty("btf", "a struct that holds itself twice", False)
def _btf_itself() -> Case:
    writer = Writer()
    writer.struct("bpf_prog_aux", 8, [("", 1, 0), ("", 1, 0)])
    return {"vmlinux": writer.encode()}


@nasty("btf", "structs that hold two of the next, 60 deep", False)
def _btf_doubling() -> Case:
    writer = Writer()
    for number in range(1, 60):
        writer.struct("bpf_prog_aux" if number == 1 else "", 8, [("", number + 1, 0), ("", number + 1, 64)])
    writer.struct("", 8, [("x", 0, 0)])
    return {"vmlinux": writer.encode()}


@nasty("btf", "typedefs in a circle", False)
def _btf_circle() -> Case:
    writer = Writer()
    for number in range(1, 30_000):
        writer.const(number + 1)
    writer.const(1)
    writer.struct("bpf_prog_aux", 8, [("owner", 1, 0)])
    return {"vmlinux": writer.encode()}


@nasty("btf", "30,000 structs of one name", False)
def _btf_one_name() -> Case:
    writer = Writer()
    for _ in range(30_000):
        writer.struct("bpf_prog_aux", 8, [("x", 1, 0)])
    return {"vmlinux": writer.encode()}


def _image(name: str, make: Callable[[], bytes], refused: bool | None = True, small: bool = True) -> None:
    nasty("image", name, refused, small)(lambda: {"vmlinuz": make()})


_LEGACY = b"\x02\x21\x4c\x18"
_image("broken blocks of lz4", lambda: _LEGACY + struct.pack("<I", 40) + b"\xff" * 40)
_image("blocks of lz4 that are bombs", lambda: _LEGACY + _lz4_bombs(400))
_image("3 GB of blanks", lambda: blanks(3))
_image("compressed 20 times", lambda: functools.reduce(lambda data, _: gzip.compress(data, 9), range(20), kernel()))
_image("a gzip bomb of 900 MB", lambda: gzip.compress(bytes(900 << 20), 9))
_image(
    "types whose names are outside",
    lambda: kernel(
        b"\x9f\xeb\x01\0\x18\0\0\0" + struct.pack("<4I", 0, 12, 12, 1) + struct.pack("<III", 99, 0x04000000, 0) + b"\0"
    ),
    False,
)
_image("two banners", lambda: elf({".rodata": BANNER + BANNER.replace(b"6.1.170", b"6.1.171"), ".init.text": b"\xc3"}))
_image(
    "50,000 banners",
    lambda: elf({".rodata": b"".join(b"Linux version 6.%d.1 (\n" % n for n in range(40_000)), ".init.text": b"\xc3"}),
)
_image("60,000 sections", lambda: _with(kernel(), 60, struct.pack("<H", 0xFF00)), None)
_image("a table of sections of 900,000 bytes", lambda: _sections(14_000), None)
_image("a table of symbols of 900,000 bytes", lambda: _symbols(37_000), None)
_image(
    "an embedded configuration of 3 GB",
    lambda: elf(
        {".rodata": BANNER + b"IKCFG_ST" + zlib.compress(bytes(900 << 20), 9) + b"IKCFG_ED", ".init.text": b"\xc3"}
    ),
    False,
)
_image(
    "70,000 beginnings of a table of tokens",
    lambda: arm64_image(BANNER + b"".join(b"%d\0" % digit for digit in range(10)) * 45_000),
    False,
)
_image(
    "markers that rise without end",
    lambda: arm64_image(BANNER + struct.pack("<200000I", *range(0, 200_000 * 600, 600)) + kallsyms()[-4000:]),
    False,
)
_image("80 MB of zeros behind the kernel", lambda: kernel() + bytes(80 << 20), None, False)
_image(
    "80 MB of beginnings of a table of tokens",
    lambda: arm64_image(BANNER + b"".join(b"%d\0" % digit for digit in range(10)) * (4 << 20)),
    None,
    False,
)
_image(
    "80 MB of rising markers",
    lambda: arm64_image(
        BANNER + b"".join(struct.pack("<512I", *range(0, 512 * 600, 600)) for _ in range(40_000)) + kallsyms()
    ),
    None,
    False,
)
_image(
    "80 MB of beginnings of types",
    lambda: elf(
        {
            ".rodata": BANNER + (b"\x9f\xeb\x01\0\x18\0\0\0" + struct.pack("<4I", 0, 2000, 2000, 100)) * (3 << 20),
            ".init.text": b"\xc3",
        }
    ),
    None,
    False,
)
_image(
    "80 MB of relocations",
    lambda: arm64_image(
        BANNER.ljust(104, b"\0") + struct.pack("<QQQ", 0xFFFF800008000000, 0x403, 0xFFFF800008000000) * (3 << 20)
    ),
    None,
    False,
)
_image("a table of 2 million symbols", lambda: _symbols(2_000_000), None, False)


def _with(data: bytes, place: int, raw: bytes) -> bytes:
    return data[:place] + raw + data[place + len(raw) :]


def _lz4_bombs(count: int) -> bytes:
    import lz4.block

    block: bytes = lz4.block.compress(bytes(8 << 20), store_size=False)
    return (struct.pack("<I", len(block)) + block) * count


def _sections(count: int) -> bytes:
    data = kernel()
    (place,) = struct.unpack_from("<Q", data, 40)
    return _with(data, 60, struct.pack("<H", count)) + data[place : place + 64] * count


def _symbols(count: int) -> bytes:
    rows = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0xFFFFFFFF81000000, 16) * count
    sections = {".rodata": BANNER, ".init.text": b"\xc3", ".symtab": rows, ".strtab": b"\0bpf_check\0"}
    return elf(sections, symbols=False)


@nasty("payload", "frames of lz4 that claim 4 TB", None)
def _payload_lz4() -> Case:
    frame = bytearray(lz4.frame.compress(b"x" * 100, store_size=True))
    frame[6:14] = struct.pack("<Q", 4 << 40)
    return {"payload": bytes(frame)}


@nasty("payload", "lzma that asks for 4 GB of memory")
def _payload_lzma() -> Case:
    return {"payload": b"\x5d" + struct.pack("<I", 0xFF000000) + b"\xff" * 8 + bytes(100)}


@nasty("payload", "a hundred thousand empty streams of gzip", None)
def _payload_streams() -> Case:
    return {"payload": gzip.compress(b"") * 40_000}
