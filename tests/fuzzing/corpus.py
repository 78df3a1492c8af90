"""Small nasty files, made by code: each once cost a reader hours, gigabytes, a traceback or a wrong answer, or could.

`bench.hostile` gives every one to the command line and measures it; the tests give the small ones to their readers.
"""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import lz4.frame

from tailcall_audit.probes.kernel.btf_writer import Writer
from tests.repositories import FIX_6, FIX_6_SUBJECT, INTRODUCTION_6_SUBJECT, backport, makefile
from tests.strategies.archives import CONTROL, ar, cpio, deb, rpm, rpm_tags, tar
from tests.strategies.case import Case, Fifo, Link
from tests.strategies.images import BANNER, arm64_image, elf, kallsyms, kernel
from tests.strategies.repositories import history
from tests.zstd import compress as zstd_compress

__all__ = ["CORPUS", "Nasty"]


class Nasty(NamedTuple):
    """A nasty input: the reader that it is for, what it is, and whether that reader has to refuse it (None: either will
    do).

    `small` ones are below 1 MB.
    """

    reader: str
    name: str
    make: Callable[[], Case]
    refused: bool | None = True
    small: bool = True


_ENTRIES: list[Nasty] = []
_Maker = Callable[[], Case]


def _nasty(reader: str, name: str, refused: bool | None = True, small: bool = True) -> Callable[[_Maker], _Maker]:
    def add(make: _Maker) -> _Maker:
        _ENTRIES.append(Nasty(reader, name, make, refused, small))
        return make

    return add


DOC = "./usr/share/doc/linux-image-6.1.0-47-amd64/changelog.Debian.gz"
FIXED = gzip.compress(
    b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * bpf: Prevent tailcall infinite loop caused by freplace\n\n"
    b" -- A B <a@example.org>  Thu, 12 Mar 2026 10:00:00 +0100\n"
)
UNFIXED = gzip.compress(
    b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * x\n\n -- A B <a@example.org>  Thu, 12 Mar 2026 10:00:00 +0100\n"
)
GOOD_CONTROL = tar((("./control", CONTROL),))


@functools.cache
def _blanks(gigabytes: int) -> bytes:
    """Gigabytes of blanks in some kilobytes: frames of zstd that follow each other."""
    return zstd_compress(b" " * (64 << 20), 3) * (16 * gigabytes)


def _header(name: str, size: int, kind: bytes = b"0") -> bytes:
    return tar(((name, b""),), kind, size)[:512]


def _claimed(kind: bytes, size: int) -> bytes:
    """A tar archive that begins with a header of this type and size, with as many blanks behind it, compressed."""
    return zstd_compress(_header("x", size, kind)) + _blanks(-(-size >> 30) or 1)


# Packages of Debian.


@_nasty("deb", "a changelog twice")
def _deb_twice() -> Case:
    return {"p.deb": deb(GOOD_CONTROL, tar(((DOC, FIXED), (DOC, UNFIXED))))}


@_nasty("deb", "data.tar.gz twice")
def _deb_two_archives() -> Case:
    control, one, two = (gzip.compress(part) for part in (GOOD_CONTROL, tar(((DOC, UNFIXED),)), tar(((DOC, FIXED),))))
    members = (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", one), ("data.tar.gz", two))
    return {"p.deb": ar(members)}


@_nasty("deb", "an ar member of -60 bytes")
def _deb_negative() -> Case:
    return {"p.deb": ar((("debian-binary", b"2.0\n"), ("control.tar", GOOD_CONTROL)), ("-60",))}


@_nasty("deb", "a control file of 4 GB of blanks")
def _deb_control() -> Case:
    packed = zstd_compress(_header("./control", 4 << 30)) + _blanks(4)
    return {"p.deb": ar((("debian-binary", b"2.0\n"), ("control.tar.zst", packed), ("data.tar", tar(()))))}


def _deb_of(data: bytes) -> Case:
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(GOOD_CONTROL)), ("data.tar.zst", data))
    return {"p.deb": ar(parts)}


