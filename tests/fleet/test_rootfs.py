"""Root file systems and container images: kernels by dpkg and by RPM in its three forms, images and modules; links that
lead out, whiteouts, and what is hostile.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.kernelfiles.roots.packages import packages_of
from tailcall_audit.analyzer.kernelfiles.roots.root import FolderRoot, RootError
from tailcall_audit.analyzer.kernelfiles.roots.rpmdb import _blobs
from tailcall_audit.analyzer.model import AuditError, Report
from tailcall_audit.analyzer.subjects.subject import Fleet
from tests.rpms import FIRST, RHEL, rpm, rpm_database
from tests.strategies.images import kernel

STATUS = """\
Package: base-files
Status: install ok installed
Version: 12.4

Package: linux-image-6.1.0-47-amd64
Status: install ok installed
Architecture: amd64
Source: linux-signed-amd64 (6.1.170+3)
Version: 6.1.170-3

Package: linux-image-6.1.0-31-amd64
Status: deinstall ok config-files
Architecture: amd64
Version: 6.1.128-1
"""
CONFIG = (
    "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.170 Kernel Configuration\n#\nCONFIG_64BIT=y\n"
)


def debian(top: Path) -> Path:
    for place, text in {
        "var/lib/dpkg/status": STATUS,
        "boot/config-6.1.0-47-amd64": CONFIG,
        "etc/os-release": "ID=debian\n",
    }.items():
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        (top / place).write_text(text)
    return top


def report_of(*roots: Path, oci: Sequence[Path] = ()) -> Report:
    return audit(
        fleet=Fleet(roots=tuple(map(str, roots)), oci=tuple(map(str, oci))), only=["freplace-loop"], emulate=False
    )


def releases(report: Report) -> list[str | None]:
    return [target.identity["release"] for target in report.targets]


def test_a_kernel_of_dpkg(tmp_path: Path) -> None:
    (target,) = report_of(debian(tmp_path)).targets
    assert target.name == f"{tmp_path}: linux-image-6.1.0-47-amd64 6.1.170-3"
    assert (target.identity["upstream"], target.identity["architecture"]) == ("6.1.170", "x86_64")
    assert target.identity["config"] == "linux-image-6.1.0-47-amd64:boot/config-6.1.0-47-amd64"
    assert target.bootable is None


def berkeley(values: Sequence[bytes], size: int = 4096) -> bytes:
    """A hash of Berkeley DB: rpm 4.18 lists the packages of one that is made so (_db_backend bdb_ro)."""
    pages = [b""]
    items: list[bytes] = []
    for number, value in enumerate(values):
        chunks = [value[start : start + size - 26] for start in range(0, len(value), size - 26)]
        items += [struct.pack("<BI", 1, number + 1), struct.pack("<B3xII", 3, len(pages), len(value))]
        for index, chunk in enumerate(chunks):
            here = len(pages)
            head = struct.pack("<QIIIHHBB", 0, here, 0, here + 1 if index + 1 < len(chunks) else 0, 1, len(chunk), 0, 7)
            pages.append((head + chunk).ljust(size, b"\0"))
    page, end, offsets = bytearray(size), size, []
    for item in items:
        end -= len(item)
        page[end : end + len(item)] = item
        offsets.append(end)
    page[:26] = struct.pack("<QIIIHHBB", 0, len(pages), 0, 0, len(offsets), end, 0, 13)
    page[26 : 26 + 2 * len(offsets)] = struct.pack(f"<{len(offsets)}H", *offsets)
    pages.append(bytes(page))
    meta = bytearray(size)
    struct.pack_into("<QIIIIBBBB", meta, 0, 0, 0, 0x61561, 9, size, 0, 8, 0, 0)
    pages[0] = bytes(meta)
    return b"".join(pages)


def ndb(values: Sequence[bytes]) -> bytes:
    """A database of rpm's own form, as lib/backend/ndb/rpmpkg.c writes it."""
    data = bytearray(4096)
    data[:16] = struct.pack("<4sIII", b"RpmP", 0, 1, 1)
    for number, value in enumerate(values, 1):
        start = len(data)
        data[16 + 16 * number : 32 + 16 * number] = struct.pack(
            "<4sIII", b"Slot", number, start // 16, (len(value) + 47) // 16
        )
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(value)) + value
        data += blob + bytes(-len(blob) % 16) + struct.pack("<III4s", 0, 0, len(value), b"BlbE")
    for place in range(32 + 16 * len(values), 4096, 16):
        data[place : place + 4] = b"Slot"
    return bytes(data)


