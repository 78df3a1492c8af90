"""The BPF programs that are audited beside kernels: which ones the user named, and how they meet the verdicts. Shared
by ``exposure`` and ``--programs``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.model import Report
from tailcall_audit.analyzer.version import parse_version
from tailcall_audit.probes.reading import open_file

if TYPE_CHECKING:
    from tailcall_audit.analyzer.exposing import Asked
    from tailcall_audit.analyzer.exposure.report import ExposureReport

__all__ = ["asked_for", "joined", "named_programs"]

LOADED = "loaded"
"""The word that a user gives in place of a file for the programs that this host has loaded."""


def asked_for(objects: Sequence[str], bpftool: Sequence[str], *, loaded: bool, closed: bool, compiled: bool) -> Asked:
    """Returns the programs that these options name."""
    from tailcall_audit.analyzer.exposing import Asked

    files = tuple(dict.fromkeys(map(os.path.expanduser, objects)))
    return Asked(files, tuple(map(os.path.expanduser, bpftool)), loaded, closed, compiled)


def named_programs(given: Sequence[str], *, closed: bool, compiled: bool) -> Asked:
    """Returns the programs that ``--programs`` names: objects, bpftool's JSON, or `loaded`."""
    files = [name for name in given if name != LOADED]
    bpftool = [name for name in files if _is_json(os.path.expanduser(name))]
    objects = [name for name in files if name not in bpftool]
    return asked_for(objects, bpftool, loaded=LOADED in given, closed=closed, compiled=compiled)


def _is_json(path: str) -> bool:
    """Returns True for a folder, and a file that begins as JSON does."""
    if os.path.isdir(path):
        return True
    try:
        with open_file(path) as file:
            return file.read(64).lstrip()[:1] in (b"[", b"{")
    except OSError:
        return False  # the reader of objects says why


def joined(
    found: ExposureReport, report: Report | None, architecture: str | None, *, every_branch: bool
) -> ExposureReport:
    """Returns the exposure joined with the audit of kernels, and the oldest releases of their branches, or of all."""
    from tailcall_audit.analyzer.architecture import normalize_architecture
    from tailcall_audit.analyzer.exposure.join import join, matrix
    from tailcall_audit.analyzer.exposure.releases import oldest_without_hit

    arch = _architecture(report) if architecture is None else normalize_architecture(architecture)
    found = found._replace(architecture=arch)
    wanted = None if every_branch else _branches(report)
    oldest = tuple(
        item
        for item in (oldest_without_hit(found.catalog, found.exposures, arch) if wanted is None or wanted else ())
        if wanted is None or item.branch in wanted
    )
    if report is None:
        return found._replace(oldest=oldest)
    both = join(report, found.exposures)
    return found._replace(report=both, rows=matrix(both, found.exposures), oldest=oldest)


def _architecture(report: Report | None) -> str | None:
    """Returns the architecture that all kernels of a report have; None if they have several, or if one is not known."""
    names = {target.identity.get("architecture") for target in report.targets} if report is not None else set()
    return names.pop() if len(names) == 1 else None


def _branches(report: Report | None) -> set[str]:
    """Returns the branches of the releases that a report's kernels are built from."""
    targets = report.targets if report is not None else ()
    versions = (target.identity.get("upstream") or "" for target in targets)
    return {parse_version(version).branch for version in versions if version}
