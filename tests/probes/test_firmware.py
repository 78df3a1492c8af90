"""The firmware of an architecture, by the descriptors that distributions install with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailcall_audit.probes.guest.boot import Guest, run_in_guest
from tailcall_audit.probes.guest.firmware import find_firmware
from tailcall_audit.probes.guest.qemu import GuestError, Qemu, find_qemu
from tests.probes.test_boot import qemu


def descriptor(folder: Path, name: str, architecture: str, executable: Path | None) -> None:
    """Writes a descriptor as Debian's qemu-efi-loongarch64 installs it: /usr/share/qemu/firmware/60-edk2-loongarch64.json."""
    folder.mkdir(exist_ok=True)
    if executable is not None:
        executable.write_bytes(b"firmware")
    content = {
        "description": f"UEFI firmware for {architecture}",
        "interface-types": ["uefi"],
        "mapping": {"device": "flash", "executable": {"filename": str(executable or folder / "none"), "format": "raw"}},
        "targets": [{"architecture": architecture, "machines": ["virt*"]}],
        "features": [],
        "tags": [],
    }
    (folder / name).write_text(json.dumps(content))


def test_the_firmware_of_the_architecture_is_found(tmp_path: Path) -> None:
    descriptor(tmp_path / "share", "50-edk2-aarch64.json", "aarch64", tmp_path / "AAVMF_CODE.fd")
    descriptor(tmp_path / "share", "60-edk2-loongarch64.json", "loongarch64", tmp_path / "QEMU_EFI.fd")
    assert find_firmware("loongarch64", [str(tmp_path / "share")]) == str(tmp_path / "QEMU_EFI.fd")
    assert find_firmware("riscv64", [str(tmp_path / "share")]) is None


def test_a_descriptor_of_the_system_replaces_that_of_the_distribution(tmp_path: Path) -> None:
    etc, share = tmp_path / "etc", tmp_path / "share"
    descriptor(share, "60-edk2.json", "loongarch64", tmp_path / "theirs.fd")
    descriptor(etc, "60-edk2.json", "loongarch64", tmp_path / "ours.fd")
    assert find_firmware("loongarch64", [str(etc), str(share)]) == str(tmp_path / "ours.fd")
    (etc / "60-edk2.json").write_text("")
    assert find_firmware("loongarch64", [str(etc), str(share)]) is None


def test_a_file_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    descriptor(tmp_path / "share", "50-old.json", "loongarch64", None)
    descriptor(tmp_path / "share", "60-new.json", "loongarch64", tmp_path / "QEMU_EFI.fd")
    assert find_firmware("loongarch64", [str(tmp_path / "share")]) == str(tmp_path / "QEMU_EFI.fd")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"targets": 3}', '{"targets": [{"architecture": "loongarch64"}]}', "[" * 40_000, "\0",
     '{"targets": [{"architecture": "loongarch64"}], "mapping": {"executable": {"filename": 5}}}'],
)  # fmt: skip
def test_a_broken_descriptor_names_no_firmware(content: str, tmp_path: Path) -> None:
    (tmp_path / "60-edk2.json").write_text(content)
    assert find_firmware("loongarch64", [str(tmp_path), str(tmp_path / "missing")]) is None


def test_without_firmware_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "qemu-system-loongarch64"
    program.write_text("#!/bin/sh\necho QEMU emulator version 10.0.13\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("tailcall_audit.probes.guest.qemu.find_firmware", lambda _: None)
    with pytest.raises(
        GuestError, match=r"no UEFI firmware for loongarch64 in .*apt-get install .*qemu-efi-loongarch64"
    ):
        find_qemu("loongarch64")
    monkeypatch.setattr("tailcall_audit.probes.guest.qemu.find_firmware", lambda _: "/QEMU_EFI.fd")
    assert find_qemu("loongarch64").firmware == "/QEMU_EFI.fd"


@pytest.mark.parametrize(("magic", "by_firmware"), [(b"MZ\0\0zimg", True), (b"\x7fELF", False)])
def test_firmware_starts_an_efi_image_and_no_elf_file(magic: bytes, by_firmware: bool, tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(magic)
    program = Qemu(qemu(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/arguments'), firmware="/QEMU_EFI.fd")
    run_in_guest(image, image, Guest(patience=120.0), ("x86-hierarchy",), qemu=program, architecture="loongarch64")
    words = (tmp_path / "arguments").read_text().splitlines()
    assert (("-bios" in words) and words[words.index("-bios") + 1] == "/QEMU_EFI.fd") is by_firmware