@pytest.fixture(scope="module")
def red_hat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rpm")
    return rpm_database(folder / "root", rpm(folder / "build", RHEL + FIRST))


def test_rpm_in_all_three_forms(red_hat: Path, tmp_path: Path) -> None:
    sqlite = (red_hat / "var/lib/rpm/rpmdb.sqlite").read_bytes()
    values = list(_blobs(sqlite))
    assert len(values) == 1
    forms = {"rpmdb.sqlite": sqlite, "Packages.db": ndb(values * 3), "Packages": berkeley(values * 3)}
    found = []
    for number, (name, data) in enumerate(forms.items()):
        place = tmp_path / str(number) / "usr/lib/sysimage/rpm"
        place.mkdir(parents=True)
        (place / name).write_bytes(data)
        packages = list(packages_of(FolderRoot(str(tmp_path / str(number)))))
        found.append(packages[0])
        assert len(packages) == (1 if number == 0 else 3)
    assert found[0] == found[1] == found[2]
    assert (found[0].name, found[0].release) == ("kernel-core", "5.14.0-427.13.1.el9_4.x86_64")
    assert found[0].changelog is not None
    assert b"bpf, x64: Fix tailcall infinite loop" in found[0].changelog[1]
    report = report_of(tmp_path / "2")
    assert releases(report)[0] == "5.14.0-427.13.1.el9_4"


@pytest.mark.parametrize("form", ["sqlite", "ndb"])
def test_a_database_that_rpm_writes(tmp_path: Path, form: str) -> None:
    """Debian's rpm has ndb from 4.20 (trixie) on; what its 4.20.1 writes was read by hand."""
    packages = [rpm(tmp_path / name, RHEL + FIRST, name=name) for name in ("kernel-core", "kernel-rt-core")]
    root = rpm_database(tmp_path / "root", *packages, form=form)
    found = {package.name: package.release for package in packages_of(FolderRoot(str(root)))}
    assert found == dict.fromkeys(("kernel-core", "kernel-rt-core"), "5.14.0-427.13.1.el9_4.x86_64")


