"""Nasty images of disks: headers that lie, tables that lead to themselves, holes of a terabyte."""

from __future__ import annotations

import io
import struct

from tests.fleet.volumes import in_partitions, metadata, physical_volume
from tests.fuzzing.nasty import nasty
from tests.strategies.case import Case, Fifo, Link, Sparse

_SECTOR = 2048
_UUID = "a1b2c3" + "Ab12" * 5 + "z9y8x7"


@nasty("disk", "a hole of 8 TB")
def _hole() -> Case:
    return {"disk": Sparse(8 << 40)}


@nasty("disk", "a hole of 8 TB with a partition over all of it")
def _hole_in_partition() -> Case:
    table = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 0xFFFFFFFF)
    return {"disk": Sparse(8 << 40, (bytes(446) + table).ljust(510, b"\0") + b"\x55\xaa")}


@nasty("disk", "an extended partition that leads to itself")
def _extended() -> Case:
    first = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x05, b"\0\0\0", 1, 100)
    mbr = (bytes(446) + first).ljust(510, b"\0") + b"\x55\xaa"
    ring = (
        bytes(446)
        + struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 1, 8)
        + struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x05, b"\0\0\0", 0, 100)
    ).ljust(510, b"\0") + b"\x55\xaa"
    return {"disk": mbr + ring + bytes(100_000)}


@nasty("disk", "a GPT of four billion partitions")
def _gpt() -> Case:
    protective = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0xEE, b"\0\0\0", 1, 2000)
    mbr = (bytes(446) + protective).ljust(510, b"\0") + b"\x55\xaa"
    head = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 1999, 34, 1900, bytes(16), 2, 0xFFFFFFFF, 128, 0
    )
    return {"disk": mbr + head.ljust(512, b"\0") + (b"\x01" * 32 + struct.pack("<QQ", 40, 50)).ljust(128, b"a") * 7000}


@nasty("disk", "a qcow2 of clusters of 2^63 bytes")
def _qcow2() -> Case:
    for_all = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 63, 1 << 62, 0, 0xFFFFFFFF, 8, 8, 1, 0, 0)
    return {"disk": for_all + b"\xff" * 5000}


@nasty("disk", "a qcow2 whose table of clusters leads to itself")
def _qcow2_ring() -> Case:
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 9, 1 << 40, 0, 0x0FFFFFFF, 512, 512, 1, 0, 0)
    return {"disk": head.ljust(512, b"\0") + struct.pack(">Q", 512 | 1 << 63) * 2000}


@nasty("disk", "a vmdk of 2^63 sectors")
def _vmdk() -> Case:
    head = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 1 << 62, 1, 1, 20, 0xFFFFFFFF, 1, 1, 128)
    return {"disk": head + b"\xff" * 20_000}


def _with(place: int, mark: bytes, fill: bytes, size: int = 200_000) -> Case:
    data = bytearray(fill * (size // len(fill)))
    data[place : place + len(mark)] = mark
    return {"disk": bytes(data)}


for _name, _place, _mark in (
    ("ext4", 0x438, b"\x53\xef"),
    ("XFS", 0, b"XFSB"),
    ("Btrfs", 0x10040, b"_BHRfS_M"),
    ("SquashFS", 0, b"hsqs"),
):
    for _fill, _words in ((b"\xff", "ones"), (b"\0", "zeros"), (b"\x01\0\0\0", "counts of one")):

        @nasty("disk", f"a superblock of {_name} of nothing but {_words}")
        def _superblock(place: int = _place, mark: bytes = _mark, fill: bytes = _fill) -> Case:
            return _with(place, mark, fill)


def _volume(text: str) -> Case:
    return {"disk": physical_volume({}, text=text)}


@nasty("disk", "LVM's metadata of 60,000 comments", None)
def _lvm_comments() -> Case:
    return _volume("#" * 60_000 + '"\n' + metadata({"root": 1}, "striped", _UUID, "vg"))


@nasty("disk", "LVM's metadata that is nested 5,000 times", None)
def _lvm_deep() -> Case:
    return _volume("a {\n" * 5000)


@nasty("disk", "a value of LVM's metadata of 60,000 brackets")
def _lvm_brackets() -> Case:
    return _volume("x = " + "[" * 60_000 + "]\n")


@nasty("disk", "a mirror of itself in LVM's metadata")
def _lvm_ring() -> Case:
    text = metadata({"root": 1}, "mirror", _UUID, "vg")
    return _volume(text.replace("stripe_count = 1\n", 'mirror_count = 1\nmirrors = [\n"root", 0\n]\n'))


@nasty("disk", "a volume of 2^60 extents")
def _lvm_extents() -> Case:
    text = metadata({"root": 1}, "striped", _UUID, "vg")
    return _volume(text.replace("extent_count = 1", f"extent_count = {1 << 60}"))


@nasty("disk", "LVM's metadata area of 2^63 bytes")
def _lvm_area() -> Case:
    data = bytearray(physical_volume({"root": b"x"}))
    struct.pack_into("<QQ", data, 4096 + 40, 512, 1 << 63)
    return {"disk": bytes(data)}


@nasty("disk", "a label of LVM in a partition of ones")
def _lvm_ones() -> Case:
    return {"disk": in_partitions((b"\xff" * 512 + b"LABELONE").ljust(200_000, b"\xff"))}


def _iso(child_of_itself: bool, size: int = 40) -> bytes:
    """An ISO image of one folder with a folder in it, which may be the one that it is in."""
    import pycdlib

    disc, out = pycdlib.PyCdlib(), io.BytesIO()
    disc.new(interchange_level=1)
    for number in range(size):
        disc.add_directory(f"/D{number}")
    disc.write_fp(out)
    data = bytearray(out.getvalue())
    if child_of_itself:
        root = int.from_bytes(data[16 * _SECTOR + 158 : 16 * _SECTOR + 162], "little")
        at = root * _SECTOR
        while length := data[at]:
            if data[at + 33] == ord("D"):
                struct.pack_into("<I", data, at + 2, root)
                struct.pack_into(">I", data, at + 6, root)
            at += length
    return bytes(data)


@nasty("disk", "folders of an ISO image that are in themselves")
def _iso_ring() -> Case:
    return {"disk": _iso(True)}


@nasty("disk", "an ISO image whose folder has 4 GB")
def _iso_size() -> Case:
    data = bytearray(_iso(False))
    struct.pack_into("<I", data, 16 * _SECTOR + 166, 0xFFFFFFFF)
    struct.pack_into(">I", data, 16 * _SECTOR + 170, 0xFFFFFFFF)
    return {"disk": bytes(data)}


@nasty("disk", "an ISO image of ones")
def _iso_ones() -> Case:
    return _with(0x8001, b"CD001", b"\xff")


@nasty("disk", "a pipe")
def _pipe() -> Case:
    return {"disk": Fifo()}


@nasty("disk", "/dev/zero")
def _zero() -> Case:
    return {"disk": Link("/dev/zero")}
