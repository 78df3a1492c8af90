"""Images and packages that name two kernels: no version is believed, and what rests on one is unknown."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.kernelfiles.containers import ImageError
from tailcall_audit.analyzer.model import EvidenceKind, TargetReport
from tailcall_audit.analyzer.subjects.image import load_image
from tests.debs import CHANGELOG, deb, tar
from tests.kernelfiles.images import bzimage, kernel
from tests.mutants import debian_image
from tests.rpms import RHEL, rpm

DEBIAN = "6.1.0-47-arm64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP Debian 6.1.170-3 (2026-05-08)"
OLDER = DEBIAN.replace("6.1.0-47", "6.1.0-23").replace("6.1.170-3", "6.1.99-1")
OLDEST = "5.10.0-30-arm64 (debian-kernel@lists.debian.org) (gcc) #1 SMP Debian 5.10.218-1 (2024-06-01)"
CONTROL = b"Package: linux-image-6.1.0-47-arm64\nSource: linux\nVersion: 6.1.170-3\nArchitecture: arm64\nMaintainer: A <a@b.c>\nDescription: x\n"
DOC = "./usr/share/doc/linux-image-6.1.0-47-arm64/changelog.Debian"
FIXED = CHANGELOG.replace(
    b"  * x\n", b"  * bpf: Fix null pointer dereference in resolve_prog_type() for BPF_PROG_TYPE_EXT\n"
)


def image(*banners: str) -> bytes:
    """An arm64 Image that holds these banners and no code."""
    data = bytearray(8192)
    data[:4], data[0x38:0x3C] = b"MZ\0\x91", b"ARM\x64"
    for number, banner in enumerate(banners):
        text = f"Linux version {banner}\n\0".encode()
        data[0x100 + 512 * number : 0x100 + 512 * number + len(text)] = text
    return bytes(data)


def package(
    tmp_path: Path, content: bytes, control: bytes = CONTROL, place: str = "./boot/vmlinuz-6.1.0-47-arm64"
) -> TargetReport:
    path = deb(tmp_path, lzma.compress(tar({DOC: FIXED, place: content})), control)
    return audit(packages=[path], emulate=False).targets[0]


def assert_unproven(target: TargetReport, words: str) -> None:
    assert any(note.startswith("CONTRADICTION: ") and words in note for note in target.notes), target.notes
    assert target.identity["proof"] == "nothing"
    assert target.identity["upstream"] is None
    decided = {slug for slug, state in target.states.items() if state not in (State.UNKNOWN, State.NOT_AFFECTED)}
    assert not decided
    for verdict in target.verdicts:
        assert not [item for item in verdict.evidence if item.kind is EvidenceKind.CHANGELOG]
        # What another architecture excludes holds for every version.
        assert verdict.state is State.UNKNOWN or "arm64" not in verdict.defect.architectures, verdict.defect.slug


def test_a_package_that_names_one_kernel_is_believed(tmp_path: Path) -> None:
    target = package(tmp_path, image(DEBIAN))
    assert not any("CONTRADICTION" in note for note in target.notes)
    assert target.identity["upstream"] == "6.1.170"
    assert State.FIXED in target.states.values()
    assert State.AFFECTED in target.states.values()


@pytest.mark.parametrize(
    ("banner", "words"),
    [
        # Other builds of Debian's.
        (OLDER, "the package is 6.1.170-3, and the image in it says 6.1.99-1"),
        (OLDER, "its image is boot/vmlinuz-6.1.0-47-arm64, and the banner in it says 6.1.0-23-arm64"),
        (OLDEST, "the image in it says 5.10.218-1"),
        # Two statements in one banner.
        (
            DEBIAN.replace("6.1.0-47-arm64", "6.1.0-48-arm64"),
            "6.1.0-48-arm64 and the Debian package 6.1.170-3 contradict",
        ),
        (DEBIAN.replace("6.1.170-3", "6.1.99-1"), "6.1.0-47-arm64 and the Debian package 6.1.99-1 contradict"),
        (
            DEBIAN.replace("6.1.170-3", "5.10.218-1"),
            "6.1.0-47-arm64 and the Debian package 5.10.218-1 are of different",
        ),
        # Another vendor's kernel.
        ("6.1.12-arch1-1 (linux@archlinux) (gcc) #1 SMP PREEMPT_DYNAMIC Tue, 14 Feb 2023", "says 6.1.12-arch1-1"),
    ],
)
def test_a_package_whose_image_names_another_kernel_proves_nothing(banner: str, words: str, tmp_path: Path) -> None:
    target = package(tmp_path, image(banner))
    assert_unproven(target, words)


def test_a_package_whose_image_holds_two_banners_proves_nothing(tmp_path: Path) -> None:
    assert_unproven(package(tmp_path, image(DEBIAN, DEBIAN.replace("6.1.170-3", "6.1.99-1"))), "it names 2 kernels")


def test_a_package_whose_name_and_version_differ_proves_nothing(tmp_path: Path) -> None:
    """No image is in it: the two lines of its control file are enough."""
    control = CONTROL.replace(b"linux-image-6.1.0-47-arm64", b"linux-image-5.10.0-30-arm64")
    path = deb(tmp_path, lzma.compress(tar({DOC: FIXED})), control)
    assert_unproven(audit(packages=[path]).targets[0], "its name linux-image-5.10.0-30-arm64 of 5.10")


def test_an_rpm_whose_image_is_of_another_build_proves_nothing(tmp_path: Path) -> None:
    content = image("5.14.0-70.13.1.el9_0.aarch64 (mockbuild@x) (gcc) #1 SMP PREEMPT Thu Apr 14 2022")
    path = rpm(tmp_path, RHEL, files={"vmlinuz": content})
    target = audit(packages=[str(path)], emulate=False).targets[0]
    assert any("and the image in it says 5.14.0-70.13.1.el9_0.aarch64" in note for note in target.notes)
    assert target.identity["proof"] == "nothing"
    assert State.FIXED not in target.states.values()
    assert State.AFFECTED not in target.states.values()


def test_the_architecture_of_the_image_counts(tmp_path: Path) -> None:
    """A package for 32 bits that holds a kernel of 64 is not excluded as one of 32."""
    control = CONTROL.replace(b"Architecture: arm64", b"Architecture: armhf")
    target = package(tmp_path, image(DEBIAN), control)
    assert target.identity["architecture"] == "arm64"
    assert any("is for armhf, and the image in it for arm64: judged for arm64" in note for note in target.notes)


def test_an_image_with_two_banners_is_no_identity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Image"
    path.write_bytes(image(DEBIAN, DEBIAN.replace("6.1.170-3", "6.1.99-1")))
    assert main(["--image", str(path)]) == 2
    assert "it names 2 kernels, so which one it is is not known" in capsys.readouterr().err
    # Beside one that can be judged it counts as unknown.
    (tmp_path / "good").write_bytes(image(DEBIAN))
    report = audit(images=[str(path), str(tmp_path / "good")], emulate=False)
    assert [item.label for item in report.skipped] == [str(path)]


def headed(text: bytes, payload: bytes) -> bytes:
    """A bzImage whose header has the field kernel_version (Linux Documentation/arch/x86/boot.rst)."""
    made = bytearray(bzimage(payload))
    struct.pack_into("<H", made, 0x20E, 0x600)
    made[0x800 : 0x800 + len(text) + 1] = text + b"\0"
    return bytes(made)


BUILD = b"6.1.0-47-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)"


@pytest.mark.parametrize(
    ("header", "agrees"),
    [
        (BUILD, True),
        (b"6.1.0-47-cloud-amd64", True),
        (BUILD.replace(b"6.1.0-47", b"6.1.0-48"), False),
        (BUILD.replace(b"6.1.170-3", b"6.1.99-1"), False),
        (BUILD.replace(b"#1", b"#2"), False),
        (b"5.10.0", False),
    ],
)
def test_a_header_that_names_another_build_than_its_payload(header: bytes, agrees: bool) -> None:
    payload = gzip.compress(kernel(debian_image("vmlinuz-6.1.0-47-cloud-amd64")).data, 1)
    data = headed(header, payload)
    if agrees:
        assert load_image(data, "x", lambda _: None).release.package == "6.1.170-3"
    else:
        with pytest.raises(
            ImageError, match=r"its header names .* and the kernel in it .*: which one it is is not known"
        ):
            load_image(data, "x", lambda _: None)
