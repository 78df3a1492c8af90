"""Kernel release strings: what they say, and what they prove.

Takes everything that names a kernel: ``uname -r``, ``-v`` and ``-a``, ``/proc/version``, ``/proc/version_signature``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.subjects.schemes import SCHEMES, Proof, Scheme
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["KernelRelease", "ReleaseError", "parse_release"]

_MAX_LENGTH = 1024
_VERSION = r"\d{1,4}\.\d{1,4}(?:\.\d{1,6})?(?:-rc\d{1,4})?"
_RELEASE = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?:-rc(\d{1,4}))?(?![0-9])", re.ASCII)
_DEBIAN_BUILD = re.compile(
    r"\bDebian (?P<version>(\d+)\.(\d+)(?:\.(\d+))?(?:~(rc\d+))?[\w.+~-]*)(?: \((?P<date>[\d-]+)\))?", re.ASCII
)
_UBUNTU_SIGNATURE = re.compile(
    rf"\bUbuntu (?P<package>(?P<base>\d+\.\d+\.\d+)-[\w.~+-]+) (?P<stable>{_VERSION})\s*$", re.ASCII
)
_UBUNTU_BUILD = re.compile(r"#(\d+)(?:~[\d.]+)?-Ubuntu\b", re.ASCII)
_UNAME_ARCH = re.compile(
    r"\b(x86_64|aarch64|riscv64|s390x|ppc64le|ppc64|loongarch64|i[3-6]86|armv[67]l|armv8l)\b", re.ASCII
)
_NEXT = re.compile(r"-next-?\d{8}\b", re.ASCII)
_GIT = re.compile(r"-g[0-9a-f]{7,40}(?![0-9a-z])", re.ASCII)
_COMMITS_AHEAD = re.compile(r"-\d{5}(?=-g|$)", re.ASCII)
# A compiler, a linker or a library is named in these lines too, with versions that look like a kernel's.
_TOOLS = re.compile(r"\((?:[^()]|\([^()]*\))*\)")


class ReleaseError(AuditError):
    """A string in which no kernel version can be found."""


class KernelRelease(NamedTuple):
    """A parsed kernel name.

    `proof` says how far `version` is proven; `modified` lists the marks of unknown patches (``-next``, ``-g<sha>``, ``+``,
    ``-dirty``); `local` is a plain LOCALVERSION, which only lowers confidence. `release` is the ``uname -r`` part.
    """

    text: str
    release: str
    version: UpstreamVersion
    proof: Proof
    vanilla_like: bool = True
    distro: str | None = None
    package: str | None = None
    abi: str | None = None
    flavour: str | None = None
    architecture: str | None = None
    modified: tuple[str, ...] = ()
    local: str | None = None
    notes: tuple[str, ...] = ()
    settle: str | None = None


def _find_release(text: str) -> tuple[str, re.Match[str]] | None:
    """The word of a line that is the ``uname -r``, with its version matched at the start."""
    words = _TOOLS.sub(" ", text).split()
    if words[:2] == ["Linux", "version"]:
        words = words[2:3]
    elif words[:1] == ["Linux"] and len(words) > 2:
        words = words[2:3]  # uname -a: Linux HOST RELEASE
    for found in words:
        word = found.rstrip(",;:")
        match = _RELEASE.match(word)
        if match is not None and not word.startswith("#"):
            return word, match
    return None


def _marks(rest: str) -> tuple[tuple[str, ...], str]:
    """The marks of unknown patches in what follows the version, and the rest without them."""
    found = []
    for pattern in (_NEXT, _COMMITS_AHEAD, _GIT):
        match = pattern.search(rest)
        if match is not None:
            found.append(match.group())
            rest = rest[: match.start()] + rest[match.end() :]
    if rest.endswith("-dirty"):
        found.append("-dirty")
        rest = rest.removesuffix("-dirty")
    if rest.endswith("+"):
        found.append("+")
        rest = rest.removesuffix("+")
    return tuple(found), rest


def _match_scheme(rest: str, version: UpstreamVersion) -> tuple[Scheme, re.Match[str]] | None:
    for scheme in SCHEMES:
        # The third number of 2.6.32 is not a stable release.
        if scheme.zero is not None and scheme.zero != (version.sublevel == 0 or version.major == 2):
            continue
        match = scheme.match(rest)
        if match is not None:
            return scheme, match
    return None


def _architecture(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return normalize_architecture(text.split("_64k")[0])
    except UnknownArchitectureError:
        return None


def _version_of(match: re.Match[str]) -> UpstreamVersion:
    major, minor, sublevel, rc = match.groups()
    return UpstreamVersion(int(major), int(minor), int(sublevel or 0), None if rc is None else int(rc))


def _from_uname(word: str, match: re.Match[str], text: str) -> KernelRelease:
    version = _version_of(match)
    rest = word[match.end() :]
    found = _match_scheme(rest, version)
    if found is not None:
        scheme, parts = found
        groups = parts.groupdict()
        if groups.get("rc"):
            version = version._replace(rc=int(groups["rc"]))
        return KernelRelease(
            text=text,
            release=word,
            version=version,
            proof=scheme.proof,
            vanilla_like=scheme.vanilla_like,
            distro=scheme.name,
            abi=groups.get("abi"),
            flavour=groups.get("flavour"),
            architecture=_architecture(groups.get("arch")),
            modified=("snapshot",)
            if scheme.name == "fedora-rawhide"
            else _marks(rest)[0]
            if scheme.name == "android"
            else (),
            notes=(scheme.note,),
            settle=None
            if scheme.settle is None
            else scheme.settle.format(release=word, flavour=groups.get("flavour") or ""),
        )
    modified, local = _marks(rest)
    notes: tuple[str, ...] = ()
    if modified:
        notes = (f"{' '.join(modified)} in the release string: unknown patches on top of {version} or beside it",)
    elif local:
        notes = (f"{local} is not a version: a local build, or a distribution that this tool does not know",)
    return KernelRelease(
        text=text,
        release=word,
        version=version,
        proof=Proof.PATCHED if modified else Proof.EXACT,
        vanilla_like=not modified,
        modified=modified,
        local=local or None,
        notes=notes,
        settle="tailcall-audit --tree PATH   on the sources that it was built from" if modified else None,
    )


def _add_debian(release: KernelRelease | None, match: re.Match[str], text: str) -> KernelRelease:
    """Debian writes the package version into its build string: ``Debian 6.1.170-3 (2026-05-08)``."""
    major, minor, sublevel, rc = match.group(2, 3, 4, 5)
    version = UpstreamVersion(int(major), int(minor), int(sublevel or 0), int(rc[2:]) if rc else None)
    package = match.group("version")
    note = f"the build string names Debian's package {package}, whose version is the upstream stable release"
    found = release or KernelRelease(text, package, version, Proof.EXACT)
    if release is not None and release.version.branch != version.branch:
        raise ReleaseError(
            f"{text!r}: the release {release.release} and the Debian package {package} are of different series"
        )
    return found._replace(
        version=version,
        proof=Proof.EXACT,
        vanilla_like=True,
        distro="debian",
        package=package,
        notes=(note,),
        settle=None,
    )


def _add_ubuntu_signature(release: KernelRelease | None, match: re.Match[str], text: str) -> KernelRelease:
    """Ubuntu's signature ends in the stable release rolled in: ``Ubuntu 5.15.0-79.86-generic 5.15.111``."""
    stable = _RELEASE.match(match.group("stable"))
    assert stable is not None  # the signature's pattern ends in a version
    version = _version_of(stable)
    package = match.group("package")
    note = f"Ubuntu's signature: stable {version} is rolled in, and Ubuntu may have picked fixes beyond it"
    found = (
        release
        if release is not None and release.distro == "ubuntu"
        else KernelRelease(text, package, version, Proof.PATCHED)
    )
    name = re.sub(r"^(\d+\.\d+\.\d+-\d+)\.\d+(?:~[\d.]+)?", r"\1", package)
    settle = f"apt changelog linux-image-unsigned-{name} | grep -F 'bpf'"
    return found._replace(
        version=version,
        proof=Proof.PATCHED,
        vanilla_like=True,
        distro="ubuntu",
        package=package,
        notes=(note,),
        settle=settle,
    )


