"""Debian packages from the mirror, signed and unsigned, and files that are none."""

from __future__ import annotations

import io
import lzma
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tailcall_audit import Catalog, State, audit
from tailcall_audit.analyzer.kernelfiles.deb import installed_image, kernel_dependency
from tailcall_audit.analyzer.kernelfiles.installed import find_installed, installed_kernels
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.pipeline import audit_sources
from tailcall_audit.analyzer.subjects.subject import Request
from tests.kernels import SIX, package_file
from tests.rpms import FIRST, RHEL, rpm, rpm_database

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


def test_a_metapackage_and_headers_are_refused_with_the_reason(tmp_path: Path) -> None:
    alone = tmp_path / "metapackage.deb"
    shutil.copy(package_file("linux-image-cloud-amd64"), alone)
    with pytest.raises(AuditError, match=r"metapackage: audit linux-image-\S+ \(\S+\), which it depends on"):
        read_package(str(alone))
    with pytest.raises(AuditError, match="holds no kernel"):
        read_package(str(package_file("linux-libc-dev")))


def test_debian_metapackage_6_1_192_is_followed_to_the_file_beside_it(tmp_path: Path) -> None:
    kernel = package_file("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")
    metapackage = package_file("linux-image-cloud-amd64", "6.1.192-2")
    for file in (kernel, metapackage):
        (tmp_path / file.name).symlink_to(file)
    report = audit(packages=[str(tmp_path / metapackage.name)]).targets[0]
    assert report.name == "linux-image-6.1.0-56-cloud-amd64 6.1.192-2"
    assert {item.defect.slug: item.state for item in report.verdicts}["freplace-loop"] is F
    assert (
        f"linux-image-cloud-amd64 is a metapackage: this is the kernel that it depends on, {tmp_path}/{kernel.name}"
        in (report.notes)
    )


METAPACKAGE = b"Package: linux-image-amd64\nVersion: 6.1.170-3\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\nDepends: "


def beside(tmp_path: Path, version: bytes, depends: bytes) -> str:
    """A metapackage with these dependencies, next to a kernel of this version."""
    kernel = Path(deb(tmp_path, lzma.compress(tar({"./boot/vmlinuz-x": b"x"})), CONTROL.replace(b"6.1.170-3", version)))
    kernel.rename(tmp_path / f"linux-image-6.1.0-47-amd64_{version.decode()}_amd64.deb")
    return deb(tmp_path, lzma.compress(tar({})), METAPACKAGE + depends + b"\n")


def test_a_metapackage_is_not_followed_to_another_version(tmp_path: Path) -> None:
    path = beside(tmp_path, b"6.1.172-1", b"linux-image-6.1.0-47-amd64 (= 6.1.170-3)")
    with pytest.raises(AuditError, match="neither beside it nor installed"):
        read_package(path)


def test_a_metapackage_without_a_version_is_followed_unless_two_files_would_do(tmp_path: Path) -> None:
    depends = b"initramfs-tools | dracut, linux-image-6.1.0-47-amd64"
    found = read_package(beside(tmp_path, b"6.1.170-3", depends))
    assert (found.name, found.version, found.via) == ("linux-image-6.1.0-47-amd64", "6.1.170-3", "linux-image-amd64")
    with pytest.raises(AuditError, match="does not say which version it needs"):
        read_package(beside(tmp_path, b"6.1.172-1", depends))


