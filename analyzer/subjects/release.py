"""A release string as a subject, refined by a configuration of the same kernel."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, TargetKind
from tailcall_audit.analyzer.subjects.subject import Request, Subject, make_subject

__all__ = ["open_subjects"]


def _refine(release: KernelRelease, config: KernelConfig) -> tuple[KernelRelease, list[str]]:
    """Returns the stable release that an ABI number hides, where a configuration of that very kernel names it; and
    notes.
    """
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


def open_subjects(request: Request, text: str) -> Iterator[Subject]:
    """Yields the kernel that a text names; raises ReleaseError if it names none."""
    release = parse_release(text, request.catalog)
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
