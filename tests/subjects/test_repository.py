"""Repositories: RPM's repodata made by createrepo_c, and Debian's Packages files; on disk and on the web."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tailcall_audit import AuditError, State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.json import report_schema_path
from tailcall_audit.analyzer.policy.series import first_fixed
from tailcall_audit.analyzer.subjects.repository import read_repository
from tailcall_audit.analyzer.web.fetch import Fetcher
from tests import zstd
from tests.rpms import FIRST, RHEL, rpm
from tests.web.servers import Answer, Web, serve

A, F, U = State.AFFECTED, State.FIXED, State.UNKNOWN
OLD = "* Fri Jan 05 2024 A B <a@redhat.com> [5.14.0-362.18.1.el9_3]\n- x: y (A B)\n"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "http"))
    with serve() as server:
        yield server


def kernels(place: str) -> list[str]:
    found = read_repository(place, Fetcher(pause=0.01), lambda _: None).kernels
    return [f"{kernel.name} {kernel.version} {kernel.architecture}" for kernel in found]


def createrepo(tmp_path: Path, *options: str) -> Path:
    """A repository with two builds of RHEL's 5.14, of which the newer lists the fix of pitfall 3."""
    if shutil.which("createrepo_c") is None:
        pytest.skip("no createrepo_c on this machine: install the package createrepo-c")
    packages = tmp_path / "repository"
    packages.mkdir()
    shutil.copy(rpm(tmp_path / "new", RHEL + OLD + FIRST), packages)
    shutil.copy(rpm(tmp_path / "old", OLD + FIRST, release="362.18.1.el9_3"), packages)
    shutil.copy(rpm(tmp_path / "headers", RHEL, name="kernel-headers"), packages)
    subprocess.run(
        ["createrepo_c", "--quiet", "--no-database", *options, str(packages)], check=True, capture_output=True
    )
    return packages


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_rhel_9_4_in_a_repository_is_the_first_without_pitfall_3(tmp_path: Path, compression: str) -> None:
    repository = createrepo(tmp_path, "--changelog-limit", "1000", f"--general-compress-type={compression}")
    report = audit(repository=str(repository), only=["x86-trampoline-loop"])
    assert [target.name for target in report.targets] == [
        "kernel-core 5.14.0-362.18.1.el9_3",
        "kernel-core 5.14.0-427.13.1.el9_4",
    ]
    assert [target.states["x86-trampoline-loop"] for target in report.targets] == [A, F]
    assert [tuple(item) for item in report.first_fixed] == [
        ("kernel-core x86_64", "x86-trampoline-loop", "kernel-core 5.14.0-427.13.1.el9_4")
    ]


def test_a_trimmed_changelog_of_a_repository_proves_no_absence(tmp_path: Path) -> None:
    repository = createrepo(tmp_path, "--changelog-limit", "1")
    report = audit(repository=str(repository / "repodata/repomd.xml"), only=["x86-trampoline-loop"])
    # The newer build is one that the catalogue knows to have the fix (RHEL's own changelog, entry 5.14.0-425.el9).
    assert [target.states["x86-trampoline-loop"] for target in report.targets] == [U, F]
    hierarchy = audit(repository=str(repository), only=["x86-hierarchy"])
    assert [target.states["x86-hierarchy"] for target in hierarchy.targets] == [U, U]
    assert hierarchy.first_fixed[0].version is None


def test_a_repository_on_the_web_is_read_from_its_root_or_its_repodata(tmp_path: Path, web: Web) -> None:
    repository = createrepo(tmp_path)
    for path in (repository / "repodata").iterdir():
        web.answers[f"/os/repodata/{path.name}"] = Answer(path.read_bytes())
    expected = ["kernel-core 5.14.0-362.18.1.el9_3 x86_64", "kernel-core 5.14.0-427.13.1.el9_4 x86_64"]
    for place in ("/os", "/os/", "/os/repodata", "/os/repodata/repomd.xml"):
        assert kernels(web.url + place) == expected
    with pytest.raises(AuditError, match=r"/nowhere/repodata/repomd\.xml: the server says 404; name the folder above"):
        kernels(f"{web.url}/nowhere")


def test_a_server_in_trouble_is_not_asked_for_every_file(web: Web) -> None:
    web.answers["/os/repodata/repomd.xml"] = Answer(status=503)
    with pytest.raises(AuditError, match="cannot fetch: the server says 503"):
        kernels(f"{web.url}/os")
    assert {path for path, _ in web.requests} == {"/os/repodata/repomd.xml"}


def test_changelogs_that_are_not_those_named_are_refused(tmp_path: Path) -> None:
    repository = createrepo(tmp_path)
    (other,) = (repository / "repodata").glob("*other.xml*")
    other.write_bytes(gzip.compress(b"<otherdata/>"))
    with pytest.raises(AuditError, match="its checksum differs"):
        kernels(str(repository))