def made(tmp_path: Path, name: str, version: str, depends: str = "", image: bool = False) -> str:
    """A package of this name; apt's own file name."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\n"
    control += f"Depends: {depends}\n" if depends else ""
    files = {"./boot/vmlinuz-x": b"x"} if image else {}
    path = Path(deb(tmp_path, lzma.compress(tar(files)), control.encode()))
    return str(path.rename(tmp_path / f"{name}_{version}_amd64.deb"))


CHAINS = (
    (
        ("pve-kernel-5.15", "7.4-15", "pve-kernel-5.15.158-2-pve, pve-firmware"),
        ("pve-kernel-5.15.158-2-pve", "5.15.158-2", ""),
    ),
    (
        ("proxmox-default-kernel", "1.1.0", "proxmox-kernel-6.8"),
        ("proxmox-kernel-6.8", "6.8.12-15", "proxmox-kernel-6.8.12-15-pve-signed | proxmox-kernel-6.8.12-15-pve"),
        ("proxmox-kernel-6.8.12-15-pve-signed", "6.8.12-15", ""),
    ),
    (
        ("linux-image-generic-hwe-22.04", "6.8.0-90.91~22.04.1", "linux-image-6.8.0-90-generic, linux-firmware"),
        ("linux-image-6.8.0-90-generic", "6.8.0-90.91~22.04.1", ""),
    ),
    (
        ("linux-image-6.12-amd64", "6.12.94-1", "linux-image-6.12.94+deb13-amd64 (= 6.12.94-1)"),
        ("linux-image-6.12.94+deb13-amd64", "6.12.94-1", ""),
    ),
)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_metapackage_with_a_number_in_its_name_is_followed(
    tmp_path: Path, chain: tuple[tuple[str, str, str], ...]
) -> None:
    """pve-kernel-5.15 7.4-15 holds no kernel, and 7.4 is none."""
    paths = [made(tmp_path, *package, image=package is chain[-1]) for package in chain]
    found = read_package(paths[0])
    assert (found.name, found.version, found.via) == (chain[-1][0], chain[-1][1], chain[0][0])
    Path(paths[-1]).unlink()
    with pytest.raises(AuditError, match="is a metapackage: audit "):
        read_package(paths[0])


def test_metapackages_that_lead_to_each_other_are_refused(tmp_path: Path) -> None:
    first = made(tmp_path, "pve-kernel-5.15", "7.4-15", "pve-kernel-5.13")
    made(tmp_path, "pve-kernel-5.13", "7.4-15", "pve-kernel-5.15")
    with pytest.raises(AuditError, match="is a metapackage"):
        read_package(first)


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("proxmox-kernel-6.8.12-15-pve-signed", "6.8.12-15-pve"),
        ("pve-kernel-5.15.158-2-pve", "5.15.158-2-pve"),
        ("linux-image-6.1.0-47-amd64-unsigned", "6.1.0-47-amd64"),
        ("pve-kernel-5.15", None),
        ("proxmox-kernel-6.8", None),
        ("linux-image-6.12-amd64", None),
    ],
)
def test_an_image_s_package_names_the_release_that_it_boots(name: str, release: str | None) -> None:
    assert installed_image(name) == release


@pytest.mark.parametrize(
    "depends", ["", "linux-image-6/../../x", "linux-image-6*", "(((", "linux-image-6.1 (=", "\n\n,,"]
)
def test_hostile_dependencies_lead_nowhere(depends: str) -> None:
    assert kernel_dependency(depends) is None


def test_a_dependency_with_terminal_escapes_is_not_printed_raw(tmp_path: Path) -> None:
    path = deb(tmp_path, lzma.compress(tar({})), METAPACKAGE + b"linux-image-6/\x1b[31mred, (((\n")
    # In a process of its own: under pytest a log handler is always there, and python-debian would stay silent anyway.
    command = [sys.executable, "-m", "tailcall_audit", "--package", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "cannot parse" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


CONTROL = b"Package: linux-image-6.1.0-47-amd64\nSource: linux\nVersion: 6.1.170-3\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\n"
CHANGELOG = b"linux (6.1.170-3) unstable; urgency=low\n\n  * x\n\n -- A <a@b.c>  Fri, 08 May 2026 21:59:49 +0200\n"


def deb(tmp_path: Path, data: bytes, control: bytes = CONTROL, name: str = "data.tar.xz") -> str:
    path = tmp_path / "x.deb"
    path.write_bytes(
        ar([("debian-binary", b"2.0\n"), ("control.tar.xz", lzma.compress(tar({"./control": control}))), (name, data)])
    )
    return str(path)


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


def test_an_rpm_is_read_by_its_header(tmp_path: Path) -> None:
    path = rpm(tmp_path, RHEL + FIRST)
    found = read_package(str(path))
    assert (found.name, found.version, found.architecture) == ("kernel-core", "5.14.0-427.13.1.el9_4", "x86_64")
    assert found.image == "lib/modules/5.14.0-427.13.1.el9_4.x86_64/vmlinuz"
    report = audit(packages=[str(path)]).targets[0]
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert states["x86-trampoline-loop"] is F
    assert states["x86-hierarchy"] is A
    listed = [item for verdict in report.verdicts for item in verdict.evidence if item.kind.value == "changelog"]
    assert any(item.commit == "2b5dcb31a19a" and "5.14.0-425.el9" in item.detail for item in listed)


def test_an_rpm_with_a_trimmed_changelog_proves_no_absence(tmp_path: Path) -> None:
    report = audit(packages=[str(rpm(tmp_path, RHEL))]).targets[0]
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert states["x86-trampoline-loop"] is F
    assert states["x86-hierarchy"] is State.UNKNOWN
    assert any("not complete" in note for note in report.notes)


def test_an_rpm_of_headers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="kernel-headers holds no kernel"):
        read_package(str(rpm(tmp_path, RHEL, "kernel-headers")))


def test_broken_rpms_are_one_clear_error(tmp_path: Path) -> None:
    good = rpm(tmp_path, RHEL).read_bytes()
    chance = random.Random(1)
    samples = [good[:size] for size in (4, 90, 100, 200, 1000, len(good) // 2)]
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(4, 3000)] = chance.randrange(256)
        samples.append(bytes(broken))
    path = tmp_path / "broken.rpm"
    for sample in samples:
        path.write_bytes(sample)
        try:
            audit(packages=[str(path)])
        except AuditError as error:
            assert "\n" not in str(error)


def test_the_configuration_of_an_rpm_is_read_from_its_payload(tmp_path: Path) -> None:
    text = "# CONFIG_BPF_JIT is not set\nCONFIG_BPF_SYSCALL=y\n"
    path = rpm(tmp_path, RHEL + FIRST, files={"config": text})
    found = read_package(str(path))
    assert found.config == ("/lib/modules/5.14.0-427.13.1.el9_4.x86_64/config", text.encode())
    states = audit(packages=[str(path)], only=["x86-count-offset"]).targets[0].states
    assert states == {"x86-count-offset": State.NOT_AFFECTED}


@pytest.mark.parametrize("payload", ["w9.gzdio", "w3.xzdio", "w3.zstdio", "w9.bzdio"])
def test_each_compression_of_a_payload_is_read(tmp_path: Path, payload: str) -> None:
    path = rpm(tmp_path, RHEL, files={"config": "CONFIG_BPF=y\n"}, payload=payload)
    found = read_package(str(path))
    assert found.config is not None
    assert found.config[1] == b"CONFIG_BPF=y\n"


def test_a_payload_that_is_cut_off_is_one_clear_error(tmp_path: Path) -> None:
    path = rpm(tmp_path, RHEL, files={"config": "".join(f"CONFIG_{random.random()}=y\n" for _ in range(9999))})
    data = path.read_bytes()
    path.write_bytes(data[:-20_000])
    with pytest.raises(AuditError, match="a broken RPM: its payload"):
        read_package(str(path))


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
