"""Proof: runs the probes for an audited kernel, on this host or in a guest booted from its image, and takes what they
saw into account.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.model import AuditError, Report, Rule, TargetKind, TargetReport
from tailcall_audit.analyzer.paths import cache_folder, check_file, expanded
from tailcall_audit.analyzer.policy.agreement import observe_all
from tailcall_audit.analyzer.text import printable
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.archive import InitramfsError, build_initramfs
from tailcall_audit.probes.guest.boot import Guest, GuestError, GuestRun, run_in_guest
from tailcall_audit.probes.kernel.bpf import machine_is_known
from tailcall_audit.probes.kernel.privileges import missing_capabilities
from tailcall_audit.probes.probe import Probe, Result, slug_on
from tailcall_audit.probes.runner import Runner

__all__ = ["Guests", "announcement", "confirm_in_guest", "confirm_on_host"]

_NEEDED = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")


def _architecture() -> str:
    machine = os.uname().machine
    try:
        return normalize_architecture(machine)
    except UnknownArchitectureError:
        return machine


def _probed(target: TargetReport) -> dict[str, Probe]:
    """Returns the probes that could see a target's defects here, by the slug of the defect on this host's architecture."""
    slugs = {item.defect.slug for item in target.verdicts if item.rule is not Rule.OTHER_ARCHITECTURE}
    architecture = _architecture()
    found = {slug_on(probe, architecture): probe for probe in PROBES}
    return {slug: probe for slug, probe in found.items() if slug in slugs}


def announcement(target: TargetReport) -> str:
    """Returns what probing this host will load, in a sentence, for the user to read beforehand."""
    probes = _probed(target)
    loads = "; ".join(probe.loads for probe in probes.values())
    return (
        f"running {len(probes)} probes on this host, each in a process of its own, gone when it ends. They load BPF programs and"
        f" attach some to each other, to nothing else: {loads}. What could panic a kernel is not done"
    )


def _this_kernel(target: TargetReport) -> bool:
    if target.is_running:
        return True
    return target.kind is TargetKind.RELEASE and target.identity.get("release") == os.uname().release


def confirm_on_host(report: Report, announce: Callable[[str], None], progress: Callable[[str], None]) -> Report:
    """Runs the probes on this host; raises AuditError if another kernel was audited, or nothing may be run here."""
    running = [target for target in report.targets if _this_kernel(target)]
    if not running:
        raise AuditError(
            f"--confirm runs probes on this host's kernel, {os.uname().release}, and another one was audited: boot that one in a"
            " guest with --confirm=vm, or audit the host without a target"
        )
    missing = missing_capabilities()
    if set(missing) >= set(_NEEDED):
        raise AuditError(
            f"--confirm needs {', '.join(_NEEDED)} or root to load BPF programs here (sudo tailcall-audit --confirm); without,"
            " --confirm=vm boots this host's kernel in a guest"
        )
    (target, *_) = running
    announce(announcement(target))
    runner = Runner(in_guest=False)
    results: dict[str, Result] = {}
    probes = _probed(target)
    for slug, probe in probes.items():
        progress(f"probing {slug} ({len(results) + 1} of {len(probes)})")
        results[slug] = runner.run(probe)
    notes = [f"probed this host: {len(results)} probes"]
    if missing:
        notes.append(f"without {', '.join(missing)} some probes could not run")
    if not machine_is_known():
        notes.append(f"the probes were never tried on {os.uname().machine}: bpf(2) was called by its number there")
    left = runner.leftovers()
    if left:
        notes.append(f"the kernel has not let go of {', '.join(left)} yet")
    seen = observe_all(target, results, "on this host")._replace(notes=(*target.notes, *notes))
    return report._replace(targets=tuple(seen if item is target else item for item in report.targets))


@dataclass(frozen=True)
class Guests:
    """How guests are made: what to boot them with, where the archive is kept, and whether to stop."""

    guest: Guest
    cancelled: Callable[[], bool] = lambda: False

    def prepare(self) -> Path:
        """Makes the archive that guests boot with, or finds it in the cache; raises AuditError."""
        try:
            return build_initramfs(_cache())
        except InitramfsError as error:
            raise AuditError(f"--confirm=vm: {error}") from error

    def confirm(
        self, target: TargetReport, image: Path, progress: Callable[[str], None], name: str | None = None
    ) -> tuple[TargetReport, GuestRun]:
        """Boots an image (that goes by `name`) and holds what its probes saw against a target's report; raises
        AuditError.
        """
        _check_architecture(target)
        probes = _probed(target)
        slugs = [probe.slug for probe in probes.values()]
        name = name or image.name
        initramfs = self.prepare()
        try:
            run = run_in_guest(image, initramfs, self.guest, slugs, progress, cancelled=self.cancelled, name=name)
        except GuestError as error:
            raise AuditError(f"--confirm=vm: {error}") from error
        _same_kernel(target, run)
        how = "by KVM" if self.guest.kvm else "emulated"
        notes = [
            f"guest: {printable(run.version or target.name)}, {how}, {run.boots} boot{'s' if run.boots > 1 else ''}; what it shows"
            " holds for this image and its configuration"
        ]
        if run.failure is not None:
            notes.append(f"guest: {printable(run.failure)}")
        if run.left:
            notes.append(f"the guest's kernel had not let go of {', '.join(run.left)}")
        results = {
            slug: run.results[probe.slug]._replace(detail=printable(run.results[probe.slug].detail))
            for slug, probe in probes.items()
            if probe.slug in run.results
        }
        seen = observe_all(target, results, f"in a guest booted from {name}")
        return seen._replace(notes=(*target.notes, *notes)), run


def _cache() -> Path:
    return cache_folder() / "guest"


def _same_kernel(target: TargetReport, run: GuestRun) -> None:
    """Refuse to judge one kernel by another; raises AuditError if the guest is surely of another release."""
    audited = target.identity.get("upstream")
    if not run.release or not audited or target.kind is TargetKind.IMAGE:
        return
    try:
        booted = parse_release(f"Linux version {run.release} (x) {run.version}")
        known = parse_release(audited)
    except ReleaseError:
        return
    exact = booted.proof is Proof.EXACT and target.identity.get("proof") == Proof.EXACT.value
    if booted.version.branch != known.version.branch or (exact and booted.version != known.version):
        raise AuditError(
            f"--confirm=vm: the image is of {run.release} ({printable(run.version, 80)}), and {target.name} was audited, upstream"
            f" {audited}: what one shows says nothing about the other"
        )


def _check_architecture(target: TargetReport) -> None:
    wanted, ours = target.identity.get("architecture"), _architecture()
    if wanted is not None and wanted != ours:
        raise AuditError(
            f"--confirm=vm: {target.name} is for {wanted}, and only kernels of this host's {ours} are booted here"
        )


def confirm_in_guest(report: Report, guests: Guests, image: str | None, progress: Callable[[str], None]) -> Report:
    """Boots each target's image (or the one given) and runs the probes in it; raises AuditError if there is no image."""
    targets = []
    for target in report.targets:
        if image is not None:
            path = expanded(image)
            check_file(path, "give the image to boot with --image")
            targets.append(guests.confirm(target, path, progress)[0])
        else:
            targets.append(boot_target(target, guests, progress)[0])
    return report._replace(targets=tuple(targets))


def boot_target(target: TargetReport, guests: Guests, progress: Callable[[str], None]) -> tuple[TargetReport, GuestRun]:
    """Boots the image that a target came with; raises AuditError."""
    bootable = target.bootable
    if bootable is None:
        raise AuditError(f"--confirm=vm: {target.name}: no kernel image at hand to boot; name one with --image FILE")
    if bootable.member is None:
        return guests.confirm(target, Path(bootable.path), progress)
    name = Path(bootable.member).name
    progress(f"unpacking {bootable.member}")
    # A file that is nowhere: whatever ends this process, nothing of it is left behind.
    descriptor = os.memfd_create(name[:200])
    with os.fdopen(descriptor, "wb") as file:
        file.write(read_bootable(bootable))
        file.flush()
        return guests.confirm(target, Path(f"/proc/{os.getpid()}/fd/{descriptor}"), progress, name)