def repomd(tmp_path: Path, other: bytes, href: str = "repodata/other.xml") -> str:
    folder = tmp_path / "repodata"
    folder.mkdir(exist_ok=True)
    (folder / "other.xml").write_bytes(other)
    checksum = hashlib.sha256(other).hexdigest()
    (folder / "repomd.xml").write_text(
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other"><checksum type="sha256">{checksum}</checksum>'
        f'<location href="{href}"/></data></repomd>'
    )
    return str(tmp_path)


def test_zstd_of_a_newer_createrepo_is_read(tmp_path: Path) -> None:
    (made,) = (createrepo(tmp_path) / "repodata").glob("*other.xml.gz")
    packed = zstd.compress(gzip.decompress(made.read_bytes()))
    assert len(kernels(repomd(tmp_path, packed))) == 2


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<otherdata xmlns="http://linux.duke.edu/metadata/other">&b;</otherdata>'
)


@pytest.mark.parametrize(
    "other", [BOMB, b"", b"<otherdata", b"\x1f\x8bbroken", b"\xfd7zXZ\0broken", b"\xff\xfe\0", b"<a/>"]
)
def test_hostile_changelogs_of_a_repository_are_one_clear_error(tmp_path: Path, other: bytes) -> None:
    with pytest.raises(AuditError):
        kernels(repomd(tmp_path, other))


@pytest.mark.parametrize("href", ["/etc/passwd", "../../etc/passwd", "http://127.0.0.1:9/x", ""])
def test_a_repository_that_points_elsewhere_is_refused(tmp_path: Path, href: str) -> None:
    with pytest.raises(AuditError, match=r"outside of the repository|names no file of changelogs"):
        kernels(repomd(tmp_path, b"<otherdata/>", href))


def test_garbage_for_a_repomd_never_raises_anything_else(tmp_path: Path) -> None:
    place = Path(repomd(tmp_path, b"<otherdata/>")) / "repodata/repomd.xml"
    data, generator = place.read_bytes(), random.Random(1)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(3):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        place.write_bytes(broken)
        with pytest.raises(AuditError):
            kernels(str(place))


def stanza(name: str, version: str, arch: str = "amd64") -> str:
    return f"Package: {name}\nSource: linux\nVersion: {version}\nArchitecture: {arch}\nDescription: x\n y\n\n"


PACKAGES = (
    "Package: bash\nVersion: 5.2\nArchitecture: amd64\n\n"
    + stanza("linux-image-6.1.0-56-amd64-dbg", "6.1.192-2")
    + stanza("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")
    + stanza("linux-image-6.1.0-56-amd64", "6.1.192-2")
    + stanza("linux-headers-6.1.0-56-amd64", "6.1.192-2")
    + stanza("linux-image-amd64", "6.1.192-2")
    + stanza("linux-image-6.1-amd64", "6.1.192-2")
    + stanza("linux-image-6.1.0-9-amd64", "6.1.27-1")
    + stanza("linux-image-6.1.0-47-amd64", "6.1.170-3")
)


@pytest.mark.parametrize("name", ["Packages", "Packages.gz"])
def test_debian_6_1_192_is_the_first_without_pitfall_6(tmp_path: Path, name: str) -> None:
    data = PACKAGES.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    report = audit(repository=str(tmp_path), only=["freplace-loop", "x86-trampoline-loop"])
    assert [target.name for target in report.targets] == [
        "linux-image-6.1.0-9-amd64 6.1.27-1",
        "linux-image-6.1.0-47-amd64 6.1.170-3",
        "linux-image-6.1.0-56-amd64 6.1.192-2",
    ]
    assert [target.states["freplace-loop"] for target in report.targets] == [A, A, F]
    assert {item.defect: item.version for item in report.first_fixed} == {
        "freplace-loop": "linux-image-6.1.0-56-amd64 6.1.192-2",
        "x86-trampoline-loop": "linux-image-6.1.0-47-amd64 6.1.170-3",
    }


def test_ubuntu_versions_of_a_packages_file_are_no_stable_releases(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(stanza("linux-image-6.8.0-35-generic", "6.8.0-35.35"))
    (target,) = audit(repository=str(tmp_path), only=["x86-hierarchy"]).targets
    assert target.identity["distro"] == "ubuntu"
    # Not 6.8.35: the shipped survey of noble has the fix from 6.8.0-53.55.
    assert target.states == {"x86-hierarchy": A}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nor a Packages file"),
        ("nothing", "nor a Packages file"),
        ("Package: bash\nVersion: 1\n", "no kernel in this repository"),
        (stanza("linux-image-6.1.0-9-amd64", "\x1b[31m"), "not the version of a Debian package"),
    ],
)
def test_a_packages_file_without_kernels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "Packages").write_text(text)
    with pytest.raises(AuditError, match=re.escape(message)):
        kernels(str(tmp_path))


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"no repodata/repomd\.xml, no Packages file"):
        kernels(str(tmp_path))
    with pytest.raises(AuditError, match="no such file or folder"):
        kernels(str(tmp_path / "gone"))


