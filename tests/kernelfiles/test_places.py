"""The places of a kernel's image and configuration, in packages and in file systems, by distribution."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.installed_dpkg import dpkg_kernels
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.places import (
    config_places,
    image_places,
    image_release,
    is_config,
    without_copies,
)
from tailcall_audit.analyzer.kernelfiles.roots.packages import packages_of
from tailcall_audit.analyzer.kernelfiles.roots.root import FolderRoot
from tests.rpms import FIRST, RHEL, rpm

SUSE = "6.4.0-150600.23.14-default"


@pytest.mark.parametrize(
    ("place", "release"),
    [
        ("boot/vmlinuz-6.1.0-47-amd64", "6.1.0-47-amd64"),
        ("boot/vmlinux-6.1.0-47-powerpc64le", "6.1.0-47-powerpc64le"),
        ("lib/modules/5.14.0-427.13.1.el9_4.x86_64/vmlinuz", "5.14.0-427.13.1.el9_4.x86_64"),
        (f"usr/lib/modules/{SUSE}/vmlinuz", SUSE),
        (f"boot/Image-{SUSE}", SUSE),
        (f"boot/image-{SUSE}", SUSE),
        (f"boot/vmlinux-{SUSE}.xz", SUSE),
        (f"usr/lib/modules/{SUSE}/vmlinux.xz", SUSE),
        ("boot/.vmlinuz-5.14.0-427.13.1.el9_4.x86_64.hmac", None),
        ("lib/modules/5.14.0-427.13.1.el9_4.x86_64/.vmlinuz.hmac", None),
        ("lib/modules/6.1.0-47-amd64/kernel/vmlinuz", None),
        ("boot/initrd.img-6.1.0-47-amd64", None),
        ("boot/vmlinuz", None),
        ("usr/share/doc/vmlinuz-6.1", None),
    ],
)
def test_an_image_is_known_by_its_place(place: str, release: str | None) -> None:
    assert image_release(place) == release


@given(st.from_regex(r"\d\.\d{1,2}\.\d{1,3}-[a-z0-9]{1,8}", fullmatch=True))
def test_every_place_that_is_looked_at_is_one_that_is_known(release: str) -> None:
    assert {image_release(place) for place in image_places(release)} == {release}
    assert all(map(is_config, config_places(release)))


def test_a_copy_for_debuggers_is_no_second_image() -> None:
    image, copy, other = f"boot/vmlinuz-{SUSE}", f"boot/vmlinux-{SUSE}.xz", "boot/vmlinux-6.1.0-47-powerpc64le"
    assert without_copies([copy, image]) == [image]
    # Without the image beside it, a vmlinux is what boots; that of another release is another kernel.
    assert without_copies([other]) == [other]
    assert without_copies([image, other]) == [image, other]


def test_a_package_of_suse_with_its_copy_for_debuggers_has_one_image(tmp_path: Path) -> None:
    package = read_package(str(rpm(tmp_path, RHEL + FIRST, files={"vmlinux.xz": b"a copy, packed"})))
    assert package.image == "lib/modules/5.14.0-427.13.1.el9_4.x86_64/vmlinuz"


def test_the_image_of_debians_powerpc64_is_found_installed(tmp_path: Path) -> None:
    release = "6.1.0-47-powerpc64le"
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        f"Package: linux-image-{release}\nStatus: install ok installed\nVersion: 6.1.170-3\nArchitecture: ppc64el\n"
    )
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinux-{release}").write_bytes(b"\x7fELF")
    (package,) = dpkg_kernels(tmp_path)
    (of_root,) = packages_of(FolderRoot(str(tmp_path)))
    assert package.image == of_root.image == f"boot/vmlinux-{release}"