@_nasty("deb", "a pax header of 1.9 GB")
def _deb_pax() -> Case:
    return _deb_of(_claimed(b"x", 1900 << 20))


@_nasty("deb", "a long name of 1.9 GB")
def _deb_long_name() -> Case:
    return _deb_of(_claimed(b"L", 1900 << 20))


@_nasty("deb", "a changelog of 3 GB")
def _deb_changelog() -> Case:
    return _deb_of(zstd_compress(_header(DOC.removesuffix(".gz"), 3 << 30)) + _blanks(3))


@_nasty("deb", "a data part of nothing but empty files")
def _deb_many_files() -> Case:
    return _deb_of(zstd_compress(b"".join(_header(f"./f{number}", 0) for number in range(60_000)) + bytes(1024)))


@_nasty("deb", "one name with 1,000 folders, 20,000 times")
def _deb_deep() -> Case:
    rows = b"".join(_header(f"./{number}/" + "d/" * 40 + "f", 0) for number in range(20_000))
    return _deb_of(zstd_compress(rows + bytes(1024), 9))


@_nasty("deb", "a file that is cut off in an archive that is not compressed")
def _deb_cut() -> Case:
    members = (("debian-binary", b"2.0\n"), ("control.tar", GOOD_CONTROL), ("data.tar", tar(((DOC, FIXED),))[:520]))
    return {"p.deb": ar(members)}


@_nasty("deb", "an architecture that no kernel has", None)
def _deb_alpha() -> Case:
    return {"p.deb": deb(tar((("./control", CONTROL.replace(b"amd64\nS", b"m68k\nS")),)), tar(((DOC, UNFIXED),)))}


# RPMs.


@_nasty("rpm", "4,000 tags that claim 1,000,000 texts each")
def _rpm_tags() -> Case:
    tags = rpm_tags(b"") | {2000 + number: (8, 1_000_000, b"") for number in range(4000)}
    tags[9999] = (7, 900_000, bytes(900_000))
    return {"p.rpm": rpm(tags, b"")}


@_nasty("rpm", "numbers in the place of names, and texts in the place of dates")
def _rpm_types() -> Case:
    tags = rpm_tags(b"")
    return {"p.rpm": rpm(tags | {1116: tags[1117], 1080: tags[1081]}, b"")}


@_nasty("rpm", "a payload of 3 GB of blanks")
def _rpm_payload() -> Case:
    return {"p.rpm": rpm(rpm_tags(b"x"), _blanks(3))}


@_nasty("rpm", "a payload with a file of 4 GB before the one that is wanted")
def _rpm_big_file() -> Case:
    start = bytearray(cpio((("./x", b""),))[:-124])
    start[54:62] = b"FFFFFFF0"
    return {"p.rpm": rpm(rpm_tags(b"x"), zstd_compress(bytes(start)) + _blanks(4))}


# Indexes of repositories.

_OTHER = '<otherdata xmlns="http://linux.duke.edu/metadata/other">'
_REPOMD = '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other"><location href="repodata/{}"/></data></repomd>'


def _repodata(*frames: bytes) -> Case:
    return {"repodata/repomd.xml": _REPOMD.format("other.xml.zst").encode(), "repodata/other.xml.zst": b"".join(frames)}


_KERNEL_PACKAGE = f'{_OTHER}<package name="kernel" arch="x86_64"><version ver="5.14.0" rel="1.el9"/>'.encode()


@_nasty("repodata", "a changelog of 3 GB")
def _other_text() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE + b"<changelog date='1'>"), _blanks(3))


@_nasty("repodata", "100 million empty elements")
def _other_elements() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE), zstd_compress(b"<a/>" * (1 << 20), 3) * 96)


@_nasty("repodata", "a million entries of one kernel")
def _other_entries() -> Case:
    entry = b"<changelog author='A' date='1'>x</changelog>"
    return _repodata(
        zstd_compress(_KERNEL_PACKAGE),
        zstd_compress(entry * 100_000, 3) * 10,
        zstd_compress(b"</package></otherdata>"),
    )


