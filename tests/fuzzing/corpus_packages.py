"""Nasty packages and indexes of repositories."""

from __future__ import annotations

import gzip

from tests.fuzzing.nasty import DOC, FIXED, GOOD_CONTROL, UNFIXED, blanks, claimed, header, nasty
from tests.strategies.archives import CONTROL, ar, cpio, deb, rpm, rpm_tags, tar
from tests.strategies.case import Case
from tests.zstd import compress as zstd_compress

# Packages of Debian.


@nasty("deb", "a changelog twice")
def _deb_twice() -> Case:
    return {"p.deb": deb(GOOD_CONTROL, tar(((DOC, FIXED), (DOC, UNFIXED))))}


@nasty("deb", "data.tar.gz twice")
def _deb_two_archives() -> Case:
    control, one, two = (gzip.compress(part) for part in (GOOD_CONTROL, tar(((DOC, UNFIXED),)), tar(((DOC, FIXED),))))
    members = (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", one), ("data.tar.gz", two))
    return {"p.deb": ar(members)}


@nasty("deb", "an ar member of -60 bytes")
def _deb_negative() -> Case:
    return {"p.deb": ar((("debian-binary", b"2.0\n"), ("control.tar", GOOD_CONTROL)), ("-60",))}


@nasty("deb", "a control file of 4 GB of blanks")
def _deb_control() -> Case:
    packed = zstd_compress(header("./control", 4 << 30)) + blanks(4)
    return {"p.deb": ar((("debian-binary", b"2.0\n"), ("control.tar.zst", packed), ("data.tar", tar(()))))}


def _deb_of(data: bytes) -> Case:
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(GOOD_CONTROL)), ("data.tar.zst", data))
    return {"p.deb": ar(parts)}


@nasty("deb", "a pax header of 1.9 GB")
def _deb_pax() -> Case:
    return _deb_of(claimed(b"x", 1900 << 20))


@nasty("deb", "a long name of 1.9 GB")
def _deb_long_name() -> Case:
    return _deb_of(claimed(b"L", 1900 << 20))


@nasty("deb", "a changelog of 3 GB")
def _deb_changelog() -> Case:
    return _deb_of(zstd_compress(header(DOC.removesuffix(".gz"), 3 << 30)) + blanks(3))


@nasty("deb", "a data part of nothing but empty files")
def _deb_many_files() -> Case:
    return _deb_of(zstd_compress(b"".join(header(f"./f{number}", 0) for number in range(60_000)) + bytes(1024)))


@nasty("deb", "one name with 1,000 folders, 20,000 times")
def _deb_deep() -> Case:
    rows = b"".join(header(f"./{number}/" + "d/" * 40 + "f", 0) for number in range(20_000))
    return _deb_of(zstd_compress(rows + bytes(1024), 9))


@nasty("deb", "a file that is cut off in an archive that is not compressed")
def _deb_cut() -> Case:
    members = (("debian-binary", b"2.0\n"), ("control.tar", GOOD_CONTROL), ("data.tar", tar(((DOC, FIXED),))[:520]))
    return {"p.deb": ar(members)}


@nasty("deb", "an architecture that no kernel has", None)
def _deb_alpha() -> Case:
    return {"p.deb": deb(tar((("./control", CONTROL.replace(b"amd64\nS", b"m68k\nS")),)), tar(((DOC, UNFIXED),)))}


# RPMs.


@nasty("rpm", "4,000 tags that claim 1,000,000 texts each")
def _rpm_tags() -> Case:
    tags = rpm_tags(b"") | {2000 + number: (8, 1_000_000, b"") for number in range(4000)}
    tags[9999] = (7, 900_000, bytes(900_000))
    return {"p.rpm": rpm(tags, b"")}


@nasty("rpm", "numbers in the place of names, and texts in the place of dates")
def _rpm_types() -> Case:
    tags = rpm_tags(b"")
    return {"p.rpm": rpm(tags | {1116: tags[1117], 1080: tags[1081]}, b"")}


@nasty("rpm", "a payload of 3 GB of blanks")
def _rpm_payload() -> Case:
    return {"p.rpm": rpm(rpm_tags(b"x"), blanks(3))}


@nasty("rpm", "a payload with a file of 4 GB before the one that is wanted")
def _rpm_big_file() -> Case:
    start = bytearray(cpio((("./x", b""),))[:-124])
    start[54:62] = b"FFFFFFF0"
    return {"p.rpm": rpm(rpm_tags(b"x"), zstd_compress(bytes(start)) + blanks(4))}


# Indexes of repositories.

_OTHER = '<otherdata xmlns="http://linux.duke.edu/metadata/other">'
_REPOMD = '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other"><location href="repodata/{}"/></data></repomd>'


def _repodata(*frames: bytes) -> Case:
    return {"repodata/repomd.xml": _REPOMD.format("other.xml.zst").encode(), "repodata/other.xml.zst": b"".join(frames)}


_KERNEL_PACKAGE = f'{_OTHER}<package name="kernel" arch="x86_64"><version ver="5.14.0" rel="1.el9"/>'.encode()


@nasty("repodata", "a changelog of 3 GB")
def _other_text() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE + b"<changelog date='1'>"), blanks(3))


@nasty("repodata", "100 million empty elements")
def _other_elements() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE), zstd_compress(b"<a/>" * (1 << 20), 3) * 96)


@nasty("repodata", "a million entries of one kernel")
def _other_entries() -> Case:
    entry = b"<changelog author='A' date='1'>x</changelog>"
    return _repodata(
        zstd_compress(_KERNEL_PACKAGE),
        zstd_compress(entry * 100_000, 3) * 10,
        zstd_compress(b"</package></otherdata>"),
    )


@nasty("repodata", "elements in each other, 2 million deep")
def _other_deep() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE), zstd_compress(b"<a>" * (1 << 20), 3) * 2)


@nasty("repodata", "a tag of 1 GB")
def _other_tag() -> Case:
    return _repodata(zstd_compress(_KERNEL_PACKAGE + b"<a b='"), blanks(1))


@nasty("repodata", "an entity in an entity")
def _other_entities() -> Case:
    return _repodata(zstd_compress(b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>'))


@nasty("packages-index", "3 GB of blank lines")
def _index_blanks() -> Case:
    return {"Packages.xz": zstd_compress(b"Package: x\n") + blanks(3)}


@nasty("packages-index", "one field of 900,000 bytes", False)
def _index_field() -> Case:
    return {"Packages": b"Package: linux-image-6.1.0-1-amd64\nVersion: 6.1.1-1\nDepends: " + b" ," * 450_000}


@nasty("packages-index", "a version of 900,000 digits", False)
def _index_version() -> Case:
    return {"Packages": b"Package: linux-image-6.1.0-1-amd64\nVersion: " + b"9" * 900_000 + b"\n"}


@nasty("packages-index", "10,000 kernels", None)
def _index_kernels() -> Case:
    row = "Package: linux-image-6.1.0-{0}-amd64\nVersion: 6.1.{0}-1\n\n"
    return {"Packages": "".join(row.format(number) for number in range(10_000)).encode()}
