"""The audit of a kernel image: what the binary says of itself, alone or as the image in a package or of the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.binary import Binary, read_system_map
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, unpack
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError, KernelConfig, parse_config
from tailcall_audit.analyzer.model import (
    Bootable,
    Evidence,
    EvidenceKind,
    Presence,
    TargetKind,
    TargetReport,
)
from tailcall_audit.analyzer.paths import check_file, expanded, is_file
from tailcall_audit.analyzer.readers.btf import btf_evidence, code_evidence
from tailcall_audit.analyzer.subjects.release_string import KernelRelease, ReleaseError, parse_release
from tailcall_audit.analyzer.subjects.target import Target, identity_of
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["ImageFacts", "audit_image", "read_image", "read_running_btf", "with_overruled"]

_MAX_BTF = 64 << 20
_STUB = 1 << 20
"""Bytes: Debian ships a System.map of a line or two in place of the real one, which has megabytes."""
_BINARY = (EvidenceKind.EMULATION, EvidenceKind.CODE, EvidenceKind.BTF)


@dataclass(frozen=True)
class ImageFacts:
    """What an image says: the kernel that it is, its configuration, and evidence."""

    banner: str
    release: KernelRelease
    architecture: str | None
    config: KernelConfig | None
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]


def read_image(
    target: Target, data: bytes, name: str, progress: Callable[[str], None], system_map: Path | None = None
) -> ImageFacts:
    """Read a kernel image; raises ImageError where it is none, or names no kernel."""
    progress(f"unpacking {name}")
    kernel = unpack(data, name)
    symbols = None
    notes: list[str] = []
    if system_map is not None:
        symbols = read_system_map(system_map)
        if not symbols:
            notes.append(
                f"{system_map}: no address of a function in it (Debian's is a stub): the image's own table is read"
            )
    binary = Binary(kernel, symbols or None)
    banner = binary.identify(name)
    try:
        release = parse_release(banner)
    except ReleaseError as error:
        raise ImageError(f"{name}: its banner names no kernel version: {banner[:120]!r}") from error
    config = None
    if (text := binary.config) is not None:
        try:
            config = parse_config(text, f"{name}:IKCONFIG")
        except ConfigError as error:
            notes.append(str(error))
    progress(f"reading the types in {name}")
    evidence: list[Evidence] = []
    if (btf := binary.btf) is not None:
        evidence += btf_evidence(target.catalog, btf, f"{name}: BTF")
    else:
        notes.append(f"{name} has no BTF that can be read (CONFIG_DEBUG_INFO_BTF): its structures are not known")
    if kernel.architecture == "x86_64":
        progress(f"reading the code in {name}")
        found = list(code_evidence(binary, name))
        evidence += found
        seen = {item.commit for item in found}
        notes.append(
            f"image: {', '.join(kernel.form)}; its code speaks of {len(seen)} commits"
            if seen
            else f"image: {', '.join(kernel.form)}; its code is of no shape that is known here, so that only its version and types speak"
        )
    else:
        notes.append(f"image: {', '.join(kernel.form)}; machine code is read for x86-64 only")
    found_by_running, told = _run_functions(target, binary, kernel.architecture, name, progress)
    evidence += found_by_running
    notes += told
    notes += [f"{name}: {text}" for text in binary.notes]
    return ImageFacts(banner, release, kernel.architecture, config, tuple(evidence), tuple(notes))


def _run_functions(
    target: Target, binary: Binary, architecture: str | None, name: str, progress: Callable[[str], None]
) -> tuple[list[Evidence], list[str]]:
    """What the kernel's own functions do when they are run in an emulator: evidence and notes."""
    from tailcall_audit.analyzer.emulator.reasons import Why
    from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases

    if architecture is None:
        return [], []
    only = frozenset(key for defect in target.defects for key in defect.commits)
    cases = wanted_cases(target.catalog, architecture, only)
    if not cases:
        return [], []
    progress(f"running {len(cases)} cases on functions of {name}")
    found = emulate(binary, architecture, cases)
    if found.why is None:
        answered = sum(item.outcome is not None for item in found.results.values())
        note = f"{answered} of {len(cases)} cases of its functions, run in an emulator, have an answer"
        return list(evidence_of(target.catalog, found, architecture, name, only)), [note]
    if found.why.why is Why.NO_MACHINE:
        return [], []
    if found.why.why is Why.NO_EMULATOR:
        return [], [
            f"not run: {len(cases)} cases that could decide by what functions do; install tailcall-audit[emulation]"
        ]
    return [], [f"its functions were not run: {found.why}"]


def read_running_btf(target: Target, path: str) -> tuple[list[Evidence], list[str]]:
    """What the running kernel says of its types (/sys/kernel/btf/vmlinux, which everybody may read): evidence and notes."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BTF)
        return list(btf_evidence(target.catalog, Btf(data), path)), [f"types read from {path}"]
    except (OSError, BtfError) as error:
        return [], [f"{path}: {error}"]


def audit_image(
    target: Target, name: str, config: KernelConfig | None, system_map: str | None, progress: Callable[[str], None]
) -> TargetReport:
    """Audit a kernel image; raises AuditError where it can't be read."""
    path = expanded(name)
    check_file(path, "give a kernel image, as vmlinuz")
    bootable = Bootable(str(path))
    symbols = _system_map(path, system_map)
    facts = read_image(target, read_bootable(bootable), str(path), progress, symbols)
    target.evidence += facts.evidence
    target.notes += facts.notes
    release = facts.release
    architecture = target.architecture(facts.architecture or release.architecture, str(path))
    target.release_facts(release)
    used = config or facts.config
    speaks = target.speaks(used, release, architecture)
    identity = identity_of(release, architecture, image=str(path), banner=facts.banner)
    report = target.report(path.name, TargetKind.IMAGE, identity, used, speaks)
    return with_overruled(report)._replace(bootable=bootable)


def with_overruled(report: TargetReport) -> TargetReport:
    """The report with a note on each commit of which the binary says something else than the version or the changelog."""
    notes: dict[str, str] = {}
    for item in report.verdicts:
        for key, _, text in (text.partition(": ") for text in item.disagreements):
            said = next(
                (
                    entry
                    for kind in _BINARY
                    for entry in item.evidence
                    if entry.commit == key and entry.kind is kind and entry.presence is not Presence.UNKNOWN
                ),
                None,
            )
            if said is not None:
                has = "is in the binary" if said.presence is Presence.PRESENT else "is not in the binary"
                notes[key] = f"{key} {has}: {said.detail.partition(' (')[0]}; but {text}"
    return report._replace(notes=(*notes.values(), *report.notes))


def _system_map(image: Path, named: str | None) -> Path | None:
    """The System.map given, or the one beside the image under the same release."""
    if named is not None:
        path = expanded(named)
        check_file(path, "give the System.map of the image with --system-map")
        return path
    _, dash, release = image.name.partition("-")
    # Only where the names say that they belong together: addresses of another build would lead into the middle of nowhere.
    beside = image.with_name(f"System.map-{release}")
    return beside if dash and is_file(beside) and beside.stat().st_size > _STUB else None
