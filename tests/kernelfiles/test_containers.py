"""Every form that a kernel is shipped in, around a real kernel, and images that are broken."""

from __future__ import annotations

import gzip
import random
import shutil
import struct
import subprocess
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tests.kernelfiles.images import PACKERS, bzimage, kernel, s390_image, unified, zboot
from tests.kernels import package_file
from tests.mutants import small_image

SMALL = b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", 62) + b"Linux version 6.1.0 (x) #1 SMP\0" + bytes(4000)
"""What stands in for a kernel where only the wrapping matters."""


@pytest.mark.parametrize("packer", PACKERS)
def test_a_real_kernel_comes_out_of_every_compression_of_a_bzimage(packer: str) -> None:
    inner = kernel(small_image()).data
    found = unpack(bzimage(PACKERS[packer](inner)), "x")
    assert found.data == inner
    assert found.form == ("bzImage", packer, "ELF")
    assert found.architecture == "x86_64"


def test_lzo_as_lzop_writes_it(tmp_path: Path) -> None:
    if shutil.which("lzop") is None:
        pytest.skip("no lzop on this machine: install the package lzop")
    content = SMALL + random.Random(1).randbytes(700_000) + bytes(300_000)
    done = subprocess.run(["lzop", "-1", "-c"], input=content, capture_output=True, check=True)
    found = unpack(bzimage(done.stdout + struct.pack("<I", len(content))), "x")
    assert found.data == content
    assert found.form == ("bzImage", "lzo", "ELF")
    with pytest.raises(ImageError, match="lzo"):
        unpack(bzimage(done.stdout[:-5000]), "x")


def test_an_efi_stub_is_a_bzimage_too() -> None:
    assert unpack(bzimage(gzip.compress(SMALL), efi=True), "x").form == ("bzImage", "gzip", "ELF")


def test_a_unified_kernel_image_holds_a_bzimage() -> None:
    found = unpack(unified(bzimage(PACKERS["zstd"](SMALL), efi=True)), "x")
    assert found.form == ("unified kernel image", "bzImage", "zstd", "ELF")
    assert found.data == SMALL
    with pytest.raises(ImageError, match="without a kernel"):
        unpack(unified(b"").replace(b".linux", b".linus"), "x")


@pytest.mark.parametrize(("compression", "packer"), [(b"gzip", "gzip"), (b"zstd", "zstd"), (b"xzkern", "xz")])
def test_arm64_images_plain_compressed_and_zboot(compression: bytes, packer: str) -> None:
    image = bytearray(SMALL[:4096])
    image[:4] = b"MZ\0\x91"
    image[0x38:0x3C] = b"ARM\x64"
    raw = bytes(image)
    assert unpack(raw, "x")[1:] == (("arm64 Image",), "arm64", False, ())
    assert unpack(gzip.compress(raw), "x").form == ("gzip", "arm64 Image")
    assert unpack(zboot(PACKERS[packer](raw), compression), "x").form == ("EFI zboot image", packer, "arm64 Image")


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd"])
def test_an_s390x_image_is_unpacked_though_its_header_names_no_payload(packer: str) -> None:
    content = b"Linux version 6.1.0 (x) #1 SMP\0".ljust(2 << 20, b"\7")
    found = unpack(s390_image(PACKERS[packer](content)), "x")
    assert (found.form, found.architecture) == (("s390x bzImage", packer), "s390x")
    assert found.data == content


def test_an_s390x_image_that_is_not_compressed_is_taken_whole() -> None:
    image = s390_image(b"Linux version 6.1.0 (x) #1 SMP\0")
    assert unpack(image, "x") == Kernel(image, ("s390x bzImage",), "s390x", False)


def test_an_image_of_loongarch_plain_and_zboot() -> None:
    inner = bytearray(SMALL[20:])
    inner[:2], inner[0x38:0x3C], inner[0x40:0x44] = b"MZ", b"\xcd\x23\x82\x81", b"PE\0\0"
    assert unpack(bytes(inner), "x")[1:3] == (("loongarch64 Image",), "loongarch64")
    found = unpack(zboot(gzip.compress(bytes(inner)), b"gzip"), "x")
    assert (found.form[-1], found.architecture) == ("loongarch64 Image", "loongarch64")