def test_a_folder_that_is_removed_while_it_is_read_costs_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "bookworm/main/binary-amd64"
    suite.mkdir(parents=True)
    (suite / "Packages").write_text(PACKAGES)
    (tmp_path / "gone").mkdir()
    scandir = os.scandir

    def found(path: str) -> Any:
        if str(path).endswith("/gone"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", found)
    assert "linux-image-6.1.0-47-amd64 6.1.170-3 amd64" in kernels(str(tmp_path))


def test_the_table_of_a_repository_has_a_row_a_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Packages").write_text(PACKAGES)
    assert main(["--repo", str(tmp_path), "--pitfalls"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KERNEL", "1", "2", "3", "4", "5-panic", "5-refused", "6"]
    row = next(line for line in lines if line.startswith("linux-image-6.1.0-47-amd64 6.1.170-3"))
    assert row.split()[2:] == ["x86_64", "fixed", "fixed", "fixed", "AFFECTED", "fixed", "fixed", "AFFECTED"]
    assert main(["--repo", str(tmp_path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(report_schema_path().read_text()))
    assert {
        "kernel": "linux amd64",
        "defect": "freplace-loop",
        "version": "linux-image-6.1.0-56-amd64 6.1.192-2",
    } in data["first_fixed"]


def test_a_version_that_lost_the_fix_again_is_not_the_first(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(PACKAGES)
    targets = audit(repository=str(tmp_path), only=["freplace-loop"]).targets
    first = first_fixed("linux amd64", [targets[2], targets[1]])
    assert first[0].version is None


def test_a_row_that_cannot_be_audited_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        stanza("linux-image-6.1.0-90-alpha-generic", "6.1.192-2", "alpha"),
        stanza("linux-image-6.1.0-90-zz", "6.1.192-2", "zz"),
        stanza("linux-image-6.1.0-91-amd64", "6.1:2:3_!"),
    ]
    (tmp_path / "Packages").write_text(PACKAGES + "".join(rows))
    report = audit(repository=str(tmp_path), only=["freplace-loop", "x86-hierarchy"])
    architectures = {target.name: target.identity["architecture"] for target in report.targets}
    assert len(architectures) == 5
    assert architectures["linux-image-6.1.0-90-alpha-generic 6.1.192-2"] == "alpha"
    assert architectures["linux-image-6.1.0-90-zz 6.1.192-2"] is None
    assert [item.reason for item in report.skipped] == [
        f"{tmp_path}/Packages: linux-image-6.1.0-91-amd64: not the version of a Debian package: '6.1:2:3_!'"
    ]
    # The version that is not read may be the newest, and may have every defect.
    assert {item.version for item in report.first_fixed if item.kernel == "linux amd64"} == {None}
    assert main(["--repo", str(tmp_path), "--only", "freplace-loop"]) == 1
    captured = capsys.readouterr()
    assert "linux-image-6.1.0-47-amd64 6.1.170-3" in captured.out
    assert captured.out.count("skipped: ") == 1
    assert captured.err == ""


@pytest.mark.parametrize(
    "attributes",
    ['ver="5.14.0&#10;1" rel="2"', 'ver="" rel=""', 'ver="x" rel="y"'],
)
def test_versions_that_are_none_cost_no_other_row_of_a_repodata(tmp_path: Path, attributes: str) -> None:
    other = (
        '<otherdata xmlns="http://linux.duke.edu/metadata/other">'
        f'<package name="kernel-core" arch="x86_64"><version {attributes}/></package>'
        '<package name="kernel-core" arch="x86_64"><version ver="5.14.0" rel="427.el9"/>'
        '<changelog author="A &lt;a@b&gt; [5.14.0-427.el9]" date="\N{SUPERSCRIPT TWO}">- x</changelog></package></otherdata>'
    )
    place = repomd(tmp_path, other.encode())
    try:
        report = audit(repository=place)
    except AuditError as error:
        assert "not versions of RPM" in str(error)
        return
    assert [target.name for target in report.targets] == ["kernel-core 5.14.0-427.el9"]
    assert len(report.skipped) == 1


def test_one_of_several_targets_that_cannot_be_audited_costs_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--kernel", "6.1.170", "--kernel", "nonsense", "--kernel", "6.12.117", "--arch", "x86_64"]) == 1
    captured = capsys.readouterr()
    assert "6.1.170 \N{MIDDLE DOT}" in captured.out
    assert "6.12.117 \N{MIDDLE DOT}" in captured.out
    assert "skipped: 'nonsense': " in captured.out
    assert captured.err == ""
    assert main(["--kernel", "nonsense", "--kernel", "rubbish"]) == 2
    assert capsys.readouterr().out == ""
