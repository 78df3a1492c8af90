"""Kernel images: ELF files and flat ones with a banner, symbols, types and a configuration, and all that they are
wrapped in.
"""

from __future__ import annotations

import functools
import gzip
import struct
from collections.abc import Callable, Mapping

import lzallright
from hypothesis import strategies as st

from tests.kernelfiles.images import PACKERS, bzimage, unified, zboot
from tests.strategies.case import Case
from tests.strategies.mutate import draw_mutated, mutated
from tests.strategies.types import TYPES

__all__ = ["arm64_image", "elf", "image_cases", "kallsyms", "kallsyms_cases", "kernel", "lzop", "payload_cases"]

BANNER = b"Linux version 6.1.170 (a@b) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP Debian 6.1.170-3 (2026-03-12)\n\0"
_TEXT = 0xFFFFFFFF81000000
_FUNCTIONS = ("bpf_check", "resolve_prog_type", "do_jit.isra.0", "bpf_prog_map_compatible", "prog_fd_array_get_ptr")
_CODE = bytes.fromhex("554889e5488b07e80000000031c0c3") * 8


@functools.cache
def kallsyms(count: int = 2400) -> bytes:
    """The tables of scripts/kallsyms.c in the order of 6.1: offsets, base, count, names, markers, tokens, their index."""
    symbols = [f"T{name}" for name in _FUNCTIONS] + [f"tsymbol_number_{number}" for number in range(count)]
    names = bytearray()
    markers = []
    for number, symbol in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(names))
        names += bytes([len(symbol)]) + symbol.encode()
    tokens = [bytes([number]) if 33 <= number < 127 else b"x%d" % number for number in range(256)]
    places = []
    table = b""
    for token in tokens:
        places.append(len(table))
        table += token + b"\0"
    offsets = struct.pack(f"<{len(symbols)}I", *(16 * number for number in range(len(symbols))))
    out = offsets + bytes(-len(offsets) % 8) + struct.pack("<QQ", _TEXT, len(symbols)) + bytes(names)
    out += bytes(-len(out) % 8) + struct.pack(f"<{len(markers)}I", *markers)
    out += bytes(-len(out) % 8) + table
    return out + bytes(-len(out) % 8) + struct.pack("<256H", *places)


def elf(sections: Mapping[str, bytes], symbols: bool = True) -> bytes:
    """An ELF file for x86-64 with one segment of code, these sections and, if asked for, symbols of some functions."""
    body = bytearray(bytes(64 + 56))
    parts = {".text": _CODE * len(_FUNCTIONS), **sections}
    if symbols:
        strings, rows = b"\0", bytes(24)
        for number, name in enumerate(_FUNCTIONS):
            rows += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, _TEXT + number * len(_CODE), len(_CODE))
            strings += name.encode() + b"\0"
        parts |= {".symtab": rows, ".strtab": strings}
    titles = b"\0" + b"".join(name.encode() + b"\0" for name in (*parts, ".shstrtab"))
    parts[".shstrtab"] = titles
    headers = bytes(64)
    place_of_text = 0
    for number, (name, data) in enumerate(parts.items(), 1):
        body += bytes(-len(body) % 16)
        place_of_text = place_of_text or len(body)
        kind = {".symtab": 2, ".strtab": 3, ".shstrtab": 3}.get(name, 1)
        link, size = (number + 1, 24) if name == ".symtab" else (0, 0)
        title = titles.find(name.encode() + b"\0")
        address = _TEXT if name == ".text" else 0
        headers += struct.pack("<IIQQQQIIQQ", title, kind, 6, address, len(body), len(data), link, 0, 16, size)
        body += data
    body += bytes(-len(body) % 16)
    struct.pack_into(
        "<16sHHIQQQIHHHHHH", body, 0, b"\x7fELF\x02\x01\x01", 2, 62, 1, _TEXT, 64, len(body), 0, 64, 56, 1, 64,
        len(parts) + 1, len(parts),
    )  # fmt: skip
    size = len(body) - place_of_text
    struct.pack_into("<IIQQQQQQ", body, 64, 1, 5, place_of_text, _TEXT, _TEXT, size, size, 4096)
    return bytes(body + headers)


