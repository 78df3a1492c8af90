"""Runs the probes for an audited kernel, on this host or in a guest booted from its image, and adds the observations."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.live.bootfile import BootFile, in_memory, read_boot_file
from tailcall_audit.analyzer.model import AuditError, Bootable, Report, Rule, TargetKind, TargetReport
from tailcall_audit.analyzer.paths import check_file, expanded
from tailcall_audit.analyzer.policy.agreement import observe_all
from tailcall_audit.analyzer.text import printable
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.boot import Guest, GuestError, GuestRun, run_in_guest
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import find_machine, find_qemu, is_native
from tailcall_audit.probes.kernel.privileges import missing_capabilities
from tailcall_audit.probes.kernel.syscall import machine_is_known
from tailcall_audit.probes.probe import Probe, Result, slug_on
from tailcall_audit.probes.runner import Runner

__all__ = ["Guests", "announcement", "confirm_in_guest", "confirm_on_host"]

_PREPARING = threading.Lock()
_NEEDED = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")


def _architecture() -> str:
    machine = os.uname().machine
    try:
        return normalize_architecture(machine)
    except UnknownArchitectureError:
        return machine


def _probed(target: TargetReport, architecture: str) -> dict[str, Probe]:
    """Returns the probes that could see a target's defects on an architecture, by the slug of the defect there."""
    slugs = {item.defect.slug for item in target.verdicts if item.rule is not Rule.OTHER_ARCHITECTURE}
    found = {slug_on(probe, architecture): probe for probe in PROBES}
    return {slug: probe for slug, probe in found.items() if slug in slugs}


def announcement(target: TargetReport) -> str:
    """Returns a sentence that says what probing this host will load, for the user to read beforehand."""
    probes = _probed(target, _architecture())
    loads = "; ".join(probe.loads for probe in probes.values())
    return (
        f"running {len(probes)} probes on this host, each in a process of its own. They load BPF programs, attach some of them to"
        f" each other and to nothing else, and remove all of them at the end: {loads}. Probes that could panic a kernel are"
        " left out"
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
    probes = _probed(target, _architecture())
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
        notes.append(f"the kernel still has {', '.join(left)}")
    seen = observe_all(target, results, "on this host")._replace(notes=(*target.notes, *notes))
    return report._replace(targets=tuple(seen if item is target else item for item in report.targets))


@dataclass(frozen=True)
class Guests:
    """How guests are made: the boot options, the root file system with a Python for those of another architecture
    (None: the one that was fetched), and a way to cancel.
    """

    guest: Guest
    python: Path | None = None
    cancelled: Callable[[], bool] = lambda: False

    def confirm(
        self, target: TargetReport, bootable: Bootable, progress: Callable[[str], None]
    ) -> tuple[TargetReport, GuestRun]:
        """Boots an image and compares the observations of its probes with a target's report; raises AuditError."""
        name = Path(bootable.member or bootable.path).name
        if bootable.member is not None:
            progress(f"unpacking {bootable.member}")
        image = read_boot_file(bootable)
        machine = _machine(target, image, name)
        probes = _probed(target, machine.architecture)
        slugs = [probe.slug for probe in probes.values()]
        try:
            initramfs = self._archive(machine)
            data = image.kernel if machine.is_unwrapped and image.kernel is not None else image.file
            with in_memory(data, name) as path:
                run = run_in_guest(
                    path,
                    initramfs,
                    self.guest,
                    slugs,
                    progress,
                    cancelled=self.cancelled,
                    name=name,
                    architecture=machine.architecture,
                )
        except GuestError as error:
            raise AuditError(f"--confirm=vm: {error}") from error
        _same_kernel(target, run)
        results = {
            slug: run.results[probe.slug]._replace(detail=printable(run.results[probe.slug].detail))
            for slug, probe in probes.items()
            if probe.slug in run.results
        }
        seen = observe_all(target, results, f"in a guest booted from {name}")
        return seen._replace(notes=(*target.notes, *_notes(target, machine, run, self.guest.kvm))), run

    def _archive(self, machine: Machine) -> Path:
        """Returns the archive that guests of a machine boot with; raises AuditError. Guests that need the same archive
        wait for it.
        """
        from tailcall_audit.analyzer.live.pythons.store import guest_archive

        find_qemu(machine.architecture)  # the first thing that is missing is reported first
        with _PREPARING:
            try:
                return guest_archive(machine, self.python)
            except AuditError as error:
                raise AuditError(f"--confirm=vm: {error}") from error


def _machine(target: TargetReport, image: BootFile, name: str) -> Machine:
    """Returns the machine that an image boots on: that of its own architecture, else of its target's, else this host's.
    Raises AuditError if the image and the target contradict each other.
    """
    audited = target.identity.get("architecture")
    if audited and image.architecture and audited != image.architecture:
        raise AuditError(
            f"--confirm=vm: {target.name} was audited for {audited}, and {name} is for {image.architecture}: audit it for"
            f" that (--arch {image.architecture}), or name an image of {audited}"
        )
    try:
        return find_machine(image.architecture or audited or None)
    except GuestError as error:
        raise AuditError(f"--confirm=vm: {name}: {error}") from error


def _notes(target: TargetReport, machine: Machine, run: GuestRun, by_kvm: bool) -> list[str]:
    """Returns the report's note about a guest."""
    how = "by KVM" if by_kvm else "emulated"
    pages = run.facts.get("page_size", "")
    size = f", {int(pages) >> 10} KiB pages" if pages.isdigit() and pages not in ("", "4096") else ""
    where = "" if is_native(machine) else f"{machine.architecture}, "
    boots = f"{run.boots} boot{'s' if run.boots > 1 else ''}"
    notes = [
        f"guest: {printable(run.version or target.name)}, {where}{how}{size}, {boots}; what it shows holds for this image and"
        " its configuration"
    ]
    if run.facts.get("jit_at_boot") == "0" and run.facts.get("jit") != "0":
        notes.append(
            "guest: the kernel boots with the JIT off (net.core.bpf_jit_enable=0), and it was switched on in the guest: where a"
            " host leaves it off, no defect of the JIT can be reached"
        )
    if run.failure is not None:
        notes.append(f"guest: {printable(run.failure)}")
    if run.left:
        notes.append(f"the guest's kernel still had {', '.join(run.left)}")
    return notes


def _same_kernel(target: TargetReport, run: GuestRun) -> None:
    """Raises AuditError if the guest surely runs another release than the target: one kernel is not judged by another."""
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


def confirm_in_guest(report: Report, guests: Guests, image: str | None, progress: Callable[[str], None]) -> Report:
    """Boots each target's image (or the one given) and runs the probes in it; raises AuditError if there is no image."""
    targets = []
    for target in report.targets:
        if image is not None:
            path = expanded(image)
            check_file(path, "give the image to boot with --image")
            targets.append(guests.confirm(target, Bootable(str(path)), progress)[0])
        else:
            targets.append(boot_target(target, guests, progress)[0])
    return report._replace(targets=tuple(targets))


def boot_target(target: TargetReport, guests: Guests, progress: Callable[[str], None]) -> tuple[TargetReport, GuestRun]:
    """Boots the image that a target came with; raises AuditError."""
    bootable = target.bootable
    if bootable is None:
        raise AuditError(f"--confirm=vm: {target.name}: no kernel image at hand to boot; name one with --image FILE")
    return guests.confirm(target, bootable, progress)
