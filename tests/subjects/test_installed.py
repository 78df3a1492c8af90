"""The kernels that dpkg and RPM have installed, with the running one marked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tailcall_audit import Catalog, State
from tailcall_audit.analyzer.kernelfiles.installed import find_installed, installed_kernels
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.pipeline import audit_sources
from tailcall_audit.analyzer.subjects.subject import Request
from tests.kernels import package_file
from tests.rpms import FIRST, RHEL, rpm, rpm_database
from tests.subjects.test_metapackages import CHAINS

F = State.FIXED


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A root with two of Debian's kernels unpacked and registered, the older one running."""
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "proc").mkdir()
    status = []
    for package, version in (
        ("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3"),
        ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    ):
        path = package_file(package, version)
        if version not in path.name:
            pytest.skip(f"the mirror no longer has {package} {version}")
        subprocess.run(["dpkg-deb", "-x", str(path), str(root)], check=True)
        control = subprocess.run(["dpkg-deb", "-f", str(path)], check=True, capture_output=True, text=True).stdout
        status.append(control.replace("\nVersion:", "\nStatus: install ok installed\nVersion:", 1).strip())
    status.append(
        "Package: linux-image-cloud-amd64\nStatus: install ok installed\nVersion: 6.1.192-2\nArchitecture: amd64\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)"
    )
    status.append(
        "Package: linux-image-6.1.0-40-cloud-amd64\nStatus: deinstall ok config-files\nVersion: 6.1.153-1\nArchitecture: amd64"
    )
    (root / "var/lib/dpkg/status").write_text("\n\n".join(status) + "\n")
    (root / "proc/version").write_text(
        "Linux version 6.1.0-47-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0) "
        "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)\n"
    )
    return root


def test_installed_kernels_are_found_with_their_files(scratch: Path) -> None:
    found = installed_kernels(scratch)
    assert [(package.name, package.version) for package in found] == [
        ("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3"),
        ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    ]
    assert all(package.changelog and package.config and package.image for package in found)
    assert find_installed("linux-image-cloud-amd64", scratch).name == "linux-image-6.1.0-56-cloud-amd64"
    assert find_installed("linux-image-6.1.0-47-cloud-amd64=6.1.170-3", scratch).version == "6.1.170-3"
    with pytest.raises(AuditError, match=r"installed: linux-image-6\.1\.0-47-cloud-amd64 6\.1\.170-3"):
        find_installed("linux-image-6.1.0-40-cloud-amd64", scratch)


def test_installed_metapackages_of_proxmox_are_followed_and_are_no_kernels(tmp_path: Path) -> None:
    chain = CHAINS[1]
    rows = [
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\nDepends: {depends}"
        for name, version, depends in (*chain, CHAINS[0][0])
    ]
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text("\n\n".join(rows) + "\n")
    assert [package.name for package in installed_kernels(tmp_path)] == [chain[-1][0]]
    assert installed_kernels(tmp_path)[0].release == "6.8.12-15-pve"
    for name, *_ in chain[:-1]:
        assert find_installed(name, tmp_path).name == chain[-1][0]
    with pytest.raises(AuditError, match="holds no kernel itself"):
        find_installed("pve-kernel-5.15", tmp_path)


def test_a_pending_reboot_is_said(scratch: Path, catalog: Catalog) -> None:
    defects = catalog.defects
    reports = audit_sources(Request(catalog, defects, root=str(scratch)), [("installed", "")]).targets
    assert [report.name.endswith("(running)") for report in reports] == [True, False]
    assert (
        reports[0]
        .notes[0]
        .startswith("a reboot is pending: linux-image-6.1.0-56-cloud-amd64 6.1.192-2 is installed and fixes")
    )
    assert "freplace-loop (pitfall 6)" in reports[0].notes[0]


def test_without_a_package_manager_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="neither dpkg's database nor RPM's is here"):
        installed_kernels(tmp_path)


def test_kernels_of_an_rpm_database_are_found_and_the_running_one_is_marked(tmp_path: Path, catalog: Catalog) -> None:
    old = rpm(
        tmp_path / "old",
        "* Fri Jan 05 2024 A B <a@redhat.com> [5.14.0-362.18.1.el9_3]\n- x: y (A B)\n" + FIRST,
        release="362.18.1.el9_3",
    )
    new = rpm(tmp_path / "new", RHEL + FIRST)
    root = rpm_database(tmp_path / "root", old, new)
    (root / "proc").mkdir()
    (root / "proc/version").write_text(
        "Linux version 5.14.0-362.18.1.el9_3.x86_64 (mockbuild@x) (gcc) #1 SMP PREEMPT_DYNAMIC x"
    )
    assert [item.version for item in installed_kernels(root)] == ["5.14.0-362.18.1.el9_3", "5.14.0-427.13.1.el9_4"]
    assert find_installed("kernel-core", root).version == "5.14.0-427.13.1.el9_4"
    assert find_installed("kernel-core=5.14.0-362.18.1.el9_3", root).version == "5.14.0-362.18.1.el9_3"
    defects = catalog.find("x86-trampoline-loop")
    first, second = audit_sources(Request(catalog, defects, root=str(root)), [("installed", "")]).targets
    assert first.name == "kernel-core 5.14.0-362.18.1.el9_3 (running)"
    assert second.name == "kernel-core 5.14.0-427.13.1.el9_4"
    assert second.states["x86-trampoline-loop"] is F
    assert first.states["x86-trampoline-loop"] is not F
    with pytest.raises(AuditError, match="neither a file nor an installed kernel package"):
        find_installed("kernel-nothing", root)
