"""Debian packages from the mirror, signed and unsigned, and files that are none."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import AuditError
from tests.debs import CHANGELOG, CONTROL, deb, tar
from tests.kernels import SIX, package_file

A, F = State.AFFECTED, State.FIXED


@pytest.mark.parametrize("package", ["linux-image-6.1.0-47-cloud-amd64", "linux-image-6.1.0-47-cloud-amd64-unsigned"])
def test_debian_6_1_170_is_affected_by_pitfall_6(package: str) -> None:
    path = package_file(package, "6.1.170-3")
    found = read_package(str(path))
    assert (found.version, found.architecture) == ("6.1.170-3", "amd64")
    assert found.image == "boot/vmlinuz-6.1.0-47-cloud-amd64"
    assert found.config is not None
    report = audit(packages=[str(path)]).targets[0]
    assert report.identity["architecture"] == "x86_64"
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert tuple(states[slug] for slug in SIX) == (F, F, F, A, F, A)
    listed = [item for verdict in report.verdicts for item in verdict.evidence if item.kind.value == "changelog"]
    assert {item.commit for item in listed} >= {"1c123c567fb1", "2b5dcb31a19a", "f7866c358733", "fdad456cbcca"}


def test_debian_6_12_117_has_none_of_the_six() -> None:
    path = package_file("linux-source-6.12", "6.12.117-1")
    report = audit(packages=[str(path)], arch="x86_64").targets[0]
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert {states[slug] for slug in SIX} == {F}


def test_a_made_package_is_read(tmp_path: Path) -> None:
    path = deb(
        tmp_path,
        lzma.compress(
            tar(
                {
                    "./usr/share/doc/linux-image-6.1.0-47-amd64/changelog.Debian": CHANGELOG,
                    "./boot/vmlinuz-6.1.0-47-amd64": b"x",
                }
            )
        ),
    )
    found = read_package(path)
    assert found.changelog is not None
    assert found.changelog[1] == CHANGELOG


def test_absolute_names_parents_and_links_are_not_followed(tmp_path: Path) -> None:
    links = {"./usr/share/doc/x/changelog.gz": "/etc/passwd"}
    found = read_package(deb(tmp_path, lzma.compress(tar({"/etc/passwd": b"x"}, links))))
    assert (found.changelog, found.config, found.image) == (None, None, None)
    for name in ("../../usr/share/doc/x/changelog", "./boot/../boot/config-1"):
        with pytest.raises(AuditError, match="a name that leads out of the package"):
            read_package(deb(tmp_path, lzma.compress(tar({name: b"x"}))))


def test_without_a_changelog_the_version_decides(tmp_path: Path) -> None:
    report = audit(
        packages=[deb(tmp_path, lzma.compress(tar({"./boot/vmlinuz-x": b"x"})))], only=["freplace-loop"]
    ).targets[0]
    assert report.verdicts[0].state is A
    assert any("no changelog" in note for note in report.notes)


def test_a_bomb_a_zip_and_truncated_data_are_errors(tmp_path: Path) -> None:
    compressor = lzma.LZMACompressor()
    head = tarfile.TarInfo("./boot/zeros")
    head.size = 3 << 30
    bomb = compressor.compress(head.tobuf())
    block = b"\0" * (64 << 20)
    bomb += b"".join(compressor.compress(block) for _ in range(40)) + compressor.flush()
    with pytest.raises(AuditError, match="unpacks to more than 250 times its size"):
        read_package(deb(tmp_path, bomb))
    with zipfile.ZipFile(tmp_path / "z.deb", "w") as archive:
        archive.writestr("a", "b")
    good = Path(deb(tmp_path, lzma.compress(tar({"./boot/vmlinuz-x": b"x" * 5000})))).read_bytes()
    for name, content in {
        "z.deb": (tmp_path / "z.deb").read_bytes(),
        "cut.deb": good[:-40],
        "empty.deb": b"",
        "noise.deb": b"\xff" * 5000,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AuditError) as error:
            read_package(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_package_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="bash is no kernel package"):
        read_package(deb(tmp_path, b"", CONTROL.replace(b"linux-image-6.1.0-47-amd64", b"bash")))
    with pytest.raises(AuditError, match="no such file"):
        read_package(str(tmp_path / "nowhere.deb"))
    with pytest.raises(AuditError, match=r"compressed in a way|broken"):
        read_package(deb(tmp_path, b"x", name="data.tar.lzo"))
