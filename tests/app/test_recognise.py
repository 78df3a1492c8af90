"""What a target without an option is taken for."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.app.recognise import recognise
from tailcall_audit.analyzer.model import AuditError

CONFIG = (
    "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.170 Kernel Configuration\n#\nCONFIG_64BIT=y\n"
)
CHANGELOG = "linux (6.1.170-3) bookworm; urgency=medium\n\n  * x\n\n -- A <a@b.org>  Mon, 03 Nov 2025 10:00:00 +0000\n"
HEADER = b"MZ" + bytes(0x200) + b"HdrS" + bytes(0x100)


@pytest.mark.parametrize("text", ["6.1.170", "5.15.0-79-generic", "v6.1", "Linux version 6.1.170 (x) #1 SMP"])
def test_a_release_string(text: str) -> None:
    assert recognise(text) == "kernel"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (CONFIG.encode(), "config"),
        (gzip.compress(CONFIG.encode()), "config"),
        (CHANGELOG.encode(), "changelog"),
        (gzip.compress(CHANGELOG.encode()), "changelog"),
        (b"* Mon Dec 16 2024 A B <a@b.org> - 6.6.0-64\n- x\n", "changelog"),
        (b"Package: linux-image-6.1.0-47-amd64\nVersion: 6.1.170-3\n", "repo"),
        (b"!<arch>\ndebian-binary   ", "package"),
        (b"\xed\xab\xee\xdb\x03\x00", "package"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "image"),
        (HEADER, "image"),
        (HEADER[:510] + b"\x55\xaa" + HEADER[512:], "image"),
        (bytes(0x38) + b"ARM\x64" + bytes(100), "image"),
        (bytes(0x30) + b"RISCV\0\0\0RSC\x05" + bytes(100), "image"),
        (bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(100), "image"),
        (bytes(0x10008) + b"S390EP" + bytes(100), "image"),
        (bytes(510) + b"\x55\xaa" + bytes(5000), "disk"),
        (bytes(512) + b"EFI PART" + bytes(100), "disk"),
        (bytes(512) + b"LABELONE" + bytes(100), "disk"),
        (bytes(0x438) + b"\x53\xef" + bytes(100), "disk"),
        (bytes(0x8001) + b"CD001" + b"kernel,host\n", "disk"),
        (b"QFI\xfb\0\0\0\3", "disk"),
        (
            b'{"apiVersion": "v1", "items": [{"kind": "Node", "status": {"nodeInfo": {"kernelVersion": "6.1"}}}]}',
            "nodes",
        ),
        (gzip.compress(b"NAME   STATUS   KERNEL-VERSION\na      Ready    6.1.0-47-amd64\n", mtime=0), "nodes"),
        (b"host,kernel\na,6.1.170\n", "nodes"),
        (b'{"web-1": {"ansible_facts": {"ansible_kernel": "6.1.170"}}}', "nodes"),
    ],
)
def test_a_file_by_its_contents_whatever_it_is_called(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "it"
    path.write_bytes(content)
    assert recognise(str(path)) == kind


@pytest.mark.parametrize(("name", "kind"), [("blobs/sha256/00", "oci"), ("7/layer.tar", "oci"), ("sos/dmesg", "text")])
def test_an_archive(tmp_path: Path, name: str, kind: str) -> None:
    with tarfile.open(tmp_path / "it", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert recognise(str(tmp_path / "it")) == kind


def test_a_root_and_a_layout(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr").mkdir()
    assert recognise(str(tmp_path)) == "rootfs"
    (tmp_path / "oci-layout").write_text("{}")
    assert recognise(str(tmp_path)) == "oci"


def test_a_folder(tmp_path: Path) -> None:
    assert recognise(str(tmp_path)) == "tree"
    (tmp_path / "Packages").write_text("")
    assert recognise(str(tmp_path)) == "repo"


def test_what_is_none_of_them_is_answered_with_the_options(tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"la la la")
    with pytest.raises(AuditError, match="say what it is: --image, --package"):
        recognise(str(tmp_path / "song"))
    with pytest.raises(AuditError, match="--changelog or --repo"):
        recognise("https://example.org/changelog")


def test_several_kinds_at_once_are_refused_as_with_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").write_text(CONFIG)
    assert main(["6.1.170", str(tmp_path / "config"), "--only", "6"]) in (0, 1, 3)
    assert "6.1.170" in capsys.readouterr().out
    assert main([str(tmp_path / "config"), str(tmp_path / "config")]) == 2
    assert "one --config at a time" in capsys.readouterr().err
