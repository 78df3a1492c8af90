"""The parsed name of a kernel: its parts, and how much they prove. Also the errors for names that prove nothing."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Build", "KernelRelease", "NoKernelError", "ReleaseError", "WholeSeries", "shown"]


class ReleaseError(AuditError):
    """A string in which no kernel version can be found, or more than one."""


class NoKernelError(ReleaseError):
    """A string in which there is no kernel version at all."""


class Build(NamedTuple):
    """A package that an ABI number may name, and its upstream release."""

    package: str
    version: UpstreamVersion


class WholeSeries(NamedTuple):
    """A series whose changelog was read whole: the commits of the catalogue that it lists, and the source."""

    adds: tuple[str, ...]
    source: str


class KernelRelease(NamedTuple):
    """A parsed kernel name.

    `proof` says how far `version` is proven; `modified` lists the marks of unknown patches (``-next``, ``-g<sha>``,
    ``+``, ``-dirty``); `local` is a LOCALVERSION that a user chose, which only lowers confidence. `release` is the
    ``uname -r`` part. `vanilla_like` kernels take no features of later releases; `own_patches` says that the vendor's
    patches are not known. `lineage` names the distributions whose facts about builds hold, the own one first. `built`
    is the day in the build string, and `date_source` the source that says it is real. A `snapshot` is a point of
    mainline's history after `version`. `builds` are all packages that an ABI number may name; `whole_series` is set if
    the changelog of the series was read. `rebuilder` is the title of those who built it anew under its distribution's
    name. `teach` is the command that looks the build up, if there is one. `shown` replaces `release` in the words of
    evidence (None: `release` itself).
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
    own_patches: bool = False
    lineage: tuple[str, ...] = ()
    built: str | None = None
    date_source: str | None = None
    snapshot: bool = False
    builds: tuple[Build, ...] = ()
    builds_source: str | None = None
    whole_series: WholeSeries | None = None
    rebuilder: str | None = None
    teach: str | None = None
    shown: str | None = None

    @property
    def called(self) -> str:
        """The name of the kernel in the words of evidence."""
        return self.release if self.shown is None else self.shown


def shown(text: str) -> str:
    """Returns the start of a text, quoted, for a message."""
    return repr(text if len(text) <= 80 else text[:80] + "…")
