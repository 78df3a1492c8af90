"""Real RPMs for the tests, made by rpmbuild."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

RHEL = (
    "* Mon Mar 04 2024 Scott Weaver <scweaver@redhat.com> [5.14.0-427.13.1.el9_4]\n- net: x (A B) [RHEL-1]\n\n"
    "* Wed Feb 21 2024 Scott Weaver <scweaver@redhat.com> [5.14.0-425.el9]\n"
    "- bpf, x64: Fix tailcall infinite loop (Felix Maurer) [RHEL-21459]\n"
)
FIRST = "\n* Mon Aug 30 2021 A B <a@redhat.com> [5.14-1]\n- base (A B)\n"


def rpm(
    folder: Path,
    changelog: str,
    name: str = "kernel-core",
    release: str = "427.13.1.el9_4",
    files: Mapping[str, str | bytes] | None = None,
    payload: str | None = None,
) -> Path:
    """Build a package with a kernel image, `files` beside it, and `payload` as rpmbuild spells its compression."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("no rpmbuild on this machine: install the package rpm")
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "kernel.spec"
    modules = f"/lib/modules/5.14.0-{release}.x86_64"
    for place, text in (files or {}).items():
        (folder / place).write_bytes(text.encode() if isinstance(text, str) else text)
    copies = "".join(f"cp {folder}/{place} %{{buildroot}}{modules}/{place}\n" for place in files or {})
    spec.write_text(
        f"Name: {name}\nVersion: 5.14.0\nRelease: {release}\nSummary: x\nLicense: GPL\n%description\nx\n"
        f"%install\nmkdir -p %{{buildroot}}{modules}\ntouch %{{buildroot}}{modules}/vmlinuz\n{copies}"
        f"%files\n{modules}\n%changelog\n{changelog}"
    )
    defines = ["--define", f"_topdir {folder}/top", "--define", "_build_id_links none"]
    defines += ["--define", f"_binary_payload {payload}"] if payload else []
    command = ["rpmbuild", "--quiet", "-bb", "--target", "x86_64", *defines, str(spec)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = (folder / "top/RPMS").rglob("*.rpm")
    return made


def rpm_database(root: Path, *packages: Path, form: str | None = None) -> Path:
    """A root with an RPM database that says these packages are installed; nothing is unpacked. `form` is one of rpm's
    backends, which may not be all in this machine's rpm.
    """
    database = root / "var/lib/rpm"
    database.mkdir(parents=True)
    for package in packages:
        command = [
            "rpm",
            "--dbpath",
            str(database),
            "-i",
            "--justdb",
            "--nodeps",
            "--noscripts",
            "--ignorearch",
            *(("--define", f"_db_backend {form}") if form is not None else ()),
            str(package),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if form is not None and f"invalid %_db_backend: {form}" in done.stderr:
            pytest.skip(f"this machine's rpm writes no {form}")
        assert done.returncode == 0, done.stderr
    return root
