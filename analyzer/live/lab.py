"""Boots many kernels in guests, a few at a time: the prediction for each, and the observation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.containers import HEADER_SIZE, has_kernel_header
from tailcall_audit.analyzer.live.confirm import Guests, boot_target
from tailcall_audit.analyzer.model import AuditError, EvidenceKind, Report, Skipped, TargetReport
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.pipeline import audit
from tailcall_audit.probes.reading import open_file

__all__ = ["find_kernels", "run_lab"]

_PACKAGES = (".deb", ".rpm")
_IMAGES = ("vmlinuz", "bzImage", "vmlinux", "Image", "zImage")


def _looks_like_a_kernel(path: Path) -> bool:
    """Returns True if a file of a folder has the name or the header of a kernel to boot; the folder may hold
    anything.
    """
    if not is_file(path):
        return False
    return path.suffix in (*_PACKAGES, ".efi") or path.name.startswith(_IMAGES) or _has_a_kernel_header(path)


def _has_a_kernel_header(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return has_kernel_header(file.read(HEADER_SIZE))
    except OSError:
        return False


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(filter(_looks_like_a_kernel, folder.iterdir()))
    except OSError as error:
        raise AuditError(f"{folder}: cannot read: {error.strerror or error}") from error


def find_kernels(names: Sequence[str]) -> list[Path]:
    """Returns the files named, and those of the folders named that look like kernels; raises AuditError if there are
    none.
    """
    found: list[Path] = []
    for name in names:
        path = expanded(name)
        kind = kind_of(path)
        if kind is Kind.FOLDER:
            inside = _inside(path)
            if not inside:
                raise AuditError(f"{path}: no kernel image, .deb or .rpm in this folder")
            found += inside
        elif kind is not Kind.MISSING:
            found.append(path)
        else:
            raise AuditError(f"{path}: no such file or folder")
    return list(dict.fromkeys(found))


def run_lab(
    names: Sequence[str],
    guests: Guests,
    *,
    catalog: Catalog,
    jobs: int | None = None,
    only: Sequence[str] = (),
    pitfalls: bool = False,
    emulate: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Audits and boots every kernel, `jobs` at a time (None: one a processor); raises AuditError if none could be
    booted.

    `say` is called for each kernel that is done or could not be booted. With `emulate` the predictions are made without
    running functions of the image, whose results are added as evidence.
    """
    kernels = find_kernels(names)
    stop = threading.Event()
    wanted = _Wanted(replace(guests, cancelled=stop.is_set), catalog, only, pitfalls, emulate)
    done: dict[Path, TargetReport] = {}
    failed: dict[Path, str] = {}
    with ThreadPoolExecutor(max_workers=jobs or os.cpu_count() or 1) as pool:
        futures = {pool.submit(copy_context().run, _boot, path, wanted, progress): path for path in kernels}
        try:
            for future in as_completed(futures):
                path = futures[future]
                try:
                    done[path] = future.result()
                except AuditError as error:
                    failed[path] = str(error)
                say(f"{len(done) + len(failed)} of {len(kernels)}: {failed.get(path) or done[path].name}")
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if not done:
        raise AuditError(next(iter(failed.values())))
    return Report(
        tuple(done[path] for path in kernels if path in done),
        catalog,
        skipped=tuple(Skipped(str(path), why) for path, why in failed.items()),
    )


@dataclass(frozen=True)
class _Wanted:
    """What a lab is asked about each kernel: the parameters of `run_lab`."""

    guests: Guests
    catalog: Catalog
    only: Sequence[str]
    pitfalls: bool
    emulate: bool


def _boot(path: Path, wanted: _Wanted, progress: Callable[[str], None]) -> TargetReport:
    """Returns the prediction for a kernel and the observations of its guest; raises AuditError."""
    target = _audited(path, wanted, run_functions=not wanted.emulate)
    if target.bootable is None:
        raise AuditError(f"{path}: no kernel image in this package")
    if wanted.emulate:
        target = _with_emulation(target, _audited(path, wanted, run_functions=True))
    return boot_target(target, wanted.guests, progress)[0]


def _audited(path: Path, wanted: _Wanted, run_functions: bool) -> TargetReport:
    is_package = path.suffix in _PACKAGES
    report = audit(
        packages=[str(path)] if is_package else [],
        images=[] if is_package else [str(path)],
        catalog=wanted.catalog,
        only=wanted.only,
        pitfalls=wanted.pitfalls,
        emulate=run_functions,
    )
    (target,) = report.targets
    return target


def _with_emulation(predicted: TargetReport, emulated: TargetReport) -> TargetReport:
    """Returns a report with the evidence of a second one that comes from running functions; its verdicts stay as they
    are.
    """
    found = {
        verdict.defect.slug: tuple(item for item in verdict.evidence if item.kind is EvidenceKind.EMULATION)
        for verdict in emulated.verdicts
    }
    verdicts = tuple(
        verdict._replace(evidence=verdict.evidence + found.get(verdict.defect.slug, ()))
        for verdict in predicted.verdicts
    )
    return predicted._replace(verdicts=verdicts)
