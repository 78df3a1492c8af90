"""What the strategies begin with is whole: each reader reads it for what it is, so that the broken cases break
something.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.pipeline import audit
from tailcall_audit.analyzer.subjects.image import load_image
from tests.repositories import FIX_6, FIX_6_SUBJECT, backport
from tests.strategies.archives import CONTROL, PACKERS, cpio, deb, rpm, rpm_tags, tar
from tests.strategies.case import write
from tests.strategies.images import WRAPPERS, kallsyms, kernel
from tests.strategies.repositories import history

NAMES = ("bpf_check", "prog_fd_array_get_ptr", "do_jit")
CONFIG = b"CONFIG_BPF_SYSCALL=y\n"


@pytest.mark.parametrize("symbols", [True, False], ids=["an ELF table", "kallsyms"])
def test_a_kernel_has_a_banner_a_configuration_and_functions(symbols: bool) -> None:
    image = load_image(kernel(symbols=symbols), "x", lambda _: None)
    assert image.release.release == "6.1.170"
    assert image.config is not None
    assert set(image.binary.functions(NAMES)) == set(NAMES)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_kernel_is_unwrapped(name: str) -> None:
    whole = kernel()
    assert unpack(WRAPPERS[name](whole), "x").data == whole


def test_a_table_of_symbols_has_all_of_them() -> None:
    binary = Binary(unpack(kernel(symbols=False), "x"))
    assert binary.kallsyms is not None
    assert binary.kallsyms.addresses(["symbol_number_7"]).keys() == {"symbol_number_7"}
    assert len(kallsyms()) > 40_000


@pytest.mark.parametrize("suffix", PACKERS)
def test_packages_are_read(tmp_path: Path, suffix: str) -> None:
    files = (("./boot/vmlinuz-6.1.0-47-amd64", b"image"), ("./boot/config-6.1.0-47-amd64", CONFIG))
    (tmp_path / "p.deb").write_bytes(deb(tar((("./control", CONTROL),)), tar(files), (suffix, suffix)))
    package = read_package(str(tmp_path / "p.deb"))
    assert (package.version, package.image) == ("6.1.170-3", "boot/vmlinuz-6.1.0-47-amd64")
    assert package.config is not None
    place = "./lib/modules/5.14.0-427.13.1.el9_4.x86_64"
    payload = PACKERS[suffix](cpio(((f"{place}/vmlinuz", b"image"), (f"{place}/config", CONFIG))))
    (tmp_path / "p.rpm").write_bytes(rpm(rpm_tags(CONFIG), payload))
    package = read_package(str(tmp_path / "p.rpm"))
    assert package.config is not None
    assert package.config[1] == CONFIG


def test_a_repository_has_its_history(tmp_path: Path) -> None:
    write(history([backport(FIX_6, FIX_6_SUBJECT)]), tmp_path)
    (target,) = audit(trees=[str(tmp_path)], only=["freplace-loop"]).targets
    assert target.identity["release"] == "6.1.170"
    assert any(FIX_6_SUBJECT in item.citation + item.detail for verdict in target.verdicts for item in verdict.evidence)


def test_a_header_of_tar_claims_what_the_case_gives() -> None:
    assert tarfile.TarInfo.frombuf(tar((("x", b""),), claim=77)[:512], "utf-8", "strict").size == 77