def parse_release(text: str) -> KernelRelease:
    """Parse one line that names a kernel; raises ReleaseError when there is no kernel version in it."""
    if len(text) > _MAX_LENGTH:
        raise ReleaseError(f"a kernel release of {len(text)} characters: no kernel has one over {_MAX_LENGTH}")
    line = " ".join(text.split())
    build = line.rfind(" #") + 1  # what follows is uname -v; before it a compiler may be called Debian too
    debian = _DEBIAN_BUILD.search(line, build)
    signature = _UBUNTU_SIGNATURE.search(line)
    plain = line if signature is None else line[: signature.start()]
    found = _find_release(plain if debian is None else plain[: debian.start()])
    release = None if found is None else _from_uname(*found, text=line)
    if debian is not None:
        release = _add_debian(release, debian, line)
    elif signature is not None:
        release = _add_ubuntu_signature(release, signature, line)
    if release is None:
        raise ReleaseError(
            f"{_shown(line)}: no kernel version in it; expected something like 6.1.170, 6.8.0-35-generic or a line of uname -a"
        )
    upload = _UBUNTU_BUILD.search(line)
    if upload is not None and release.distro == "ubuntu" and release.package is None:
        release = release._replace(package=f"{release.version.branch}.0-{release.abi}.{upload.group(1)}")
    if release.architecture is None:
        outside = _UNAME_ARCH.findall(line)
        release = release._replace(architecture=_architecture(outside[-1])) if outside else release
    return release


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
