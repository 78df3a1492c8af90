"""Debian packages made for tests, from their parts."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path


def ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


CONTROL = b"Package: linux-image-6.1.0-47-amd64\nSource: linux\nVersion: 6.1.170-3\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\n"
CHANGELOG = b"linux (6.1.170-3) unstable; urgency=low\n\n  * x\n\n -- A <a@b.c>  Fri, 08 May 2026 21:59:49 +0200\n"


def deb(tmp_path: Path, data: bytes, control: bytes = CONTROL, name: str = "data.tar.xz") -> str:
    path = tmp_path / "x.deb"
    path.write_bytes(
        ar([("debian-binary", b"2.0\n"), ("control.tar.xz", lzma.compress(tar({"./control": control}))), (name, data)])
    )
    return str(path)
