"""The version in a kernel's top-level Makefile, and the marks that distributions leave in a tree."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError, first_parent_subjects
from tailcall_audit.analyzer.kernelfiles.tree_files import FileRead, FileReader, ReadState
from tailcall_audit.analyzer.subjects.release_string import KernelRelease, ReleaseError, parse_release
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["TreeIdentity", "identity_from_history", "is_kernel_makefile", "read_identity"]

_RELEASE_SUBJECT = re.compile(rb"Linux (\d+\.\d+(?:\.\d+)?(?:-rc\d+)?)")
_MAX_FIRST_PARENTS = 150_000

_VARIABLE = re.compile(rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_MARKS = (
    ("Makefile.rhelver", "rhel", "Makefile.rhelver: a tree of the RHEL family, with backports of whole subsystems"),
    ("localversion-next", "linux-next", "localversion-next: linux-next, with what the next release may bring"),
    ("debian.master/changelog", "ubuntu", "debian.master/: Ubuntu's tree"),
    ("debian/changelog", "debian", "debian/: a Debian source package"),
    ("android/abi_gki_aarch64.stg", "android", "android/: an Android common kernel"),
    ("build.config.gki", "android", "build.config.gki: an Android common kernel"),
    ("uek-rpm/ol9/kernel-uek.spec", "oracle-uek", "uek-rpm/: Oracle's UEK"),
    ("rpm/config.sh", "suse", "rpm/config.sh: a SUSE kernel source"),
)
_NOT_VANILLA = frozenset(("rhel", "suse", "oracle-uek", "android", "linux-next"))


@dataclass(frozen=True)
class TreeIdentity:
    """What a tree says it is: the Makefile's version, the distribution whose marks it has, and notes about both."""

    release: KernelRelease
    distro: str | None
    vanilla_like: bool
    notes: tuple[str, ...]

    @property
    def version(self) -> UpstreamVersion:
        """The upstream version of the Makefile."""
        return self.release.version


def is_kernel_makefile(data: bytes) -> bool:
    """Whether a Makefile is the top-level one of a kernel."""
    found = {match.group(1) for match in _VARIABLE.finditer(data[:65536])}
    return {b"VERSION", b"PATCHLEVEL", b"SUBLEVEL"} <= found and b"KERNELVERSION" in data


def _version_text(makefile: FileRead) -> str | None:
    values = {
        match.group(1): match.group(2).decode("ascii", "replace")
        for match in reversed(list(_VARIABLE.finditer(makefile.data[:65536])))
    }
    if not {b"VERSION", b"PATCHLEVEL"} <= values.keys():
        return None
    return (
        f"{values[b'VERSION']}.{values[b'PATCHLEVEL']}.{values.get(b'SUBLEVEL') or 0}{values.get(b'EXTRAVERSION', '')}"
    )


def read_identity(reader: FileReader) -> TreeIdentity | None:
    """Read the version of a tree; None when its Makefile cannot be read or has no version."""
    makefile = reader.read("Makefile")
    text = _version_text(makefile) if makefile.state is ReadState.READ else None
    if text is None:
        return None
    try:
        release = parse_release(text)
    except ReleaseError:
        return None
    for path, distro, note in _MARKS:
        if reader.read(path).state is ReadState.READ:
            return TreeIdentity(release, distro, distro not in _NOT_VANILLA, (note,))
    return TreeIdentity(release, None, True, ())


def identity_from_history(repository: pygit2.Repository, head: str) -> TreeIdentity | None:
    """The version by the newest release commit ("Linux 6.1.170") among the first parents, where the Makefile is not there."""
    try:
        for name, subject in first_parent_subjects(repository, head, _MAX_FIRST_PARENTS):
            match = _RELEASE_SUBJECT.fullmatch(subject.strip())
            if match is not None:
                version = match.group(1).decode("ascii")
                note = f'the Makefile could not be read; {version} by commit {name[:12]} ("Linux {version}")'
                return TreeIdentity(parse_release(version), None, True, (note,))
    except (WalkError, ReleaseError):
        pass
    return None