@_nasty("repodata", "elements in each other, 2 million deep")
def _other_deep() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE), zstd_compress(b"<a>" * (1 << 20), 3) * 2)


@_nasty("repodata", "a tag of 1 GB")
def _other_tag() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE + b"<a b='"), _blanks(1))


@_nasty("repodata", "an entity in an entity")
def _other_entities() -> Case:
    return _repodata(zstd_compress(b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>'))


@_nasty("packages-index", "3 GB of blank lines")
def _index_blanks() -> Case:
    return {"Packages.xz": zstd_compress(b"Package: x\n") + _blanks(3)}


@_nasty("packages-index", "one field of 900,000 bytes", False)
def _index_field() -> Case:
    return {"Packages": b"Package: linux-image-6.1.0-1-amd64\nVersion: 6.1.1-1\nDepends: " + b" ," * 450_000}


@_nasty("packages-index", "a version of 900,000 digits", False)
def _index_version() -> Case:
    return {"Packages": b"Package: linux-image-6.1.0-1-amd64\nVersion: " + b"9" * 900_000 + b"\n"}


@_nasty("packages-index", "10,000 kernels", None)
def _index_kernels() -> Case:
    row = "Package: linux-image-6.1.0-{0}-amd64\nVersion: 6.1.{0}-1\n\n"
    return {"Packages": "".join(row.format(number) for number in range(10_000)).encode()}


# Texts.

_DEBIAN = b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * "
_RPM = b"* Mon Mar 04 2024 A B <a@example.org> [5.14.0-1.el9]\n"
_SUSE = b"-" * 67 + b"\nTue Mar 12 10:11:12 CET 2024 - a@suse.com\n\n"


def _entry(name: str, text: bytes) -> None:
    _nasty("changelog", name, None)(lambda: {"changelog": text})


_entry("200,000 blanks in an item", _DEBIAN + b"freplace" + b" " * 200_000 + b"x\n")
_entry("60,000 tags behind an item", _DEBIAN + b"x freplace" + b" [a]" * 60_000 + b"\n")
_entry("250,000 tags before an item", _DEBIAN + b"[a] " * 250_000 + b"\n")
_entry("an item of an RPM with 300,000 blanks", _RPM + b"- a" + b" " * 300_000 + b"b\n")
_entry("an item of an RPM with 200,000 brackets", _RPM + b"- a" + b" (" * 200_000 + b"\n")
_entry("an item of SUSE with 300,000 blanks", _SUSE + b"- a" + b" " * 300_000 + b"b\n")
_entry("an item of SUSE with 100,000 references", _SUSE + b"- a (" + b"bsc#1234567 " * 80_000 + b"\n")
_entry("20,000 entries", (_DEBIAN + b"x\n\n") * 18_000)
_entry("one line of 900,000 letters", _DEBIAN + b"a" * 900_000)
_entry("reverts in reverts", _DEBIAN + b'Revert "' * 100_000 + b"x\n")
_entry("60,000 CVEs", _DEBIAN + b"CVE-2024-47794 " * 60_000 + b"\n")
_entry("500,000 short lines of an item", _DEBIAN + b"\n    a" * 150_000)


@_nasty("changelog", "3 GB of blanks, compressed")
def _changelog_bomb() -> Case:
    return {"changelog": _blanks(3)}


@_nasty("changelog", "60 MB of entries", None, small=False)
def _changelog_large() -> Case:
    return {"changelog": (_DEBIAN + b"bpf: something that was mended (Closes: #1)\n\n") * 640_000}


@_nasty("changelog", "60 MB of brackets", None, small=False)
def _changelog_brackets() -> Case:
    return {"changelog": _DEBIAN + b"[(" * (30 << 20)}


@_nasty("config", "200,000 options", False)
def _config_many() -> Case:
    return {"config": b"".join(b"CONFIG_A%d=y\n" % number for number in range(60_000))}


@_nasty("config", "a line of 900,000 letters", None)
def _config_line() -> Case:
    return {"config": b"CONFIG_BPF=y\nCONFIG_A" + b" " * 900_000 + b"=\n"}


@_nasty("config", "3 GB of blanks, compressed")
def _config_bomb() -> Case:
    return {"config": _blanks(3)}


@_nasty("release", "900,000 numbers", None)
def _release_numbers() -> Case:
    return {"release": b"Linux version " + b"6.1." * 20_000}


@_nasty("release", "40,000 blanks in a banner", None)
def _release_blanks() -> Case:
    return {"release": b"Linux version 6.1.0-47-amd64 (" + b" " * 40_000 + b"(" * 40_000}


@_nasty("system-map", "a million symbols", None, small=False)
def _system_map() -> Case:
    return {
        "System.map": b"".join(b"%016x T f%d\n" % (0xFFFFFFFF81000000 + number, number) for number in range(1_000_000))
    }


# Trees.

HEADER = "include/linux/bpf_verifier.h"
_HEAD = b"static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)\n"


def _tree(**files: bytes) -> Case:
    return {"Makefile": makefile("6.1.170"), **{name.replace("__", "/"): data for name, data in files.items()}}


def _header_of(name: str, text: bytes, refused: bool | None = False) -> None:
    _nasty("source", name, refused)(lambda: {"Makefile": makefile("6.1.170"), HEADER: text})


_header_of("200,000 blanks between words", b"AB" + b" " * 200_000 + b"x\n")
_header_of("60,000 functions in each other", b"int resolve_prog_type(){\n" * 36_000)
_header_of("400,000 conditions that are not closed", b"#if 1\n#endif\n" + b"#if X\n" * 150_000)
_header_of("150,000 conditions in each other", b"#if X\n" * 75_000 + _HEAD + b"{ return 0; }\n" + b"#endif\n" * 75_000)
_header_of("30,000 conditions in one body", _HEAD + b"{\n" + b"#if X\nx;\n#endif\n" * 50_000 + b"}\n")
_header_of("400,000 brackets", _HEAD + b"{ return " + b"(" * 400_000 + b"1" + b")" * 400_000 + b"; }\n")
_header_of("a condition of 200,000 brackets", b"#if " + b"(" * 200_000 + b"1\n" + _HEAD + b"{ return 0; }\n#endif\n")
_header_of("100,000 macros of the name", b"#define resolve_prog_type(p) 0\n" * 29_000)
_header_of(
    "macros that call each other", b"".join(b"#define M%d(x) M%d(M%d(x))\n" % (n, n + 1, n + 1) for n in range(20_000))
)
_header_of("300,000 line continuations", _HEAD + b"{ return " + b"\\\n" * 300_000 + b"0; }\n")
_header_of("a comment that is not closed", _HEAD + b"{ /*" + b" * /" * 200_000)
_header_of("900,000 quotes", b"'\"" * 450_000)
_header_of("10,000 definitions", (_HEAD + b"{ return 0; }\n") * 9_000)
_header_of("100,000 statements after a return", _HEAD + b"{ return 0;\n" + b"x;\n" * 250_000 + b"}\n")
_header_of("if in if, 50,000 deep", _HEAD + b"{" + b"if(a)" * 150_000 + b";}\n")
_header_of("blocks in blocks, 100,000 deep", _HEAD + b"{" * 100_000 + b"}" * 100_000 + b"\n")
_header_of("an #elif chain of 60,000", b"#if A\n" + b"#elif B\nint x;\n" * 45_000 + _HEAD + b"{ return 0; }\n#endif\n")


@_nasty("source", "a pipe and a device in the place of sources", False)
def _tree_special() -> Case:
    return {**_tree(), HEADER: Fifo(), "kernel/bpf/verifier.c": Link("/dev/zero"), "kernel/bpf/arraymap.c": Link(".")}


@_nasty("makefile", "900,000 continuations", None)
def _makefile_lines() -> Case:
    return {"Makefile": makefile("6.1.170") + b"A = \\\n" * 150_000}


@_nasty("patches", "a patch whose name has a NUL, and one that is a folder", False)
def _patches_names() -> Case:
    series = b"a\0b\nsub\n../x\n/etc/passwd\n" + b"n" * 5000 + b"\n"
    return {**_tree(), "debian/patches/series": series, "debian/patches/sub/x": b""}


@_nasty("patches", "100,000 patches", False)
def _patches_many() -> Case:
    names = b"".join(b"p%d\n" % number for number in range(100_000))
    return {**_tree(), "debian/patches/series": names, ".pc/applied-patches": names}


@_nasty("patches", "a header of 900,000 subjects", False)
def _patches_header() -> Case:
    patch = b"Subject: bpf\n " + b"\n Subject: x" * 60_000
    return {**_tree(), "debian/patches/series": b"p\n", "debian/patches/p": patch}


# Git repositories.

_MESSAGES = [backport(FIX_6, FIX_6_SUBJECT), f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {FIX_6}.\n']


def _git(name: str, make: Callable[[dict[str, bytes | Link | Fifo]], object], refused: bool | None = None) -> None:
    def case() -> Case:
        files = history(_MESSAGES)
        make(files)
        return files

    _nasty("git", name, refused)(case)


def _put(path: str, content: bytes | Link | Fifo) -> Callable[[dict[str, bytes | Link | Fifo]], object]:
    return lambda files: files.update({path: content})


for _place in (
    "config",
    "HEAD",
    "packed-refs",
    "shallow",
    "info/grafts",
    "objects/info/alternates",
    "objects/info/commit-graph",
    "commondir",
    "refs/tags/v6.1",
    "refs/heads/master",
    "index",
    "objects/pack/pack-1.idx",
):
    _git(f"a pipe as {_place}", _put(_place, Fifo()), refused=True)
_git("shallow is /dev/zero", _put("shallow", Link("/dev/zero")), refused=True)
_git("packed-refs is /dev/zero", _put("packed-refs", Link("/dev/zero")), refused=True)
_git(
    "the configuration includes a pipe",
    lambda files: files.update({"config": b"[include]\n\tpath = pipe\n", "pipe": Fifo()}),
    True,
)
_git("the configuration includes a device", _put("config", b"[core]\n\tbare=true\n[include]\n\tpath=/dev/zero\n"), True)
_git("the configuration includes itself", _put("config", b"[core]\n\tbare=true\n[include]\n\tpath=config\n"))
_git(
    "it borrows objects from a folder with a pipe",
    lambda files: files.update({"objects/info/alternates": b"../o\n", "o/pack/x.idx": Fifo()}),
    True,
)
_git("it borrows objects from itself", _put("objects/info/alternates", b".\n../objects\n"))
_git("a folder that is a link to itself", _put("refs/loop", Link(".")))
_git("200,000 references", _put("packed-refs", b"".join(b"%040x refs/tags/v%d\n" % (n, n) for n in range(18_000))))
_git("200,000 grafts", _put("info/grafts", b"".join(b"%040x\n" % n for n in range(20_000))))
_git("a configuration of 900,000 brackets", _put("config", b"[" * 900_000))


def _head(files: dict[str, bytes | Link | Fifo]) -> str:
    content = files["refs/heads/master"]
    assert isinstance(content, bytes)
    name = content.decode().strip()
    return f"objects/{name[:2]}/{name[2:]}"


def _cut(files: dict[str, bytes | Link | Fifo]) -> None:
    content = files[_head(files)]
    assert isinstance(content, bytes)
    files[_head(files)] = content[:-14]


_git("the commit of HEAD is cut off", _cut, refused=True)
_git("the commit of HEAD is a pipe", lambda files: files.update({_head(files): Fifo()}), refused=True)
_git(
    "the commit of HEAD is a bomb",
    lambda files: files.update({_head(files): zlib.compress(b"commit 999999999\0" + bytes(300 << 20), 9)}),
    True,
)


@_nasty("git", "a revert of a fix, and a graft that hides it", None)
def _git_graft() -> Case:
    return history([INTRODUCTION_6_SUBJECT, *_MESSAGES]) | {"info/grafts": b"0" * 40 + b"\n"}


# Images.


@_nasty("btf", "a struct that holds itself twice", False)
def _btf_itself() -> Case:
    writer = Writer()
    writer.struct("bpf_prog_aux", 8, [("", 1, 0), ("", 1, 0)])
    return {"vmlinux": writer.encode()}


@_nasty("btf", "structs that hold two of the next, 60 deep", False)
def _btf_doubling() -> Case:
    writer = Writer()
    for number in range(1, 60):
        writer.struct("bpf_prog_aux" if number == 1 else "", 8, [("", number + 1, 0), ("", number + 1, 64)])
    writer.struct("", 8, [("x", 0, 0)])
    return {"vmlinux": writer.encode()}


@_nasty("btf", "typedefs in a circle", False)
def _btf_circle() -> Case:
    writer = Writer()
    for number in range(1, 30_000):
        writer.const(number + 1)
    writer.const(1)
    writer.struct("bpf_prog_aux", 8, [("owner", 1, 0)])
    return {"vmlinux": writer.encode()}


@_nasty("btf", "30,000 structs of one name", False)
def _btf_one_name() -> Case:
    writer = Writer()
    for _ in range(30_000):
        writer.struct("bpf_prog_aux", 8, [("x", 1, 0)])
    return {"vmlinux": writer.encode()}


def _image(name: str, make: Callable[[], bytes], refused: bool | None = True, small: bool = True) -> None:
    _nasty("image", name, refused, small)(lambda: {"vmlinuz": make()})


_LEGACY = b"\x02\x21\x4c\x18"
_image("broken blocks of lz4", lambda: _LEGACY + struct.pack("<I", 40) + b"\xff" * 40)
_image("blocks of lz4 that are bombs", lambda: _LEGACY + _lz4_bombs(400))
_image("3 GB of blanks", lambda: _blanks(3))
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


@_nasty("payload", "frames of lz4 that claim 4 TB", None)
def _payload_lz4() -> Case:
    frame = bytearray(lz4.frame.compress(b"x" * 100, store_size=True))
    frame[6:14] = struct.pack("<Q", 4 << 40)
    return {"payload": bytes(frame)}


@_nasty("payload", "lzma that asks for 4 GB of memory")
def _payload_lzma() -> Case:
    return {"payload": b"\x5d" + struct.pack("<I", 0xFF000000) + b"\xff" * 8 + bytes(100)}


@_nasty("payload", "a hundred thousand empty streams of gzip", None)
def _payload_streams() -> Case:
    return {"payload": gzip.compress(b"") * 40_000}


# The catalogue, and what a guest prints.


@_nasty("catalogue", "an integer of 5,000 digits")
def _catalogue_digits() -> Case:
    return {"commits.json": b'{"date": ' + b"9" * 5000 + b"}"}


@_nasty("catalogue", "900,000 brackets")
def _catalogue_deep() -> Case:
    return {"commits.json": b"[" * 900_000}


@_nasty("catalogue-folder", "a survey of 100,000 brackets", False)
def _survey_deep() -> Case:
    return {"catalog/surveys/debian.json": b"[" * 100_000}


@_nasty("catalogue-folder", "YAML of 100,000 brackets", False)
def _yaml_deep() -> Case:
    return {"catalog/branches.yaml": b"[" * 100_000}


@_nasty("console", "an oops and 60,000 line breaks", False)
def _console_breaks() -> Case:
    return {"console": b"BUG: x" + b"\n" * 60_000}


@_nasty("console", "an oops and 900,000 blanks", False)
def _console_blanks() -> Case:
    return {"console": b"BUG: x\n" + b" " * 900_000 + b"+0x1/0x2\n"}


@_nasty("console", "50,000 empty frames", False)
def _console_frames() -> Case:
    return {"console": b"~TCA 1 00000001 \n" * 50_000}


def _all() -> Iterator[Nasty]:
    seen: set[tuple[str, str]] = set()
    for entry in _ENTRIES:
        assert (entry.reader, entry.name) not in seen, entry.name
        seen.add((entry.reader, entry.name))
        yield entry


CORPUS = tuple(_all())