def test_debians_s390x_image_has_its_banner_and_big_endian_type_data() -> None:
    package = package_file("linux-binary-7.2.13+deb14-s390x", "7.2.13-1", "s390x")
    bootable = read_package(str(package)).bootable
    assert bootable is not None
    found = Binary(unpack(read_bootable(bootable), "vmlinuz"))
    assert found.identify("vmlinuz").startswith("Linux version 7.2.13+deb14-s390x (")
    assert found.btf is not None
    # 28ead3eaabc1 (in v6.15) and what holds programs since 2020.
    assert found.btf.member("bpf_map_owner", "attach_func_proto") is not None
    assert found.btf.enumerators("bpf_map_type")["BPF_MAP_TYPE_PROG_ARRAY"] == 3


def test_a_vmlinux_plain_and_compressed_by_suffix() -> None:
    assert unpack(SMALL, "vmlinux").form == ("ELF",)
    assert unpack(lz4.frame.compress(SMALL), "vmlinux.lz4").form == ("lz4", "ELF")
    assert unpack(gzip.compress(SMALL), "vmlinux.gz").form == ("gzip", "ELF")


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_at_its_limit(packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tailcall_audit.analyzer.kernelfiles import containers

    monkeypatch.setattr(containers, "_MAX_KERNEL", 1 << 20)
    with pytest.raises(ImageError, match="unpacks to more than 1 MiB"):
        unpack(bzimage(PACKERS[packer](bytes(40 << 20))), "x")


@pytest.mark.parametrize("packer", PACKERS)
def test_a_payload_that_is_cut_off_is_one_clear_error(packer: str) -> None:
    content = SMALL + random.Random(2).randbytes(100_000)
    payload = PACKERS[packer](content)
    for cut in (1000, len(payload) // 2, len(payload) - 2000):
        with pytest.raises(ImageError):
            unpack(bzimage(payload[:cut]), "x")


def test_a_real_image_truncated_at_every_kilobyte() -> None:
    data = small_image().read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    for size in range(0, (data[0x1F1] + 1) * 512 + offset + length, 1024):
        with pytest.raises(ImageError):
            unpack(data[:size], "x")


def test_each_byte_of_the_boot_header_flipped() -> None:
    data = small_image().read_bytes()
    inner = kernel(small_image()).data
    places = [0, 1, 0x1F1, *range(0x202, 0x208), *range(0x248, 0x250)]
    refused = []
    for place in places:
        for value in (0x00, 0xFF, data[place] ^ 0x01):
            broken = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                assert unpack(broken, "x").data == inner
            except ImageError:
                refused.append(place)
    # Without its signature it is no bzImage; the version of the protocol may be any that has a payload.
    assert set(refused) >= {0x202, 0x24C}
    assert len(refused) < 3 * len(places)


@given(st.binary(max_size=3000))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        unpack(b"\0" + data, "x")


@given(st.sampled_from(sorted(PACKERS)), st.data())
def test_a_broken_image_is_refused_or_unpacked(packer: str, data: st.DataObject) -> None:
    whole = bytearray(bzimage(PACKERS[packer](SMALL)))
    for _ in range(4):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(whole), "x")
    except ImageError as error:
        assert str(error).startswith("x: ")


def test_wrapped_again_and_again_is_refused() -> None:
    data = SMALL
    for _ in range(7):
        data = gzip.compress(data)
    with pytest.raises(ImageError, match="wrapped more than"):
        unpack(data, "x")


@pytest.mark.parametrize(
    ("packed", "config", "note"),
    [
        (gzip.compress(b"CONFIG_BPF=y\n"), "CONFIG_BPF=y\n", None),
        (gzip.compress(b"CONFIG_BPF=y\n")[:-10], None, "the embedded configuration: broken gzip data: it is cut off"),
        (b"CONFIG_BPF=y\n", None, "the embedded configuration: not gzip data"),
    ],
    ids=["whole", "cut off", "not packed"],
)
def test_an_embedded_configuration_is_gzip_data_between_two_marks(
    packed: bytes, config: str | None, note: str | None
) -> None:
    data = b"\x7fELF" + bytes(60) + b"IKCFG_ST" + packed + b"IKCFG_ED" + bytes(50)
    binary = Binary(Kernel(data, ("ELF",), "x86_64", True))
    assert binary.config == config
    assert [text for text in binary.notes if "configuration" in text] == ([] if note is None else [note])
