"""A release string as a subject, refined by a configuration of the same kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, TargetKind
from tailcall_audit.analyzer.subjects.subject import ANY_DISTRIBUTION, Parts, Request, Subject, make_subject

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.online import Online

__all__ = ["open_subjects", "teaching_command"]

_MOST_TEXT = 200
"""Characters of the user's line that a suggested command repeats."""
_FETCHES = "fetches its changelog; without a network, on that host: tailcall-audit"


def _refine(release: KernelRelease, config: KernelConfig) -> tuple[KernelRelease, list[str]]:
    """Returns the stable release that an ABI number hides, if a configuration of that very kernel names it, and notes."""
    known = config.release
    if release.proof is not Proof.BASE or known is None or known.version.branch != release.version.branch:
        return release, []
    signature = config.options.get("VERSION_SIGNATURE", "")  # Ubuntu's: "Ubuntu 5.15.0-79.86-generic 5.15.111"
    same_abi = bool(release.abi) and f"{release.version}.0-{release.abi}." in signature
    if not same_abi and not config.path.endswith(f"config-{release.release}"):
        note = (
            f"{config.path} says {known.version}, but nothing in it or in its name says that it is of {release.release}"
        )
        return release, [note]
    proof = Proof.PATCHED if release.own_patches else Proof.EXACT
    note = f"{config.path} says {known.version}: taken as the stable release that {release.release} was built from"
    return release._replace(version=known.version, proof=proof, builds=(), whole_series=None), [note]


def teaching_command(request: Request, release: KernelRelease) -> str | None:
    """Returns the command that finds out which commits a build has, from what its distribution publishes; None if it
    publishes nothing that can be read.
    """
    distribution = next((entry for entry in request.catalog.distributions if entry.name == release.distro), None)
    published = None if distribution is None else distribution.published
    if published is None or distribution is None or release.proof is Proof.NOTHING:
        return None
    if published.base is None and published.repository is None:
        return None
    if published.base is None and not {distribution.name, ANY_DISTRIBUTION}.intersection(request.repositories):
        on_host = f"; or on that host: {release.settle.partition('   ')[0]}" if release.settle else ""
        package = distribution.flavour_packages.get(release.flavour or "", published.repository)
        what = f"a repository that has {package} of this build, the folder above repodata"
        return f"tailcall-audit survey --repo URL --write   ({what}{on_host})"
    from shlex import quote  # imported here: a release that its version decides does not need it

    named = release.text if release.package is not None and len(release.text) <= _MOST_TEXT else release.release
    here = "" if published.base is None else f"   ({_FETCHES})"
    return f"tailcall-audit --kernel {quote(named)} --online{here}"


def _looked_up(request: Request, online: Online, release: KernelRelease) -> Subject:
    """Returns the kernel of a build, by the changelog that is found for it."""
    found = online.look_up(request, release)
    opened = found.changelog
    return make_subject(
        request,
        TargetKind.RELEASE,
        release.release,
        release=found.release,
        architecture=(release.architecture, release.release),
        config=request.config,
        parts=Parts(changelog=opened),
        notes=found.notes,
        changelog=None if opened is None else opened.changelog.path,
    )


def open_subjects(request: Request, text: str) -> Iterator[Subject]:
    """Yields the kernel that a text names, looked up where the request says so; raises ReleaseError if it names none."""
    release = parse_release(text, request.catalog)
    if request.online is not None:
        yield _looked_up(request, request.online, release)
        return
    release = release._replace(teach=teaching_command(request, release))
    config = request.config
    named = (release.architecture, release.release)
    if release.architecture is None and config is not None:
        named = (config.architecture, config.path)
    notes: list[str] = []
    if config is not None:
        release, notes = _refine(release, config)
    yield make_subject(
        request,
        TargetKind.RELEASE,
        release.release,
        release=release,
        confidence=Confidence.MEDIUM if notes else Confidence.HIGH,
        architecture=named,
        config=config,
        notes=notes,
    )