def kernel(types: bytes = b"", config: bytes = b"CONFIG_BPF_SYSCALL=y\n", symbols: bool = True) -> bytes:
    """A small ELF kernel: a banner, an embedded configuration, types, and symbols (its own table or kallsyms)."""
    embedded = b"IKCFG_ST" + gzip.compress(config, 1) + b"IKCFG_ED"
    read_only = BANNER + embedded + (b"" if symbols else bytes(-len(BANNER + embedded) % 16) + kallsyms())
    return elf({".rodata": read_only, ".BTF": types, ".init.text": b"\xc3"}, symbols)


def arm64_image(body: bytes) -> bytes:
    """A flat Image (Linux Documentation/arch/arm64/booting.rst)."""
    head = bytearray(64)
    struct.pack_into("<QQ", head, 8, 0, 64 + len(body))
    head[0x38:0x3C] = b"ARM\x64"
    return bytes(head) + body


def lzop(data: bytes) -> bytes:
    """What `lzop` writes without checksums: a header, one block, the end."""
    header = struct.pack(">HHHBBIIII", 0x1030, 0x2080, 0x0940, 1, 5, 0, 0o100644, 0, 0) + b"\0" + bytes(4)
    packed = lzallright.LZOCompressor().compress(data)
    block = packed if len(packed) < len(data) else data
    return b"\x89LZO\0\r\n\x1a\n" + header + struct.pack(">II", len(data), len(block)) + block + bytes(4)


WRAPPERS: Mapping[str, Callable[[bytes], bytes]] = {
    **PACKERS,
    "lzo": lzop,
    "bzImage": lambda data: bzimage(gzip.compress(data, 1)),
    "EFI bzImage": lambda data: bzimage(gzip.compress(data, 1), efi=True),
    "zboot": lambda data: zboot(gzip.compress(data, 1), b"gzip"),
    "UKI": unified,
    "nothing": bytes,
}
_WORDS = (
    b"HdrS",
    b"MZ",
    b"\x7fELF",
    b"zimg",
    b"ARM\x64",
    b"PE\0\0",
    b"Linux version 9.9.9 (",
    b"IKCFG_ST",
    b"\x1f\x8b",
)


@st.composite
def _kernels(draw: st.DrawFn) -> bytes:
    types, config = draw(TYPES), draw(st.sampled_from((b"CONFIG_BPF_JIT=y\n", b"", b"\x1b[2J\n")))
    whole = kernel(types, config, draw(st.booleans()))
    return draw(st.sampled_from((whole, whole, arm64_image(BANNER + bytes(2000)), arm64_image(kallsyms()))))


@st.composite
def image_cases(draw: st.DrawFn) -> Case:
    """A kernel, broken before and after it is wrapped once or twice."""
    data = draw(_kernels())
    for name in draw(st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=2)):
        data = WRAPPERS[name](draw_mutated(draw, data, _WORDS))
    return {"vmlinuz": draw_mutated(draw, data, _WORDS)}


@st.composite
def payload_cases(draw: st.DrawFn) -> Case:
    """Compressed data of every format, whole and broken."""
    content = draw(st.sampled_from((b"", b"kernel " * 40, bytes(3000), bytes(range(256)) * 4)))
    name = draw(st.sampled_from(sorted((*PACKERS, "lzo"))))
    return {"payload": draw_mutated(draw, WRAPPERS[name](content), (b"\x02\x21\x4c\x18", b"BZh9", b"\xfd7zXZ\0"))}


def kallsyms_cases() -> st.SearchStrategy[Case]:
    """A kernel whose own symbol table is broken."""
    start = BANNER + bytes(-len(BANNER) % 16)
    return mutated(st.just(kallsyms())).map(lambda data: {"vmlinux": elf({".rodata": start + data}, symbols=False)})
