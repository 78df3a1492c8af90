"""Release strings, each a real one (docs/releases.md, the research's formats.md) with what it proves."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tests.mutants import IN_5_10, IN_6_1, IN_6_12, subject

E, P, B = Proof.EXACT, Proof.PATCHED, Proof.BASE


@pytest.mark.parametrize(
    ("text", "version", "proof", "distro", "architecture"),
    [
        ("6.1.170", "6.1.170", E, None, None),
        ("v6.13-rc3", "6.13-rc3", E, None, None),
        ("4.19.325", "4.19.325", E, None, None),
        ("6.11.0-rc3-00123-gabc1234def-dirty", "6.11-rc3", P, None, None),
        ("6.12.0-next-20241120", "6.12", P, None, None),
        ("6.12.0-rc1-next-20241003", "6.12-rc1", P, None, None),
        ("6.1.170+", "6.1.170", P, None, None),
        ("6.1.170-dirty", "6.1.170", P, None, None),
        ("6.1.170-lab", "6.1.170", E, None, None),
        ("5.10.218-custom", "5.10.218", E, None, None),
        ("6.1.0-47-amd64", "6.1", B, "debian", "x86_64"),
        ("6.1.0-47-cloud-amd64", "6.1", B, "debian", "x86_64"),
        ("5.10.0-30-arm64", "5.10", B, "debian", "arm64"),
        ("6.1.0-0.deb11.21-amd64", "6.1", B, "debian", "x86_64"),
        ("5.10.0-0.bpo.15-amd64", "5.10", B, "debian", "x86_64"),
        ("6.12.94+deb13-cloud-amd64", "6.12.94", E, "debian", "x86_64"),
        ("6.12.94+deb13+1-arm64", "6.12.94", E, "debian", "arm64"),
        ("6.10.11+bpo-amd64", "6.10.11", E, "debian", "x86_64"),
        ("6.8.0-35-generic", "6.8", B, "ubuntu", None),
        ("5.15.0-1050-aws", "5.15", B, "ubuntu", None),
        ("6.5.0-1013-oem", "6.5", B, "ubuntu", None),
        ("5.15.0-79-lowlatency", "5.15", B, "ubuntu", None),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14", P, "rhel", "x86_64"),
        ("4.18.0-553.el8_10.aarch64", "4.18", P, "rhel", "arm64"),
        ("2.6.32-754.el6.x86_64", "2.6.32", P, "rhel", "x86_64"),
        ("6.12.0-124.8.1.el10_1.aarch64", "6.12", P, "rhel", "arm64"),
        ("7.1.7-200.fc44.x86_64", "7.1.7", E, "fedora", "x86_64"),
        ("7.2.0-0.rc6.f9a2394a2348.52.fc45.x86_64", "7.2-rc6", P, "fedora-rawhide", "x86_64"),
        ("6.4.0-150600.23.14-default", "6.4", P, "suse", None),
        ("5.14.21-150400.24.100-default", "5.14.21", P, "suse", None),
        ("6.9.3-1-default", "6.9.3", E, "opensuse", None),
        ("6.1.90-99.173.amzn2023.x86_64", "6.1.90", P, "amazon", "x86_64"),
        ("5.15.0-204.147.6.2.el9uek.x86_64", "5.15", P, "oracle-uek", "x86_64"),
        ("6.6.100-0-lts", "6.6.100", E, "alpine", None),
        ("6.6.100-0-virt", "6.6.100", E, "alpine", None),
        ("6.9.3-arch1-1", "6.9.3", E, "arch", None),
        ("6.9.3-zen1-1-zen", "6.9.3", E, "arch", None),
        ("6.6.43.1-1.azl3", "6.6.43", E, "azure-linux", None),
        ("6.1.90+", "6.1.90", P, None, None),
        ("6.18.45-talos", "6.18.45", E, "talos", None),
        ("6.6.36-flatcar", "6.6.36", E, "flatcar", None),
        ("6.12.47-haos", "6.12.47", P, "haos", None),
        ("6.6.87.2-microsoft-standard-WSL2", "6.6.87", E, "wsl2", None),
        ("5.10.157-android13-4-00003-g3b2f77a938f9", "5.10.157", P, "android", None),
        ("5.15.189-android13-8-00016-g51bba4309aac-ab14546557", "5.15.189", P, "android", None),
        ("5.15.110-android13-5-31998796-abS911BXXS8EYK2", "5.15.110", P, "android", None),
        ("6.6.31+rpt-rpi-v8", "6.6.31", P, "raspberry-pi", None),
        ("6.1.21-v8+", "6.1.21", P, "raspberry-pi", None),
        ("5.15.167", "5.15.167", E, None, None),
        ("6.12.78-1.1.el9_ciq.x86_64+clk6.12", "6.12.78", P, "clk", "x86_64"),
        ("5.10.0-182.0.0.95.h2572.eulerosv2r13.x86_64", "5.10", P, "euleros", "x86_64"),
    ],
)
def test_release_strings(text: str, version: str, proof: Proof, distro: str | None, architecture: str | None) -> None:
    release = parse_release(text)
    assert (str(release.version), release.proof, release.distro, release.architecture) == (
        version,
        proof,
        distro,
        architecture,
    )


SEEN_IN_PUBLIC = (
    # read in public posts and logs, host names replaced
    (
        "Linux h 7.2.4-x64v3-xanmod1 #0~20260907.g48995b0 SMP PREEMPT_DYNAMIC Mon Sep  7 UTC x86_64",
        "7.2.4",
        E,
        "xanmod",
    ),
    ("6.18.19-rt-x64v3-xanmod1", "6.18.19", E, "xanmod"),
    ("Linux h 6.1.55-1-MANJARO #1 SMP PREEMPT_DYNAMIC Sat Sep 23 12:13:56 UTC 2023 x86_64", "6.1.55", E, "manjaro"),
    ("Linux h 5.9.12-1-MANJARO-ARM #1 SMP Wed Dec 2 11:41:52 CET 2020 aarch64 GNU/Linux", "5.9.12", P, "manjaro"),
    ("5.18.12-1-MANJARO-ARM-ODROID", "5.18.12", P, "manjaro"),
    ("uname: Linux 6.5.8_1 #1 SMP PREEMPT_DYNAMIC Fri Oct 20 13:35:41 UTC 2023 x86_64", "6.5.8", E, "void"),
    ("Linux h 6.6.74-haos-raspi #1 SMP PREEMPT Mon Apr 14 16:31:30 UTC 2025 aarch64 GNU/Linux", "6.6.74", P, "haos"),
    ("Linux h 6.2.2-1-default #1 SMP PREEMPT_DYNAMIC Thu Mar  9 06:06:13 UTC 2023 (44ca817)", "6.2.2", E, "opensuse"),
    ("Linux h 4.19.167-rc5.lnd.1-loongson-3 #1 SMP Sat Apr 17 07:32:32 UTC 2021", "4.19.167-rc5", P, "loongnix"),
    ("Linux h 4.19.190-2.1.lns8.loongarch64 #1 SMP Thu Sep 23 08:52:56 UTC 2021", "4.19.190", P, "loongnix"),
    ("Linux h 6.12.25+rpt-rpi-v8 #1 SMP PREEMPT Debian 1:6.12.25-1+rpt1 (2025-04-30)", "6.12.25", P, "raspberry-pi"),
    ("Linux h 6.8.4-2-pve #1 SMP PREEMPT_DYNAMIC PMX 6.8.4-2 (2024-04-10T17:36Z) x86_64", "6.8.4", P, "proxmox"),
    ("Linux h 5.7.0-999-generic #202005082207 SMP Sat May 9 02:09:38 UTC 2020 x86_64", "5.7-rc0", P, "ubuntu-daily"),
)


@pytest.mark.parametrize(("text", "version", "proof", "distro"), SEEN_IN_PUBLIC)
def test_strings_that_were_seen_in_public(text: str, version: str, proof: Proof, distro: str) -> None:
    release = parse_release(text)
    assert (str(release.version), release.proof, release.distro) == (version, proof, distro)


@pytest.mark.parametrize(
    ("line", "version", "proof", "package", "architecture"),
    [
        (
            "Linux h 6.1.0-47-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08) x86_64 GNU/Linux",
            "6.1.170",
            E,
            "6.1.170-3",
            "x86_64",
        ),
        # linux-binary-7.3-cloud-amd64 of experimental, 2026-11-25: its release names the series only.
        (
            "Linux version 7.3-cloud-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-16 (Debian 16.2.0-3) 16.2.0) "
            "#1 SMP PREEMPT_DYNAMIC Debian 7.3~rc7-1~exp1 (2026-10-16)",
            "7.3-rc7",
            E,
            "7.3~rc7-1~exp1",
            "x86_64",
        ),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)", "6.1.170", E, "6.1.170-3", None),
        ("Debian 6.1.170-3 (2026-05-08)", "6.1.170", E, "6.1.170-3", None),
        (
            "Linux version 6.1.0-47-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) "
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)",
            "6.1.170",
            E,
            "6.1.170-3",
            "x86_64",
        ),
        ("Ubuntu 5.15.0-79.86-generic 5.15.111", "5.15.111", P, "5.15.0-79.86-generic", None),
        ("Ubuntu 6.2.0-24.24-generic 6.2.12", "6.2.12", P, "6.2.0-24.24-generic", None),
        (
            "Linux h 5.15.0-79-generic #86-Ubuntu SMP Mon Jul 10 16:07:21 UTC 2023 x86_64 x86_64 x86_64 GNU/Linux",
            "5.15",
            B,
            "5.15.0-79.86",
            "x86_64",
        ),
        (
            "Linux ip 6.1.90-99.173.amzn2023.x86_64 #1 SMP PREEMPT_DYNAMIC Tue May  7 11:11:31 UTC 2024 x86_64 GNU/Linux",
            "6.1.90",
            P,
            None,
            "x86_64",
        ),
        (
            "Linux version 6.18.44-fc-v657 (builder@sandboxing) (gcc (GCC) 15.3.0, GNU ld (GNU Binutils) 2.46) #1 SMP PREEMPT_DYNAMIC @0",
            "6.18.44",
            P,
            None,
            None,
        ),
    ],
)
def test_whole_lines_prove_more(
    line: str, version: str, proof: Proof, package: str | None, architecture: str | None
) -> None:
    release = parse_release(line)
    assert (str(release.version), release.proof, release.package, release.architecture) == (
        version,
        proof,
        package,
        architecture,
    )


@pytest.mark.parametrize(
    ("image", "package"), [(IN_5_10, "5.10.218-1"), (IN_6_1, "6.1.170-3"), (IN_6_12, "6.12.117-1")]
)
def test_the_banners_of_the_debian_images_give_their_package_version(image: str, package: str) -> None:
    release = parse_release(subject(image).banner)
    assert release.proof is E
    assert release.package == package
    assert str(release.version) == package.split("-", maxsplit=1)[0]


def test_debian_plus_is_not_a_local_plus() -> None:
    assert parse_release("6.12.94+deb13-amd64").modified == ()
    assert parse_release("6.12.94+").modified == ("+",)


def test_the_command_that_settles_is_named() -> None:
    assert "dpkg" in str(parse_release("6.1.0-47-amd64").settle)
    assert "uname -v" in str(parse_release("6.1.0-47-amd64").settle)
    assert "version_signature" in str(parse_release("6.8.0-35-generic").settle)
    assert "rpm -q --changelog" in str(parse_release("5.14.0-427.13.1.el9_4.x86_64").settle)
    # Each flavour has a package of its own, whose version does not name it.
    for release, package in (
        ("5.14.0-503.el9.x86_64+rt", "kernel-rt-core-5.14.0-503.el9.x86_64"),
        ("6.1.83-9.ph5", "linux-6.1.83-9.ph5"),
        ("6.1.83-9.ph5-esx", "linux-esx-6.1.83-9.ph5"),
    ):
        assert str(parse_release(release).settle).startswith(f"tailcall-audit --package {package}   ")
    assert "--tree PATH" in str(parse_release("5.10.198-android12-9-00015-g0123456789ab").settle)


@pytest.mark.parametrize("text", ["", "hello", "#1 SMP", "6", "x6.1", "Linux version", "6.1.170-3 " * 200])
def test_what_is_no_release_is_an_error(text: str) -> None:
    with pytest.raises(ReleaseError):
        parse_release(text)


def test_two_series_in_one_line_are_an_error() -> None:
    with pytest.raises(ReleaseError, match="different series"):
        parse_release("Linux h 5.10.0-30-amd64 #1 SMP Debian 6.1.170-3 (2026-05-08) x86_64 GNU/Linux")


@given(st.text(max_size=200))
def test_garbage_is_a_release_error(text: str) -> None:
    with contextlib.suppress(ReleaseError):
        assert str(parse_release(text).version.major) in text


@given(
    st.sampled_from(["6.1.170", "6.8.0-35-generic", "5.14.0-427.el9"]),
    st.text(alphabet="-+.#()0123456789abcgelrx \x1b", max_size=30),
)
def test_a_release_with_anything_behind_it_never_raises_anything_else(start: str, tail: str) -> None:
    with contextlib.suppress(ReleaseError):
        assert str(parse_release(start + tail).version.major) in start + tail


@pytest.mark.parametrize(
    "line",
    [
        f"Linux version 6.12.57 (x) #1 SMP Debian {'9' * 40}6.12~rc3-1 (2026-03-12)",
        f"#1 SMP Debian {'9' * 40}.12-1 (2026-03-12)",
        f"Ubuntu 5.15.0-79.86-generic 5.15.{'1' * 40}",
        f"Ubuntu 5.15.0-79.86-generic {'5' * 40}.15.111",
    ],
)
def test_a_statement_with_a_number_that_no_kernel_has_is_refused_or_judged_by_the_rest(line: str) -> None:
    """A fuzzed changelog of a package whose version begins with 41 digits ended with an internal error."""
    try:
        found = parse_release(line)
    except ReleaseError:
        return
    assert len(str(found.version)) < 20
