"""Nasty lists of nodes, logs, root file systems and container images."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile

from tests.fleet.test_rootfs import STATUS, berkeley, layout, ndb, saved
from tests.fuzzing.nasty import blanks, claimed, header, nasty
from tests.strategies.archives import tar
from tests.strategies.case import Case, Fifo, Link, Sparse
from tests.zstd import compress as zstd_compress

_BANNER = b"Linux version 6.1.0-47-amd64 (a@b) (gcc 12) #1 SMP Debian 6.1.170-3 (2026-05-08)\n"


# Lists of nodes.


@nasty("nodes", "900,000 brackets")
def _nodes_deep() -> Case:
    return {"nodes": b"[" * 900_000}


@nasty("nodes", "items that are nested 200,000 times", None)
def _nodes_items() -> Case:
    return {"nodes": b'{"items": ' * 80_000}


@nasty("nodes", "a number of 5,000 digits in a node", None)
def _nodes_digits() -> Case:
    return {"nodes": b'{"items": [{"metadata": {"name": "a", "x": ' + b"9" * 5000 + b"}}]}"}


@nasty("nodes", "a text that does not end")
def _nodes_unclosed() -> Case:
    return {"nodes": b'{"items": [{"metadata": {"name": "' + b"a" * 900_000}


@nasty("nodes", "2 GB of blanks")
def _nodes_bomb() -> Case:
    return {"nodes": gzip.compress(b" " * (64 << 20), 9) * 32}


@nasty("nodes", "a list that ends in 2 GB of lines", None)
def _nodes_lines() -> Case:
    return {"nodes": gzip.compress(b"a 6.1.170\n") + gzip.compress(b"b 6.1.170\n" * (6 << 20), 9) * 32}


@nasty("nodes", "30,000 different kernels", None)
def _nodes_kernels() -> Case:
    return {"nodes": "".join(f"n{number} 6.1.{number}\n" for number in range(30_000)).encode()}


@nasty("nodes", "30,000 texts that name no kernel", None)
def _nodes_nothing() -> Case:
    return {"nodes": "".join(f"n{number} x{number}y\n" for number in range(30_000)).encode()}


@nasty("nodes", "a header of 200,000 columns", None)
def _nodes_columns() -> Case:
    titles = ",".join(f"c{number}" for number in range(100_000))
    return {"nodes": f"host,kernel,{titles}\na,6.1.170\n".encode()}


@nasty("nodes", "a quote that does not end", None)
def _nodes_quote() -> Case:
    return {"nodes": b'host,kernel\na,6.1.170\nb,"' + b"x\n" * 400_000}


@nasty("nodes", "a line of 900,000 letters", None)
def _nodes_line() -> Case:
    return {"nodes": b"web-1 6.1.170\nweb-2 " + b"6.1.170-" * 110_000}


@nasty("nodes", "names that act on a terminal", False)
def _nodes_escapes() -> Case:
    name = "a\x1b[2J\x1b]0;owned\x07\u202e\r"
    node = {"kind": "Node", "metadata": {"name": name}, "status": {"nodeInfo": {"kernelVersion": "6.1.170"}}}
    return {"nodes": json.dumps({"items": [node, {**node, "status": {}}]}).encode()}


@nasty("nodes", "a pipe")
def _nodes_pipe() -> Case:
    return {"nodes": Fifo()}


# Logs.


@nasty("text", "2 GB of one line", None)
def _text_bomb() -> Case:
    return {"log": gzip.compress(b"x" * (64 << 20), 9) * 32}


@nasty("text", "a line of 900,000 letters that names a kernel", None)
def _text_line() -> Case:
    return {"log": b"Linux version " + b"6.1.170 " * 110_000}


@nasty("text", "10,000 different kernels", None)
def _text_kernels() -> Case:
    return {"log": b"".join(b"Linux version 6.1.%d (a@b) #1\n" % number for number in range(10_000))}


@nasty("text", "20,000 traces that do not end", None)
def _text_traces() -> Case:
    return {"log": _BANNER + b"BUG: kernel NULL pointer dereference, address: 0\nRIP: 0010:x+0x1/0x2\n" * 12_000}


@nasty("text", "a folder of links to itself and a pipe", False)
def _text_links() -> Case:
    return {
        "sos/dmesg": _BANNER,
        "sos/up": Link(".."),
        "sos/self": Link("self"),
        "sos/zero": Link("/dev/zero"),
        "sos/pipe": Fifo(),
        "sos/root": Link("/"),
    }


@nasty("text", "an archive that claims 8 EB", None)
def _text_claims() -> Case:
    return {"log": header("dmesg", (1 << 33) - 1) + _BANNER}


@nasty("text", "a pax header of 1.9 GB", None)
def _text_pax() -> Case:
    return {"log": claimed(b"x", 1900 << 20)}


@nasty("text", "devices, links and a name that leads out", None)
def _text_devices() -> Case:
    return {"log": _archive(("dmesg", b"3"), ("a", b"4"), ("b", b"6"), ("../../c", _BANNER), ("d", "/etc/passwd"))}


# Root file systems.


@nasty("rootfs", "links that lead out, and to each other")
def _root_links() -> Case:
    return {
        "root/etc/os-release": b"ID=debian\n",
        "root/boot": Link("../../../../../../../boot"),
        "root/var/lib/dpkg": Link("/../../var/lib/dpkg"),
        "root/lib/modules": Link("modules"),
        "root/usr/lib/modules": Link("/proc/self/root/lib/modules"),
        "root/usr/share": Link("/usr/share"),
    }


@nasty("rootfs", "pipes and devices for every file", False)
def _root_pipes() -> Case:
    release = "6.1.0-47-amd64"
    return {
        "root/var/lib/dpkg/status": STATUS.encode(),
        f"root/boot/vmlinuz-{release}": Fifo(),
        f"root/boot/config-{release}": Link("/dev/zero"),
        f"root/boot/System.map-{release}": Fifo(),
        f"root/usr/share/doc/linux-image-{release}/changelog.Debian.gz": Link("/dev/random"),
    }


@nasty("rootfs", "an image of 600 GB that is a hole", None)
def _root_sparse() -> Case:
    return {"root/var/lib/dpkg/status": STATUS.encode(), "root/boot/vmlinuz-6.1.0-47-amd64": Sparse(600 << 30)}


@nasty("rootfs", "a changelog and a configuration of 2 GB", None)
def _root_bombs() -> Case:
    bomb = gzip.compress(b" " * (64 << 20), 9) * 32
    release = "6.1.0-47-amd64"
    return {
        "root/var/lib/dpkg/status": STATUS.encode(),
        f"root/boot/config-{release}": bomb,
        f"root/usr/share/doc/linux-image-{release}/changelog.Debian.gz": bomb,
    }


@nasty("rootfs", "5,000 kernels in dpkg's database", None)
def _root_many() -> Case:
    row = "Package: linux-image-6.1.{}-amd64\nStatus: install ok installed\nVersion: 6.1.{}-1\n\n"
    return {"root/var/lib/dpkg/status": "".join(row.format(number, number) for number in range(5000)).encode()}


@nasty("rootfs", "a field of 900,000 lines in dpkg's database", None)
def _root_field() -> Case:
    return {
        "root/var/lib/dpkg/status": STATUS.encode() + b"Package: linux-image-6.1.0-1-amd64\nX:\n" + b" .\n" * 290_000
    }


def _database(*statements: str) -> bytes:
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    return connection.serialize()


def _with_database(data: bytes, name: str = "rpmdb.sqlite") -> Case:
    return {f"root/usr/lib/sysimage/rpm/{name}": data}


@nasty("rootfs", "a view that never ends in place of RPM's table")
def _root_view() -> Case:
    endless = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS hnum, zeroblob(9) AS blob FROM n"
    )
    return _with_database(_database(f"CREATE VIEW Packages AS {endless}"))


@nasty("rootfs", "a generated column of RPM's table that takes gigabytes")
def _root_generated() -> Case:
    column = "blob BLOB GENERATED ALWAYS AS (zeroblob(900000000))"
    return _with_database(
        _database(
            f"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, {column})",
            "INSERT INTO Packages (hnum) VALUES (1), (2), (3)",
        )
    )


@nasty("rootfs", "a Berkeley DB whose item is a ring of pages")
def _root_ring() -> Case:
    data = bytearray(berkeley([b"x" * 9000]))
    data[4096 + 16 : 4096 + 20] = (1).to_bytes(4, "little")
    return _with_database(bytes(data), "Packages")


@nasty("rootfs", "an ndb with 250,000 slots of one package")
def _root_slots() -> Case:
    data = bytearray(ndb([b"\0\0\0\1\0\0\0\0" + bytes(16)]))
    slot = bytes(data[32:48])
    data[12:16] = (200).to_bytes(4, "little")
    return _with_database(bytes(data[:32]) + slot * 50_000 + bytes(data[4096:]), "Packages.db")


# Container images.


def _member(name: str, content: bytes | str) -> tuple[tarfile.TarInfo, bytes]:
    item = tarfile.TarInfo(name)
    if isinstance(content, str):
        item.type, item.linkname = tarfile.SYMTYPE, content
        return item, b""
    if len(content) == 1:
        item.type, item.linkname = content, "../../../etc/passwd"
        return item, b""
    item.size = len(content)
    return item, content


def _archive(*members: tuple[str, bytes | str]) -> bytes:
    """A tar archive. A content of one letter is a type of header, one of text the target of a link."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in members:
            item, data = _member(name, content)
            archive.addfile(item, io.BytesIO(data))
    return written.getvalue()


