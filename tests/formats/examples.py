"""A report with everything that a format has to show: each state, waivers, a contradiction, what was skipped."""

from __future__ import annotations

from functools import cache

from tailcall_audit import Catalog, State, audit
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.gates.gate import Gate, gated_report
from tailcall_audit.analyzer.model import Report, Skipped, TargetKind, TargetReport
from tests.gates.examples import contradicted, waiver

KERNELS = ("6.1.170", "5.14.0-427.13.1.el9_4.x86_64", "6.12.117")
HOSTILE = "=cmd|'/c calc'!A1 <script>alert(1)</script> `x` | [a](https://e.example) \x1b[31m\n\u202e]]>"
VIEW = View(made=1795651200.0, publisher="Example platform team", namespace="https://platform.example")


@cache
def plain() -> Report:
    """Three real kernels, of which one decides little."""
    return audit(kernels=KERNELS)


@cache
def whole() -> Report:
    """The same with a waiver that holds, one that expired, a contradiction, and an input that could not be judged."""
    report = plain()
    first, *others = report.targets
    verdicts = [contradicted(item) if item.defect.slug == "prog-array-clear-stall" else item for item in first.verdicts]
    waivers = (
        waiver("6.1.*"),
        waiver("6.1.*", "tailcall-cgroup-storage-bridge", expired=True),
        waiver("5.14.*", "freplace-loop"),
    )
    changed = report._replace(
        targets=(first._replace(verdicts=tuple(verdicts)), *others),
        skipped=(Skipped("/srv/vmlinuz-broken", "/srv/vmlinuz-broken: no kernel image"),),
    )
    return gated_report(changed, Gate(waivers=waivers))[0]


@cache
def hostile() -> Report:
    """A kernel whose every word is of an attacker."""
    report = audit(kernels=["6.1.170"], arch="x86_64", only=["x86-hierarchy", "freplace-loop"])
    (target,) = report.targets
    verdicts = tuple(
        item._replace(reason=HOSTILE, brief=HOSTILE, settle=HOSTILE, state=state)
        for item, state in zip(target.verdicts, (State.UNKNOWN, State.AFFECTED), strict=True)
    )
    identity = dict.fromkeys(("release", "upstream", "distro", "package", "config"), HOSTILE) | {
        "architecture": "x86_64"
    }
    changed = TargetReport(HOSTILE, TargetKind.RELEASE, identity, verdicts, (HOSTILE,))
    return report._replace(targets=(changed, changed), skipped=(Skipped(HOSTILE, HOSTILE),))


def by_state(report: Report, state: State, waived: bool | None = None) -> int:
    """How many verdicts of a report are in a state, and waived."""
    found = [item for target in report.targets for item in target.verdicts if item.state is state]
    return sum(waived is None or item.waived is waived for item in found)


def cves(catalog: Catalog) -> set[str]:
    """All CVEs of the catalogue."""
    return {cve for defect in catalog.defects for cve in defect.cves}
