"""User-mode Linux, as Debian packages it: a kernel that runs as a program, with the code of no architecture and no JIT."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.model import AuditError, Rule
from tests.kernels import package_file


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's user-mode-linux, unpacked."""
    package = package_file("user-mode-linux")
    target = tmp_path_factory.mktemp("uml")
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True, timeout=300)
    return target


def test_case_17_the_program_is_refused_as_user_mode_linux(unpacked: Path) -> None:
    with pytest.raises(AuditError, match=r"user-mode Linux \(ARCH=um\)"):
        audit(images=[str(unpacked / "usr/bin/linux.uml")])


def test_case_17_the_package_is_refused() -> None:
    with pytest.raises(AuditError, match="user-mode-linux"):
        audit(packages=[str(package_file("user-mode-linux"))])


def test_case_17_the_configuration_is_of_a_kernel_without_a_jit(unpacked: Path) -> None:
    path = unpacked / "usr/share/doc/user-mode-linux/config.gz"
    found = audit(config=str(path)).targets[0]
    assert found.identity["architecture"] == "um"
    assert State.AFFECTED not in found.states.values()
    by_slug = {item.defect.slug: item.rule for item in found.verdicts}
    assert by_slug["x86-hierarchy"] is Rule.OTHER_ARCHITECTURE
    assert by_slug["freplace-loop"] is Rule.CONFIG_EXCLUDES


def test_case_17_the_configuration_of_an_affected_release_excludes_what_needs_a_jit(
    unpacked: Path, tmp_path: Path
) -> None:
    """6.1.176 is Debian's bookworm; its own configuration has the same options off."""
    text = gzip.decompress((unpacked / "usr/share/doc/user-mode-linux/config.gz").read_bytes()).decode()
    lines = [
        "# Linux/um 6.1.176 Kernel Configuration" if line.startswith("# Linux/um") else line
        for line in text.split("\n")
    ]
    (tmp_path / "config").write_text("\n".join(lines))
    slugs = ("x86-hierarchy", "freplace-loop")
    found = audit(config=str(tmp_path / "config"), only=slugs).targets[0].states
    assert set(found.values()) == {State.NOT_AFFECTED}
    asked = audit(config=str(tmp_path / "config"), only=slugs, arch="x86_64").targets[0]
    assert set(asked.states.values()) == {State.AFFECTED}  # of an x86 kernel of that version it excludes nothing
    assert any("Linux/um" in note for note in asked.notes)
