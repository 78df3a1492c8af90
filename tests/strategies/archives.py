"""Packages and what they are made of: ar, tar, cpio, the headers of an RPM."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence

import lz4.frame
from hypothesis import strategies as st

from tests.strategies.case import Case
from tests.strategies.changelogs import DEBIAN
from tests.strategies.kbuild import CONFIGS
from tests.strategies.mutate import HUGE, draw_mutated
from tests.zstd import compress as zstd_compress

__all__ = ["CONTROL", "PACKERS", "ar", "cpio", "deb", "deb_cases", "rpm", "rpm_cases", "rpm_header", "tar"]

CONTROL = b"Package: linux-image-6.1.0-47-amd64\nVersion: 6.1.170-3\nArchitecture: amd64\nSource: linux\n"
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".zst": lambda data: zstd_compress(data, 1),
    ".lz4": lz4.frame.compress,
}
_WORDS = (b"`\n", b"control.tar", b"data.tar.gz", b"ustar  \0", b"././@LongLink\0", b"debian-binary", b"\nVersion: ")


def ar(members: Sequence[tuple[str, bytes]], sizes: Sequence[str] = ()) -> bytes:
    """An ar archive; `sizes` are what the first headers claim instead of their members' sizes."""
    out = b"!<arch>\n"
    for number, (name, data) in enumerate(members):
        size = sizes[number] if number < len(sizes) else str(len(data))
        out += f"{name:<16.16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10.10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def tar(files: Sequence[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE, claim: int | None = None) -> bytes:
    """A tar archive in GNU's form; `claim` is the size that the headers name."""
    out = b""
    for name, data in files:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data) if claim is None else claim, kind
        out += info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + data + bytes(-len(data) % 512)
    return out + bytes(1024)


def deb(control: bytes, data: bytes, packed: tuple[str, str] = (".gz", ".gz")) -> bytes:
    """A Debian package of two tar archives, and how each is compressed."""
    return ar(
        (
            ("debian-binary", b"2.0\n"),
            (f"control.tar{packed[0]}", PACKERS[packed[0]](control)),
            (f"data.tar{packed[1]}", PACKERS[packed[1]](data)),
        )
    )


def cpio(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A cpio archive in the new form (070701)."""
    out = b""
    for number, (name, data) in enumerate((*files, ("TRAILER!!!", b""))):
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        fields = (number, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


Value = tuple[int, int, bytes]
"""The type of a tag's values (rpm's include/rpm/rpmtag.h), how many it claims, and their bytes."""


def rpm_header(tags: Mapping[int, Value]) -> bytes:
    """One header of an RPM: the index of tags and their store."""
    index = store = b""
    for tag, (kind, count, data) in tags.items():
        width = {3: 2, 4: 4, 5: 8}.get(kind, 1)
        store += bytes(-len(store) % width)
        index += struct.pack(">IIII", tag, kind, len(store), count)
        store += data
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(tags), len(store)) + index + store


def _texts(*texts: str) -> Value:
    return 8, len(texts), b"".join(text.encode() + b"\0" for text in texts)


def rpm_tags(config: bytes) -> dict[int, Value]:
    """The tags of a package with an image and a configuration."""
    digests = (hashlib.sha256(b"image").hexdigest(), hashlib.sha256(config).hexdigest())
    return {
        1000: (6, 1, b"kernel-core\0"),
        1001: (6, 1, b"5.14.0\0"),
        1002: (6, 1, b"427.13.1.el9_4\0"),
        1022: (6, 1, b"x86_64\0"),
        1035: _texts(*digests),
        1044: (6, 1, b"kernel-5.14.0-427.13.1.el9_4.src.rpm\0"),
        1080: (4, 2, struct.pack(">II", 1_709_553_600, 1_708_516_800)),
        1081: _texts("A B <a@example.org> [5.14.0-427.13.1.el9_4]", "A B <a@example.org> [5.14.0-425.el9]"),
        1082: _texts("- net: x (A B) [RHEL-1]", "- bpf, x64: Fix tailcall infinite loop (F M) [RHEL-21459]"),
        1116: (4, 2, struct.pack(">II", 0, 0)),
        1117: _texts("vmlinuz", "config"),
        1118: _texts("/lib/modules/5.14.0-427.13.1.el9_4.x86_64/"),
        5011: (4, 1, struct.pack(">I", 8)),
    }


def rpm(tags: Mapping[int, Value], payload: bytes) -> bytes:
    """An RPM: lead, a header of signatures without any, the main header, the payload."""
    signatures = rpm_header({})
    lead = b"\xed\xab\xee\xdb\x03\0".ljust(96, b"\0")
    return lead + signatures + bytes(-len(lead + signatures) % 8) + rpm_header(tags) + payload


@st.composite
def deb_cases(draw: st.DrawFn) -> Case:
    """A Debian package, broken in its control file, in one of its archives, or as a whole."""
    package = "linux-image-6.1.0-47-amd64"
    control = draw_mutated(draw, CONTROL, (b"Package: linux-image-6.1\n", b"\nArchitecture: alpha", b"\n x\n"))
    files = [
        (f"./usr/share/doc/{package}/changelog.Debian.gz", gzip.compress(draw(DEBIAN), 1)),
        ("./boot/config-6.1.0-47-amd64", draw(CONFIGS)),
        ("./boot/vmlinuz-6.1.0-47-amd64", b"image"),
    ]
    files += draw(st.lists(st.sampled_from((*files, ("./../x", b""), ("./" + "d/" * 60 + "x", b""))), max_size=2))
    kind = draw(st.sampled_from((tarfile.REGTYPE,) * 6 + (tarfile.LNKTYPE, b"x", b"L", b"S")))
    claim = draw(st.one_of(st.none(), st.none(), st.none(), st.sampled_from(HUGE)))
    data = draw_mutated(draw, tar(files, kind, claim), _WORDS)
    packed = (draw(st.sampled_from(sorted(PACKERS))), draw(st.sampled_from(sorted(PACKERS))))
    whole = deb(tar((("./control", control),)), data, packed)
    return {"p.deb": draw_mutated(draw, whole, _WORDS) if draw(st.booleans()) else whole}


@st.composite
def rpm_cases(draw: st.DrawFn) -> Case:
    """An RPM, broken in a tag, in its payload, or as a whole."""
    config = draw(CONFIGS)
    tags = rpm_tags(config)
    for _ in range(draw(st.integers(0, 2))):
        tag = draw(st.sampled_from((*tags, 62, 1003)))
        kind, count, data = tags.get(tag, (7, 16, bytes(16)))
        tags[tag] = (
            draw(st.sampled_from((kind, kind, 0, 3, 4, 5, 6, 7, 8, 9, 77))),
            draw(st.sampled_from((count, count, *HUGE))),
            draw_mutated(draw, data),
        )
    place = "./lib/modules/5.14.0-427.13.1.el9_4.x86_64"
    payload = cpio(((f"{place}/vmlinuz", b"image"), (f"{place}/config", config)))
    payload = PACKERS[draw(st.sampled_from(sorted(PACKERS)))](draw_mutated(draw, payload, (b"070701", b"TRAILER!!!")))
    whole = rpm(tags, payload)
    return {"p.rpm": draw_mutated(draw, whole, (b"\x8e\xad\xe8\x01",)) if draw(st.booleans()) else whole}