def _image(*layers: bytes) -> Case:
    return {"image.tar": _archive(*layout(*layers).items())}


@nasty("oci", "layers whose marks, links and names lead out")
def _oci_out() -> Case:
    return _image(
        _archive(
            ("../.wh.x", b"--"),
            ("boot/.wh...", b"--"),
            (".wh.", b"--"),
            (".wh..wh..opq", b"--"),
            ("boot/vmlinuz-a", b"1"),
            ("boot/vmlinuz-b", b"3"),
            ("boot/vmlinuz-c", b"6"),
            ("boot/vmlinuz-d", "/../../../etc/passwd"),
            ("/../boot/vmlinuz-e", b"--"),
            ("lib", "lib"),
            ("var/lib/dpkg/status", "status"),
        )
    )


@nasty("oci", "a layer of 16 GB of blanks")
def _oci_bomb() -> Case:
    return _image(claimed(b"0", 16 << 30))


@nasty("oci", "a kernel of 3 GB")
def _oci_kernel() -> Case:
    return _image(zstd_compress(header("boot/vmlinuz-6.1.170", 3 << 30)) + blanks(3))


@nasty("oci", "a pax header of 1.9 GB")
def _oci_pax() -> Case:
    return _image(claimed(b"x", 1900 << 20))


@nasty("oci", "one layer of 64 MB 400 times", None)
def _oci_repeated() -> Case:
    packed = gzip.compress(tar((("etc/x", bytes(64 << 20)), ("boot/vmlinuz-6.1.170", b"no kernel"))), 9)
    files = saved(packed)
    files["manifest.json"] = json.dumps([{"Layers": ["0/layer.tar"] * 400}] * 20).encode()
    return {"image.tar": _archive(*files.items())}


