"""The version schemes of the distributions, as a table: how a release string looks and what it proves.

A scheme is matched against what follows the upstream version in ``uname -r``. The order matters: the first match wins.
The forms come from real kernels, see docs/releases.md.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

__all__ = ["SCHEMES", "Proof", "Scheme"]


class Proof(Enum):
    """What a release string proves of the upstream release."""

    EXACT = "exact"
    """The stable release, with nothing beside it that matters here (kernel.org, Debian, Alpine, Arch, …)."""
    PATCHED = "patched"
    """At least that release; the distribution or somebody else put patches on top that the string does not tell."""
    BASE = "base"
    """The mainline release only; which stable updates are in is not in the string."""


class Scheme(NamedTuple):
    """One distribution's form. `vanilla_like`: it follows a stable branch and does not bring features of later releases.

    `expression` matches the whole rest of the release string and may name the groups ``abi``, ``flavour`` and ``arch``.
    `settle` is the command that answers what the string cannot; ``{release}`` and ``{flavour}`` are filled in.
    `zero` says whether the scheme is only for a sublevel of zero (True), only for others (False), or for both (None).
    """

    name: str
    expression: str
    proof: Proof
    vanilla_like: bool
    note: str
    settle: str | None = None
    zero: bool | None = None

    def match(self, rest: str) -> re.Match[str] | None:
        """Match the whole rest of a release string. Compiled when first tried: most schemes never are."""
        return re.fullmatch(self.expression, rest, re.ASCII | re.IGNORECASE)


_DEBIAN_ARCH = r"amd64|arm64|armmp(?:-lpae)?|686(?:-pae)?|s390x|powerpc64le(?:-64k)?|ppc64el|riscv64|loong64|(?:4|5)kc-malta|octeon|loongson-3|marvell|rpi|mips64r[26]|mips32r[26]|alpha-(?:generic|smp)|parisc(?:64)?|sparc64(?:-smp)?|m68k|sh7751r|mckinley|itanium|powerpc(?:64)?(?:-smp)?"
_DEBIAN_FLAVOUR = rf"(?P<flavour>(?:[a-z][a-z0-9]*-)*?(?P<arch>{_DEBIAN_ARCH})(?:-16k|-unsigned)?)"
_UBUNTU_FLAVOUR = (
    r"(?P<flavour>generic(?:-lpae|-64k|-hwe)?|lowlatency(?:-64k|-hwe)?|aws(?:-fips|-64k)?|azure(?:-fde|-fips|-nvidia)?|gcp(?:-fips|-64k)?|gke|gkeop|oracle(?:-64k)?|kvm|ibm|ibm-gt"
    r"|raspi(?:2|-realtime)?|realtime|oem|osp1|nvidia(?:-[a-z0-9-]+)?|xilinx(?:-zynqmp)?|intel(?:-iotg)?|iotg|hwe|fips|bluefield|laptop|starfive|allwinner|qcom(?:-laptop)?|snapdragon|dell300x|euclid|cascade)"
)
_RPM_ARCH = r"(?P<arch>x86_64|aarch64(?:_64k)?|ppc64le|ppc64|s390x|i[3-6]86|riscv64|loongarch64|armv7hl)"

_DPKG = "dpkg-query -W -f '${{Version}}\\n' linux-image-{release}   (or, on that host: uname -v)"
_RPM = "rpm -q --changelog kernel-core-{release} | grep -F 'bpf'"


SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        "debian",
        rf"\+(?:deb\d+(?:u\d+)?|bpo\d*)(?:\+\d+)?-{_DEBIAN_FLAVOUR}",
        Proof.EXACT,
        True,
        "Debian's release string names the stable release since 6.12",
    ),
    Scheme(
        "debian",
        rf"-(?P<abi>0\.(?:bpo|deb\d+)\.\d+|\d{{1,3}})(?:\.\d+)?-{_DEBIAN_FLAVOUR}",
        Proof.BASE,
        True,
        "Debian's number is an ABI number, not a stable release",
        _DPKG,
        True,
    ),
    Scheme(
        "proxmox",
        r"-(?P<abi>\d+)(?:\.\d+)?-(?P<flavour>pve)(?:\+\w+)?",
        Proof.PATCHED,
        True,
        "Proxmox builds Ubuntu's kernel with patches of its own",
        "apt changelog proxmox-kernel-{release}",
    ),
    Scheme(
        "ubuntu",
        rf"-(?P<abi>\d{{1,5}})-{_UBUNTU_FLAVOUR}",
        Proof.BASE,
        True,
        "Ubuntu's number is an ABI number: the stable updates in it are not in the string",
        "cat /proc/version_signature   (or: apt changelog linux-image-unsigned-{release})",
        True,
    ),
    Scheme(
        "oracle-uek",
        rf"-(?P<abi>[\d.]+)\.el\d+uek(?:\.{_RPM_ARCH})?",
        Proof.PATCHED,
        False,
        "Oracle's UEK carries its own backports",
        "rpm -q --changelog kernel-uek-core-{release} | grep -F 'bpf'",
    ),
    Scheme(
        "fedora-rawhide",
        rf"-0\.rc(?P<rc>\d+)[\w.]*\.fc\d+(?:\.{_RPM_ARCH})?(?:\+\w+)?",
        Proof.PATCHED,
        True,
        "a Rawhide snapshot between two release candidates",
    ),
    Scheme(
        "fedora",
        rf"-(?P<abi>[\d.]+)\.fc\d+(?:\.{_RPM_ARCH})?(?:\+\w+)?",
        Proof.EXACT,
        True,
        "Fedora follows the stable release and lists no subjects",
    ),
    Scheme(
        "elrepo",
        rf"-(?P<abi>[\d.]+)\.el\d+\.elrepo(?:\.{_RPM_ARCH})?",
        Proof.EXACT,
        True,
        "ELRepo builds the stable release",
    ),
    Scheme(
        "clk",
        rf"-(?P<abi>[\d.]+)\.el\d+_ciq(?:\.{_RPM_ARCH})?(?:\+\w[\w.]*)?",
        Proof.PATCHED,
        True,
        "CIQ's kernel is a stable release with patches on top",
        _RPM,
    ),
    Scheme(
        "rhel",
        rf"-(?P<abi>\d[\w.]*?)\.(?:el|eln|rhel)(?P<el>\d+)?[\w.~]*?(?:\.{_RPM_ARCH})?(?:\+\w+)?",
        Proof.PATCHED,
        False,
        "an enterprise kernel: the base is frozen and BPF is rebased wholesale, so 5.14.0 proves next to nothing",
        _RPM,
        True,
    ),
    Scheme(
        "amazon",
        rf"-(?P<abi>[\d.]+)\.amzn\d+(?:\.{_RPM_ARCH})?",
        Proof.PATCHED,
        False,
        "Amazon's kernel is a stable release with backports on top",
        "rpm -q --changelog kernel-{release} | grep -F 'bpf'",
    ),
    Scheme(
        "azure-linux",
        rf"(?:\.\d+)?-(?P<abi>\d+)\.(?:azl|cm)\d+(?:\.{_RPM_ARCH})?",
        Proof.EXACT,
        True,
        "Azure Linux follows the stable release; its changelog lists no backports",
    ),
    Scheme(
        "euleros",
        rf"-(?P<abi>[\d.]+(?:\.h\d+)?)\.(?:oe\d+[\w.]*|eulerosv\w+)(?:\.{_RPM_ARCH})?",
        Proof.PATCHED,
        False,
        "an enterprise kernel with many backports",
        _RPM,
    ),
    Scheme(
        "suse",
        r"-(?P<abi>\d{2,}(?:\.\d+)*|\d+(?:\.\d+)+)-(?P<flavour>default|azure|rt|preempt|kvmsmall|vanilla|64kb|lpae|debug)",
        Proof.PATCHED,
        False,
        "SUSE's enterprise base is frozen and carries thousands of backports",
        "rpm -q --changelog kernel-default-{release} | grep -F 'bpf'",
    ),
    Scheme(
        "opensuse",
        r"-(?P<abi>\d)-(?P<flavour>default|vanilla|pae|64kb|lpae|debug|kvmsmall|rt|longterm)",
        Proof.EXACT,
        True,
        "Tumbleweed follows the stable release",
    ),
    Scheme(
        "wsl2",
        r"(?:\.\d+)?-microsoft-(?:standard(?:-wsl2)?|WSL2-stable)\+?",
        Proof.EXACT,
        True,
        "Microsoft's WSL2 kernel is a stable release with its own drivers",
    ),
    Scheme(
        "alpine",
        r"-\d+-(?P<flavour>lts|virt|edge|stable|asahi|rpi\d?)",
        Proof.EXACT,
        True,
        "Alpine (or Arch) follows the stable release",
    ),
    Scheme(
        "arch",
        r"(?:-|\.)(?:arch|zen|hardened|lqx|rt|lts)\d+-\d+(?:-[a-z0-9]+)*",
        Proof.EXACT,
        True,
        "Arch follows the stable release",
    ),
    Scheme("talos", r"-talos", Proof.EXACT, True, "Talos builds the stable release"),
    Scheme("flatcar", r"-flatcar", Proof.EXACT, True, "Flatcar builds the stable release"),
    Scheme("haos", r"-haos(?:-raspi)?", Proof.EXACT, True, "Home Assistant OS builds the stable release"),
    Scheme(
        "android",
        r"-android\d+-\d+(?:-[\w.]+)*(?:-dirty)?",
        Proof.PATCHED,
        False,
        "an Android kernel: a stable release, Google's own commits and the vendor's",
        "git log android{release} --grep=UPSTREAM   in kernel/common",
    ),
    Scheme(
        "raspberry-pi",
        r"(?:\+rpt-rpi-[\w-]+|-v[78]l?\+|-rpi[\w-]*|-raspi[\w-]*)",
        Proof.PATCHED,
        True,
        "the Raspberry Pi kernel is a stable release with the vendor's patches",
    ),
)
