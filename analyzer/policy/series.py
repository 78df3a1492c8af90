"""Verdicts on several kernels together: the first version without a defect, and the fixes that a reboot would bring."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.model import FirstFixed, Skipped, State, TargetReport

__all__ = ["first_fixed", "first_fixed_by_series", "with_pending_reboots"]

_WITHOUT = (State.FIXED, State.NOT_AFFECTED)


def first_fixed(kernel: str, builds: Sequence[TargetReport | Skipped]) -> list[FirstFixed]:
    """Returns, for each defect, the first version after which no later version has it.

    `builds` are oldest first. One that could not be judged may have every defect.
    """
    states = [item.states if isinstance(item, TargetReport) else {} for item in builds]
    found = []
    for slug in dict.fromkeys(slug for each in states for slug in each):
        free = 0
        while free < len(states) and states[-1 - free].get(slug) in _WITHOUT:
            free += 1
        oldest = builds[-free] if free else None
        found.append(FirstFixed(kernel, slug, oldest.name if isinstance(oldest, TargetReport) else None))
    return found


def first_fixed_by_series(builds: Sequence[TargetReport | Skipped]) -> tuple[FirstFixed, ...]:
    """Returns the same for every series of builds, which are oldest first within each."""
    series: dict[str, list[TargetReport | Skipped]] = {}
    for build in builds:
        if build.series is not None:
            series.setdefault(build.series, []).append(build)
    # An index that cannot be read may have had the newest build of every series.
    unplaced = [build for build in builds if build.series is None and isinstance(build, Skipped)]
    for members in series.values():
        members.extend(unplaced)
    return tuple(item for name, members in series.items() for item in first_fixed(name, members))


def with_pending_reboots(reports: Sequence[TargetReport]) -> list[TargetReport]:
    """Returns the reports; that of the running kernel has a note on each other installed kernel that has a fix which it
    lacks.
    """
    return [_with_pending_reboot(report, reports) if report.is_running else report for report in reports]


def _with_pending_reboot(report: TargetReport, reports: Sequence[TargetReport]) -> TargetReport:
    affected = {item.defect.slug for item in report.verdicts if item.state is State.AFFECTED}
    notes = []
    for other in reports:
        mended = [item.defect for item in other.verdicts if item.state is State.FIXED and item.defect.slug in affected]
        if mended and other is not report:
            names = ", ".join(
                defect.slug + (f" (pitfall {defect.pitfall})" if defect.pitfall else "") for defect in mended
            )
            notes.append(f"a reboot is pending: {other.name} is installed and fixes {names}")
    return report._replace(notes=(*notes, *report.notes))