@nasty("oci", "links between layers in a ring")
def _oci_ring() -> Case:
    manifest = json.dumps([{"Layers": ["a/layer.tar"]}]).encode()
    return {
        "image.tar": _archive(
            ("manifest.json", manifest), ("a/layer.tar", "../b/layer.tar"), ("b/layer.tar", "../a/layer.tar")
        )
    }


@nasty("oci", "an index of 900,000 brackets")
def _oci_index() -> Case:
    return {"image.tar": _archive(("index.json", b"[" * 900_000))}


@nasty("oci", "a folder whose blobs are pipes and links to devices")
def _oci_pipes() -> Case:
    digest = "0" * 64
    index = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    return {"image/index.json": index, "image/oci-layout": Link("/dev/zero"), f"image/blobs/sha256/{digest}": Fifo()}


@nasty("oci", "20,000 names that are removed one by one", None)
def _oci_marks() -> Case:
    base = tar(tuple((f"usr/lib/modules/6.1.{number}/config", b"x") for number in range(400)))
    marks = tar(tuple((f"usr/lib/modules/.wh.6.1.{number}", b"") for number in range(1000)))
    return _image(gzip.compress(base), gzip.compress(marks), gzip.compress(base))


# Surveys that a user keeps.


@nasty("survey", "900,000 brackets")
def _survey_deep() -> Case:
    return {"stable.json": b"[" * 900_000}


@nasty("survey", "an integer of 5,000 digits")
def _survey_digits() -> Case:
    return {"stable.json": b'{"schema_version": ' + b"9" * 5000 + b"}"}


@nasty("survey", "/dev/zero")
def _survey_device() -> Case:
    return {"stable.json": Link("/dev/zero")}


@nasty("survey", "a pipe")
def _survey_pipe() -> Case:
    return {"stable.json": Fifo()}
