"""Packages that are not at hand, judged by the changelog that their distribution publishes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailcall_audit import AuditError, State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.web.publication import find_publication, host_distribution
from tests.kernels import package_file
from tests.web.servers import Answer, Web, serve


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "http"))
    with serve() as server:
        monkeypatch.setenv("TAILCALL_AUDIT_DEBIAN_CHANGELOGS", f"{server.url}/debian/")
        monkeypatch.setenv("TAILCALL_AUDIT_UBUNTU_CHANGELOGS", f"{server.url}/ubuntu")
        yield server


@pytest.mark.parametrize(
    ("package", "distribution", "path"),
    [
        ("linux-image-6.1.0-47-amd64=6.1.170-3", "debian", "/debian/main/l/linux/linux_6.1.170-3_changelog"),
        ("linux-image-6.1.0-47-amd64=6.1.170+3", "debian:bookworm", "/debian/main/l/linux/linux_6.1.170-3_changelog"),
        ("linux-image-amd64", "debian:bookworm", "/debian/main/l/linux/bookworm_changelog"),
        ("linux-image-6.8.0-35-generic=6.8.0-35.35", "ubuntu", "/ubuntu/pool/main/l/linux/linux_6.8.0-35.35/changelog"),
        (
            "linux-image-unsigned-6.8.0-35-generic=6.8.0-35.35~22.04.1",
            "Ubuntu:jammy",
            "/ubuntu/pool/main/l/linux-hwe-6.8/linux-hwe-6.8_6.8.0-35.35~22.04.1/changelog",
        ),
        (
            "linux-image-6.8.0-1009-aws=6.8.0-1009.9",
            "ubuntu",
            "/ubuntu/pool/main/l/linux-aws/linux-aws_6.8.0-1009.9/changelog",
        ),
        (
            "linux-image-6.5.0-1020-aws=6.5.0-1020.20~22.04.1",
            "ubuntu",
            "/ubuntu/pool/main/l/linux-aws-6.5/linux-aws-6.5_6.5.0-1020.20~22.04.1/changelog",
        ),
        (
            "linux-image-6.8.0-1009-aws-64k=6.8.0-1009.9",
            "ubuntu",
            "/ubuntu/pool/main/l/linux-aws/linux-aws_6.8.0-1009.9/changelog",
        ),
        # linux-azure's build of this number is another kernel.
        (
            "linux-image-unsigned-6.8.0-1010-azure-nvidia=6.8.0-1010.10",
            "ubuntu",
            "/ubuntu/pool/main/l/linux-azure-nvidia/linux-azure-nvidia_6.8.0-1010.10/changelog",
        ),
        (
            "linux-image-6.8.0-2005-raspi-realtime=6.8.0-2005.5~22.04.1",
            "ubuntu",
            "/ubuntu/pool/main/l/linux-raspi-realtime-6.8/linux-raspi-realtime-6.8_6.8.0-2005.5~22.04.1/changelog",
        ),
    ],
)
def test_the_address_of_a_changelog(web: Web, package: str, distribution: str, path: str) -> None:
    assert find_publication(package, distribution, shipped_catalog()).url == web.url + path


@pytest.mark.parametrize(
    ("package", "distribution", "message"),
    [
        ("linux-image-6.1.0-47-amd64", "debian", "give linux-image-6.1.0-47-amd64=VERSION"),
        ("linux-image-amd64", "debian", "distro=debian:bookworm"),
        ("linux-image-6.8.0-35-generic", "ubuntu", "=VERSION"),
        ("kernel-core", "fedora:44", "Fedora lists no subjects"),
        ("kernel-core", "rocky", "repository=URL"),
        ("kernel-default", "opensuse-tumbleweed", "`rpm -q --changelog kernel-default`"),
        ("kernel", "bottlerocket", "`rpm -q --changelog kernel`"),
        ("linux", "archlinux", "--kernel 6.9.3-arch1-1"),
        ("linux-lts", "alpine", "the package version is the stable release"),
        ("linux", "haiku", "not a distribution that this tool knows"),
        ("../../etc=1", "debian", "not the name of a package"),
        ("linux=1/../../x", "debian", "not the name of a package"),
        ("linux-image-amd64", "debian:../x", "not the name of a release"),
    ],
)
def test_what_is_not_published_says_what_to_do_instead(package: str, distribution: str, message: str) -> None:
    with pytest.raises(AuditError, match=re.escape(message)):
        find_publication(package, distribution, shipped_catalog())


def test_a_mirror_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_DEBIAN_CHANGELOGS", "file:///etc")
    with pytest.raises(AuditError, match="not an http or https address"):
        find_publication("linux=6.1.170-3", "debian", shipped_catalog())


def test_debian_6_1_170_that_is_not_installed_is_judged_by_its_published_changelog(web: Web) -> None:
    package = read_package(str(package_file("linux-image-6.1.0-47-cloud-amd64-unsigned", "6.1.170-3")))
    assert package.changelog is not None
    web.answers["/debian/main/l/linux/linux_6.1.170-3_changelog"] = Answer(package.changelog[1])
    for name in ("linux-image-6.1.0-47-cloud-amd64=6.1.170-3", "linux-image-6.1.0-47-cloud-amd64=6.1.170+3"):
        report = audit(packages=[name], distro="debian").targets[0]
        assert report.identity["architecture"] == "x86_64"
        assert report.states["freplace-loop"] is State.AFFECTED
        assert report.states["x86-trampoline-loop"] is State.FIXED
        assert any("is not installed here" in note for note in report.notes)
    changelog = f"{web.url}/debian/main/l/linux/linux_6.1.170-3_changelog"
    again = audit(changelog=changelog, package_version="6.1.170-3", arch="amd64", offline=True).targets[0]
    assert again.states == report.states
    assert any("(offline)" in note for note in again.notes)
    cited = [item.citation for verdict in again.verdicts for item in verdict.evidence if item.kind.value == "changelog"]
    assert cited
    assert all(re.fullmatch(rf"{re.escape(changelog)}:\d+", citation) for citation in cited)


def test_an_unreachable_mirror_is_exit_code_2_with_the_address(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--package", "linux-image-6.1.0-99-amd64=6.1.999-1", "--distro", "debian"]) == 2
    error = capsys.readouterr().err
    assert f"{web.url}/debian/main/l/linux/linux_6.1.999-1_changelog: the server says 404" in error
    assert "--changelog FILE" in error
    assert error.count("\n") == 1


def test_this_hosts_distribution_is_read_from_os_release(tmp_path: Path) -> None:
    assert host_distribution(tmp_path) is None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Debian"\nID=debian\nVERSION_CODENAME=bookworm\n')
    assert host_distribution(tmp_path) == "debian:bookworm"
    (tmp_path / "etc/os-release").write_text('ID="fedora"\nVERSION_ID=44\n')
    assert host_distribution(tmp_path) == "fedora"


@pytest.mark.parametrize(
    "arguments",
    [["--distro", "debian"], ["--offline", "--refresh"], ["--repo", "x", "--package", "y"], ["--repo", "/nowhere"]],
)
def test_wrong_combinations_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("tailcall-audit: ")