def test_a_database_that_berkeley_db_writes(red_hat: Path, tmp_path: Path) -> None:
    """rpm until 4.15 wrote it by the same library: a hash whose key 0 has the next number."""
    load = shutil.which("db5.3_load")
    if load is None:
        pytest.skip("no db5.3_load on this machine: install db5.3-util")
    (value,) = _blobs((red_hat / "var/lib/rpm/rpmdb.sqlite").read_bytes())
    rows = [(0, b"\7\0\0\0"), *((number, value) for number in range(1, 7))]
    lines = [f" {struct.pack('<I', number).hex()}\n {data.hex()}\n" for number, data in rows]
    text = f"VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n{''.join(lines)}DATA=END\n"
    place = tmp_path / "var/lib/rpm"
    place.mkdir(parents=True)
    subprocess.run([load, str(place / "Packages")], input=text.encode(), check=True, capture_output=True)
    assert list(_blobs((place / "Packages").read_bytes())) == [value] * 6
    assert [package.name for package in packages_of(FolderRoot(str(tmp_path)))] == ["kernel-core"] * 6


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db", "Packages"])
def test_a_broken_database_is_a_reason_and_costs_nothing_else(red_hat: Path, tmp_path: Path, name: str) -> None:
    sqlite = (red_hat / "var/lib/rpm/rpmdb.sqlite").read_bytes()
    values = list(_blobs(sqlite))
    whole = {"rpmdb.sqlite": sqlite, "Packages.db": ndb(values), "Packages": berkeley(values)}[name]
    debian(tmp_path)
    place = tmp_path / "var/lib/rpm"
    place.mkdir(parents=True)
    for data in (whole[: len(whole) // 2], whole[:600], b"no database", whole[:32] + b"\xff" * 4000 + whole[4032:]):
        (place / name).write_bytes(data)
        report = report_of(tmp_path)
        assert "6.1.0-47-amd64" in releases(report)
        assert all("RPM" in item.reason for item in report.skipped)


def test_images_and_modules_that_no_package_names(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-lab").write_bytes(kernel())
    (tmp_path / "boot/vmlinuz-broken").write_bytes(b"MZ")
    (tmp_path / "usr/lib/modules/6.6.52-talos").mkdir(parents=True)
    (tmp_path / "usr/lib/modules/not-a-kernel").mkdir()
    (tmp_path / "lib").symlink_to("usr/lib")
    report = report_of(tmp_path)
    assert [target.kind.value for target in report.targets] == ["image", "release"]
    assert releases(report)[1] == "6.6.52-talos"
    assert any("no package database" in note for note in report.targets[0].notes)
    assert any("only its modules are here" in note for note in report.targets[1].notes)
    assert [item.label for item in report.skipped] == [f"{tmp_path}: boot/vmlinuz-broken"]


def test_links_stay_inside(tmp_path: Path) -> None:
    """An absolute link is from the root's own top, and one that climbs ends there."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "status").write_text(STATUS)
    top = tmp_path / "top"
    (top / "var/lib").mkdir(parents=True)
    (top / "var/lib/dpkg").symlink_to(secret)
    (top / "boot").symlink_to("../../../../../../../../boot")
    (top / "lib").symlink_to("/usr/lib")
    (top / "usr/lib/modules/6.1.170").mkdir(parents=True)
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    root = FolderRoot(str(top))
    assert root.read("var/lib/dpkg/status", 1000) is None
    assert root.read("a/x", 10) is None
    assert root.names("boot") == []
    assert root.names("lib/modules") == ["6.1.170"]
    assert root.read(f"../../{secret.name}/status", 1000) is None
    root.close()


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    debian(tmp_path)
    os.remove(tmp_path / "boot/config-6.1.0-47-amd64")
    os.mkfifo(tmp_path / "boot/config-6.1.0-47-amd64")
    os.mkfifo(tmp_path / "boot/vmlinuz-6.1.0-47-amd64")
    (tmp_path / "boot/vmlinuz-x").symlink_to("/dev/zero")
    assert releases(report_of(tmp_path)) == ["6.1.0-47-amd64"]


def test_nothing_and_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no kernel in it: neither dpkg nor RPM"):
        report_of(tmp_path)
    with pytest.raises(RootError, match="cannot read"):
        FolderRoot(str(tmp_path / "missing"))


Member = tuple[str, bytes | str | None]
"""A name, and the content of a file, the target of a link, or None for a folder."""


def layer(*members: Member) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in members:
            item = tarfile.TarInfo(name)
            if isinstance(content, str):
                item.type, item.linkname = tarfile.SYMTYPE, content
            elif content is None:
                item.type = tarfile.DIRTYPE
            else:
                item.size = len(content)
            archive.addfile(item, io.BytesIO(content) if isinstance(content, bytes) else None)
    return written.getvalue()


def layout(*layers: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = blob(json.dumps({"schemaVersion": 2, "layers": [blob(data) for data in layers]}).encode())
    attestation = {**manifest, "platform": {"os": "unknown", "architecture": "unknown"}}
    index = [{**manifest, "platform": {"os": "linux", "architecture": "amd64"}}, attestation]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": index}).encode()
    return files


def nested(files: dict[str, bytes], times: int) -> dict[str, bytes]:
    """Puts the index of a layout into an index of indexes, several times."""
    files = dict(files)
    for _ in range(times):
        data = files["index.json"]
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        files["index.json"] = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    return files


def saved(*layers: bytes) -> dict[str, bytes]:
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["example/os:1"], "Layers": names}]).encode()
    return {"manifest.json": manifest, **dict(zip(names, layers, strict=True))}


def put(files: Mapping[str, bytes], place: Path, as_archive: bool) -> Path:
    if as_archive:
        place.write_bytes(layer(*files.items()))
        return place
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


BASE = layer(
    ("usr/lib/modules/6.1.170", None),
    ("usr/lib/modules/6.1.170/config", CONFIG.encode()),
    ("lib", "usr/lib"),
    ("usr/lib/modules/6.6.10", None),
    ("./var/lib/dpkg/status", STATUS.encode()),
)


@pytest.mark.parametrize("as_archive", [True, False])
@pytest.mark.parametrize("form", [layout, saved])
def test_layers_and_what_they_take_away(tmp_path: Path, as_archive: bool, form: object) -> None:
    assert callable(form)
    gone = layer(("usr/lib/modules/.wh.6.6.10", b""), ("var/lib/.wh.dpkg", b""), ("usr/lib/modules/6.12.4", None))
    place = put(form(BASE, gone), tmp_path / "image", as_archive)
    assert releases(report_of(oci=[place])) == ["6.1.170", "6.12.4"]
    place = put(form(BASE), tmp_path / "base", as_archive)
    assert sorted(str(name) for name in releases(report_of(oci=[place]))) == ["6.1.0-47-amd64", "6.1.170", "6.6.10"]


def test_a_layer_that_takes_all_of_a_folder_away_keeps_its_own(tmp_path: Path) -> None:
    top = layer(("usr/lib/modules/6.12.4", None), ("usr/lib/modules/.wh..wh..opq", b""), ("var/.wh..wh..opq", b""))
    assert releases(report_of(oci=[put(layout(BASE, top), tmp_path / "i", True)])) == ["6.12.4"]


def test_an_index_of_indexes(tmp_path: Path) -> None:
    place = put(nested(layout(BASE), 3), tmp_path / "image", True)
    assert sorted(str(name) for name in releases(report_of(oci=[place]))) == ["6.1.0-47-amd64", "6.1.170", "6.6.10"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"x": b"y"}, "no image in it"),
        (nested(layout(BASE), 4), "nested deeper than is read"),
        ({"index.json": b"["}, "index.json"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:../../etc/passwd"}]}'}, "no sha256"),
        ({"manifest.json": b'[{"Layers": ["../../../etc/passwd"]}]'}, "there is no"),
        ({"manifest.json": b'[{"Layers": ["l"]}]', "l": b"no archive"}, "broken archive"),
        ({"manifest.json": json.dumps([{"Layers": []}] * 21).encode()}, "more than 20 images"),
        ({"manifest.json": json.dumps([{"Layers": ["l"] * 501}]).encode()}, "more than 500 layers"),
        (
            {**layout(BASE), **{name: data + b"\0" for name, data in layout(BASE).items() if data == BASE}},
            "not what its digest",
        ),
        (layout(layer(("etc/x", b"y"))), "no kernel in it"),
    ],
)
@pytest.mark.parametrize("as_archive", [True, False])
def test_a_bad_image_is_a_reason(tmp_path: Path, files: dict[str, bytes], reason: str, as_archive: bool) -> None:
    with pytest.raises(AuditError, match=reason):
        report_of(oci=[put(files, tmp_path / "image", as_archive)])


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = debian(tmp_path / "mnt")
    (top / "usr").mkdir()
    assert main(["--rootfs", str(top), "--only", "6"]) == 1
    assert "linux-image-6.1.0-47-amd64 6.1.170-3 · upstream 6.1.170" in capsys.readouterr().out
    assert main([str(top), "--only", "6"]) == 1
    image = put(layout(BASE), tmp_path / "image.tar", True)
    capsys.readouterr()
    assert main([str(image), "--arch", "x86_64", "--only", "6"]) == 1
    assert f"{image} (linux/amd64): usr/lib/modules/6.1.170" in capsys.readouterr().out
