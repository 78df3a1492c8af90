"""Whose kernel a changelog or a package is of, and what its words leave open: cases from real packages."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import AuditError, State, audit
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family
from tailcall_audit.analyzer.kernelfiles.release.package_release import NoKernelPackageError, package_release
from tailcall_audit.analyzer.model import TargetReport
from tailcall_audit.analyzer.readers.hints import file_name_of, names_commit
from tests.kernelfiles.test_archives import deb, tar

FIX_3 = "bpf, x64: Fix tailcall infinite loop"
FIX_6 = "bpf: Prevent tailcall infinite loop caused by freplace"
U = State.UNKNOWN


def dpkg(source: str, version: str, body: str, suite: str = "unstable") -> str:
    return f"{source} ({version}) {suite}; urgency=medium\n\n{body}\n -- N N <n@example.org>  Mon, 03 Nov 2025 10:00:00 +0000\n"


def of(tmp_path: Path, text: str, version: str | None = None) -> TargetReport:
    path = tmp_path / "changelog"
    path.write_text(text)
    return audit(changelog=str(path), package_version=version, arch="x86_64").targets[0]


def named(release: str) -> dict[str, State]:
    """The verdicts on a kernel of which nothing but its name is known."""
    return audit(kernels=[release], arch="x86_64").targets[0].states


PROXMOX = dpkg(
    "pve-kernel", "5.15.158-2", "  * update sources to Ubuntu-5.15.0-115.125, based on 5.15.158\n", "bullseye"
)


def test_proxmox_5_15_158_is_not_debian_s(tmp_path: Path) -> None:
    report = of(tmp_path, PROXMOX)
    assert report.identity["distro"] == "proxmox"
    assert report.identity["upstream"] == "5.15.158"
    assert report.states == named("5.15.158-2-pve")


@pytest.mark.parametrize(
    ("source", "version", "suite"),
    [("proxmox-kernel-6.8", "6.8.12-43", "bookworm"), ("proxmox-kernel-6.17", "6.17.13-21", "trixie")],
)
def test_the_newer_sources_of_proxmox_are_proxmox_s(tmp_path: Path, source: str, version: str, suite: str) -> None:
    report = of(
        tmp_path, dpkg(source, version, "  * cherry-pick and backport fixes for CVEs reported upstream.\n", suite)
    )
    assert (report.identity["distro"], report.identity["release"]) == ("proxmox", version)
    assert report.states == named(f"{version}-pve")


@pytest.mark.parametrize("name", ["proxmox-pve-kernel-5.15", "proxmox-bookworm-6.8", "proxmox-trixie-6.17"])
def test_the_whole_changelogs_of_proxmox_are_proxmox_s(lab: Path, name: str) -> None:
    report = audit(changelog=str(lab / f"changelogs/real/{name}.changelog.xz"), arch="x86_64").targets[0]
    assert report.identity["distro"] == "proxmox"
    assert report.states == named(f"{report.identity['release']}-pve")


def test_a_proxmox_package_is_proxmox_s(tmp_path: Path) -> None:
    control = (
        b"Package: proxmox-kernel-6.8.12-15-pve-signed\nSource: proxmox-kernel-signed-6.8\nVersion: 6.8.12-15\n"
        b"Architecture: amd64\n"
    )
    name = "usr/share/doc/proxmox-kernel-6.8.12-15-pve-signed/changelog.gz"
    text = dpkg("proxmox-kernel-6.8", "6.8.12-15", "  * update sources to Ubuntu-6.8.0-84.84, based on 6.8.12\n")
    for files in (((name, gzip.compress(text.encode())),), ()):
        report = audit(packages=[str(deb(tmp_path / "x.deb", tar(*files), control))]).targets[0]
        assert report.identity["distro"] == "proxmox"
        assert report.states == named("6.8.12-15-pve")


ARMBIAN = b"Package: linux-image-legacy-meson64\nVersion: 24.2.1\nSource: linux-6.1.77\nArchitecture: arm64\n"


def test_armbian_24_2_1_is_linux_6_1_77(tmp_path: Path) -> None:
    report = audit(packages=[str(deb(tmp_path / "it.deb", tar(), ARMBIAN))]).targets[0]
    assert (report.identity["upstream"], report.identity["distro"]) == ("6.1.77", "armbian")
    assert audit(kernels=["6.1.77-legacy-meson64"], arch="arm64").targets[0].states == report.states
    with pytest.raises(AuditError, match="its version is not that of a kernel"):
        path = deb(tmp_path / "it.deb", tar(), ARMBIAN.replace(b"Source: linux-6.1.77\n", b""))
        audit(packages=[str(path)])


@pytest.mark.parametrize(
    ("source", "version", "name", "distro", "upstream"),
    [
        ("linux", "6.1.170-3", "", "debian", "6.1.170"),
        ("linux-signed-amd64 (6.1.170+3)", "6.1.170+3", "linux-image-6.1.0-47-amd64", "debian", "6.1.170"),
        ("linux-6.1", "6.1.170-3~deb11u1", "linux-image-6.1.0-0.deb11.47-amd64", "debian", "6.1.170"),
        ("linux", "1:6.6.51-1+rpt3", "linux-image-6.6.51+rpt-rpi-v8", "raspberry-pi", "6.6.51"),
        ("linux", "6.12.25-1kali1", "linux-image-6.12.25-amd64", "kali", "6.12.25"),
        ("linux-upstream", "6.1.170-1", "linux-image-6.1.170-custom", None, "6.1.170"),
        ("linux-upstream", "6.1.170-1", "linux-image-6.1.170", None, "6.1.170"),
        ("linux-liquorix", "6.12-35~mx23ahs", "", None, "6.12"),
        ("linux", "6.1.15-1parrot1", "", None, "6.1.15"),
        ("linux", "6.1.170-3mycompany1", "", None, "6.1.170"),
    ],
)
def test_a_package_is_known_by_its_source_and_version(
    source: str, version: str, name: str, distro: str | None, upstream: str
) -> None:
    release = name.removeprefix("linux-image-") or None
    found = package_release(
        shipped_catalog(), source=source, version=version, name=name, release=release, family=Family.DEBIAN
    )
    assert (found.distro, str(found.version)) == (distro, upstream)
    # What its builder did to a kernel is known of Debian alone; bindeb-pkg's is as good as the same release named by --kernel.
    assert distro == "debian" or found.own_patches or (source == "linux-upstream" and not found.own_patches)


@pytest.mark.parametrize(("source", "version"), [("bash", "5.2.15-2"), ("glibc", "2.36-9"), ("linux", "24.2.1")])
def test_what_is_no_kernel_is_refused(tmp_path: Path, source: str, version: str) -> None:
    with pytest.raises(NoKernelPackageError):
        of(tmp_path, dpkg(source, version, "  * x\n"))


@given(st.from_regex(r"[a-z][a-z0-9]{1,6}[0-9]?", fullmatch=True))
def test_an_unknown_source_package_is_never_vanilla(word: str) -> None:
    found = package_release(shipped_catalog(), source=f"linux-{word}", version="5.15.158-2", family=Family.DEBIAN)
    assert found.distro is None
    assert found.own_patches


# ------------------------------------------------------------------------------------------------------ what is left open
OPENEULER = (
    "* Mon Dec 16 2024 N N <n@example.org> - 6.6.0-64.0.0.5\n- update kernel-rt version to 6.6.0-64.0.0.5\n\n"
    f"* Tue Dec 5 2023 N N <n@example.org> - 6.6.0-1.0.0.1\n- {FIX_3}\n"
)


def test_openeuler_6_6_0_64_moved_without_a_list(tmp_path: Path) -> None:
    report = of(tmp_path, OPENEULER)
    states = report.states
    assert (states["freplace-attached-panic"], states["freplace-attached-refused"]) == (U, U)
    assert any("update kernel-rt version to 6.6.0-64.0.0.5" in note for note in report.notes)


@pytest.mark.parametrize(
    "words",
    [
        "update kernel-rt version to 5.14.0-427",
        "Rebase to 5.14.21",
        "Upgrade to version 5.14.30",
        "Auto-upgrade to 5.14.134.1",
        "Update kernel to 5.15",
        "bpf: rebase to v5.18",
    ],
)
def test_a_move_to_a_version_without_its_list_is_a_hole(tmp_path: Path, words: str) -> None:
    first = "\n* Mon Aug 30 2021 A B <a@redhat.com> [5.14-1]\n- base (A B)\n"
    text = f"* Wed Feb 21 2024 A B <a@redhat.com> [5.14.0-425.el9]\n- {words}\n{first}"
    assert of(tmp_path, text).states["x86-hierarchy"] is U
    assert (
        of(tmp_path, text.replace(words, "scsi: lpfc: Update lpfc version to 14.0.0.1")).states["x86-hierarchy"]
        is State.AFFECTED
    )


@pytest.mark.parametrize(
    "version",
    ["4.19.90-2412.3.0.0308", "5.10.0-242.0.0.141", "6.6.0-69.0.0.75", "4.19.19-8.0.42", "6.6.134.1-2", "6.1.83-9"],
)
def test_a_spec_that_cuts_its_suffix_is_not_vanilla(tmp_path: Path, version: str) -> None:
    report = of(tmp_path, f"* Mon Dec 16 2024 N N <n@example.org> - {version}\n- x\n")
    assert report.identity["distro"] is None
    assert report.states == named(version)


@pytest.mark.parametrize(
    "name",
    [
        "azurelinux",
        "openeuler-20.03-lts-sp4",
        "openeuler-22.03-lts-sp4",
        "openeuler-24.03-lts-sp1",
        "photon.linux",
        "xcp-ng-8.3",
    ],
)
def test_whole_specs_without_a_suffix_prove_no_absence(lab: Path, name: str) -> None:
    (path,) = (lab / "changelogs/real").glob(f"{name}*.xz")
    report = audit(changelog=str(path), arch="x86_64").targets[0]
    by_silence = [
        item
        for item in report.verdicts
        if item.state in (State.AFFECTED, State.NOT_AFFECTED)
        and any(entry.kind.value == "changelog-silence" and entry.presence.value == "absent" for entry in item.evidence)
    ]
    assert by_silence == []
    assert report.identity["distro"] is None


PHOTON = (
    "Name: linux\nVersion: 6.1.83\nRelease: 9\n{patch}\n\n%changelog\n"
    "* Thu Jan 30 2025 N N <n@example.org> 6.1.83-9\n- {item}\n"
)
PATCH_6 = "Patch200: 0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch"


@pytest.mark.parametrize(
    ("patch", "item", "named"),
    [
        (PATCH_6, "x", "0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch"),
        ("Patch1: other.patch", "Fix CVE-2024-47794", "CVE-2024-47794"),
        ("Patch1: other.patch", "Add bpf-Prevent-tailcall-infinite-loop-caused-by-freplace.patch", "names the patch"),
    ],
)
def test_a_hint_that_the_fix_is_in_forbids_affected_and_is_shown(
    tmp_path: Path, patch: str, item: str, named: str
) -> None:
    report = of(tmp_path, PHOTON.format(patch=patch, item=item))
    verdict = next(item for item in report.verdicts if item.defect.slug == "freplace-loop")
    assert verdict.state is U
    assert named in verdict.reason
    # Debian's own version would decide without the hint.
    text = dpkg("linux", "6.1.170-3", f"  * {item}\n")
    if item != "x":
        assert of(tmp_path, text).states["freplace-loop"] is U


@pytest.mark.parametrize(
    ("name", "is_named"),
    [
        ("0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch", True),
        ("patches.suse/bpf-Prevent-tailcall-infinite-loop-caused-by-freplace.patch", True),
        ("6.1-0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplace.patch", True),
        ("0001-bpf-Prevent.patch", False),
        ("bpf-Prevent-tailcall-infinite-loop-caused-by-freplace-again.patch", False),
    ],
)
def test_patch_files_are_named_as_format_patch_names_them(name: str, is_named: bool) -> None:
    assert names_commit(name, FIX_6) is is_named
    assert file_name_of(FIX_6) == "bpf-Prevent-tailcall-infinite-loop-caused-by-freplace"


@pytest.mark.parametrize(
    "body",
    [
        f"  * Drop patches that were applied upstream:\n    - {FIX_6}\n",
        f"  * Remove the following patches, which break the build:\n    - {FIX_6}\n    - other\n",
        f"  * Update:\n    - Drop commits:\n      + {FIX_6}\n",
    ],
)
def test_a_section_that_drops_patches_lists_no_presence(tmp_path: Path, body: str) -> None:
    assert of(tmp_path, dpkg("linux", "6.1.170-3", body)).states["freplace-loop"] is U
    kept = body.replace("Drop patches that were", "Add patches that were").replace("Drop", "Add")
    kept = kept.replace("Remove the following patches, which break", "Add the following patches, which mend")
    assert of(tmp_path, dpkg("linux", "6.1.170-3", kept)).states["freplace-loop"] is State.FIXED


DASHES = "-" * 67


@pytest.mark.parametrize(
    "text",
    [
        f"{DASHES}\nMon Nov  3 10:00:00 CET 2025 - n@example.org\n\n- {FIX_3} (git-fixes).\n- commit 1234567\n",
        f"* Mon Nov 03 2025 n@example.org\n- {FIX_3} (git-fixes).\n- commit 1234567\n",
    ],
    ids=["changes", "rpm -q --changelog"],
)
def test_suse_s_changelogs_are_of_the_version_that_is_named(tmp_path: Path, text: str) -> None:
    report = of(tmp_path, text, "5.14.21-150500.55.73")
    assert (report.identity["distro"], report.identity["release"]) == ("suse", "5.14.21-150500.55.73")
    assert report.states["x86-trampoline-loop"] is State.FIXED
    assert report.states["x86-hierarchy"] is U
    with pytest.raises(AuditError, match="name the package's with"):
        of(tmp_path, text)


# -------------------------------------------------------------------------------------------------------------- bounded
BLANKS = " " * 200_000
HOSTILE = {
    "freplace and blanks": dpkg("linux", "6.1.170-3", f"  * freplace{BLANKS}x\n"),
    "brackets": dpkg("linux", "6.1.170-3", "  * x freplace" + " [a]" * 60_000 + "\n"),
    "tags": dpkg("linux", "6.1.170-3", "  * " + "[a] " * 1_000_000 + "freplace\n"),
    "open brackets": dpkg("linux", "6.1.170-3", "  * x freplace" + " (a" * 100_000 + ")\n"),
    "folded": dpkg("linux", "6.1.170-3", "  * freplace\n" + "    x\n" * 400_000),
    "drop": dpkg("linux", "6.1.170-3", "  * " + "drop " * 200_000 + "\n"),
    "reverts": dpkg("linux", "6.1.170-3", "  * " + 'Revert "' * 100_000 + "freplace" + '"' * 100_000 + "\n"),
    "rpm author": f"* Wed Feb 21 2024 A B <a@b.c> [5.14.0-425.el9]\n- a{BLANKS}b freplace\n",
    "rpm parentheses": "* Wed Feb 21 2024 A B <a@b.c> [5.14.0-425.el9]\n- freplace " + "(" * 200_000 + "\n",
    "rpm pairs": "* Wed Feb 21 2024 A B <a@b.c> [5.14.0-425.el9]\n- freplace " + "(A) x " * 100_000 + "\n",
    "rpm header": "* Wed Feb 21 2024 " + ">1" * 200_000 + "[\n- freplace\n",
    "rpm jump": "* Wed Feb 21 2024 A B <a@b.c> [5.14.0-425.el9]\n- " + "update to " * 100_000 + "\n",
    "suse references": f"{DASHES}\nMon Nov  3 10:00:00 CET 2025 - n@e.org\n\n- a freplace{BLANKS}({BLANKS}b\n",
    "suse prefix": f"{DASHES}\nMon Nov  3 10:00:00 CET 2025 - n@e.org\n\n- " + "patches.a/" * 50_000 + "freplace\n",
    "patches": "Patch1: " + "a-" * 200_000 + ".patch\n" * 1000 + "%changelog\n" + PHOTON[PHOTON.index("* Thu") :],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_long_lines_take_linear_time(tmp_path: Path, name: str) -> None:
    """Any of these took more than 25 s of CPU, or would take hours, with a pattern that backtracks."""
    path = tmp_path / "changelog"
    path.write_text(HOSTILE[name])
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (20, 20));"
        "from tailcall_audit import audit, AuditError\n"
        "try: audit(changelog=sys.argv[1], package_version=sys.argv[2] or None, arch='x86_64')\n"
        "except AuditError: pass"
    )
    version = "5.14.21-150500.55.73" if "suse" in name else ""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), version], capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
