"""The audit: what ``tailcall-audit`` does without a subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from tailcall_audit.analyzer.app.audit_options import audit_parser
from tailcall_audit.analyzer.app.baseline import against, read_baseline, with_changes
from tailcall_audit.analyzer.app.gating import GATE_SETTINGS, conclude, gate_of
from tailcall_audit.analyzer.app.settings import SETTINGS_VARIABLE, Settings, fill
from tailcall_audit.analyzer.app.shared import (
    EXIT_CLEAN,
    Progress,
    check_guest_python,
    emit,
    emit_pieces,
    known_repositories,
    load,
    load_with_surveys,
    make_guests,
    names,
    now,
)
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.registry import View, find_format
from tailcall_audit.analyzer.gates.gate import Gate, Outcome, gated_report
from tailcall_audit.analyzer.gates.settings import SETTINGS
from tailcall_audit.analyzer.gates.words import days_of, severity_of
from tailcall_audit.analyzer.model import AuditError, Bootable, Report
from tailcall_audit.analyzer.paths import expanded, is_file
from tailcall_audit.analyzer.pipeline import audit
from tailcall_audit.analyzer.subjects.subject import Fleet

__all__ = ["run"]

_TEXTS = ("table", "plain", "markdown")
"""The formats in which the user chooses how much is shown."""
_ROOTS = ("text", "rootfs", "oci", "disk")
"""The targets with many kernels, in the order of the fields of `Fleet`."""
_OTHERS = ("kernel", "tree", "package", "repo", "changelog", "nodes", *_ROOTS)
"""The targets beside which an image is the one to boot."""
_DEFAULTS = {
    "catalog": "the shipped one",
    "surveys": "the user's",
    "format": "table at a terminal, else plain",
    "fail-on": "affected,unknown",
    "min-confidence": "low",
    "severity": "low",
}
"""The values of settings that are not set."""


def _format_of(options: argparse.Namespace) -> str:
    """Returns the name of the format that the options and the terminal call for."""
    if options.nodes and options.format in (None, "table", "plain"):
        return "fleet"
    if options.repo and options.format in (None, "table", "plain"):
        return "matrix"
    if options.format is not None:
        return str(options.format)
    at_terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
    return "table" if at_terminal else "plain"


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Raises AuditError for the first of these options, by name, that the user gave."""
    for name, value in given.items():
        if value:
            raise AuditError(f"{name}{why}")


def _check(options: argparse.Namespace) -> None:
    """Refuses options that contradict each other or would have no effect; raises AuditError."""
    if options.nodes:
        why = ": the kernels of nodes are not at hand; name one with --package FILE or --image FILE"
        _refuse({"--confirm": options.confirm}, why)
    if options.repo:
        _refuse(
            {"--confirm": options.confirm}, ": a repository's kernels are not at hand; name one with --package FILE"
        )
    if options.confirm != "vm":
        guest = {
            "--kvm": options.kvm,
            "--guest-memory": options.guest_memory,
            "--guest-timeout": options.guest_timeout,
            "--guest-python": options.guest_python,
        }
        _refuse(guest, " is about the guest that is booted: add --confirm=vm")
    check_guest_python(options)
    if not (options.package or options.repo or options.changelog or options.online):
        why = " is about what is fetched, and nothing is fetched: name --package, --repo or --changelog"
        _refuse({"--offline": options.offline, "--refresh": options.refresh}, why)
    if not options.programs:
        why = " is about programs, and none are named: name them with --programs FILE"
        _refuse({"--closed": options.closed, "--jit": options.jit}, why)
    text = {"--explain": options.explain, "--all": options.all}
    if options.format == "json":
        _refuse(text, " is about the text of a report: --json always has all defects and all evidence")
    if options.format not in (None, *_TEXTS):
        _refuse(text, f" is about the text of a report: --format {options.format} has no choice of it")


def _check_targets(options: argparse.Namespace, targets: Mapping[str, list[str]]) -> None:
    """Refuses options that have no effect on any of the targets; raises AuditError."""
    if options.explain and targets["repo"]:
        raise AuditError("--explain: a repository's table has no evidence; name one kernel with --package FILE")
    without = any(targets[kind] for kind in ("kernel", "repo", "changelog", "config", "nodes", "text"))
    within = (
        any(targets[kind] for kind in ("tree", "package", "image", "rootfs", "oci", "disk"))
        or options.image
        or options.installed
    )
    if not options.emulate and without and not within:
        raise AuditError("--no-emulation is about the code of an image, and no target has one")


def _confirm(report: Report, options: argparse.Namespace, image: str | None, progress: Progress) -> Report:
    """Runs the probes if the user asked for them."""
    from tailcall_audit.analyzer.live.confirm import confirm_in_guest, confirm_on_host

    if options.confirm == "vm":
        return confirm_in_guest(report, make_guests(options), image, progress)

    def announce(text: str) -> None:
        progress.clear()
        say(text)

    return confirm_on_host(report, announce, progress)


def _targets(options: argparse.Namespace) -> dict[str, list[str]]:
    """Returns the targets that options name, with the one that was named without an option added to its kind; raises
    AuditError.
    """
    found: dict[str, list[str]] = {
        "kernel": list(options.kernel),
        "tree": list(options.tree),
        "package": list(options.package),
        "image": [],
        "repo": [options.repo] if options.repo else [],
        "changelog": [options.changelog] if options.changelog else [],
        "config": [options.config] if options.config else [],
        "nodes": [options.nodes] if options.nodes else [],
        "text": list(options.text),
        "rootfs": list(options.rootfs),
        "oci": list(options.oci),
        "disk": list(options.disk),
    }
    if options.targets:
        from tailcall_audit.analyzer.app.recognise import recognise

        for name in options.targets:
            found[recognise(name)].append(name)
    for kind in ("repo", "changelog", "config", "nodes"):
        if len(found[kind]) > 1:
            raise AuditError(f"{found[kind][1]}: one --{kind} at a time, and {found[kind][0]} is named too")
    return found


def _architecture_to_probe(image: str | None) -> str:
    """Returns the architecture to assume if the target names none: that of the image to boot, else this host's."""
    if image is not None and is_file(expanded(image)):
        from tailcall_audit.analyzer.live.bootfile import read_boot_file

        found = read_boot_file(Bootable(str(expanded(image)))).architecture
        if found is not None:
            return found
    return os.uname().machine


def _fleet(options: argparse.Namespace, targets: Mapping[str, list[str]]) -> Fleet:
    """Returns what holds many kernels."""
    return Fleet(
        next(iter(targets["nodes"]), None),
        options.nodes_format,
        options.no_live_patches,
        *(targets[kind] for kind in _ROOTS),
    )


def _audit(
    options: argparse.Namespace, targets: Mapping[str, list[str]], catalog: Catalog, progress: Progress
) -> Report:
    others = any(targets[kind] for kind in _OTHERS) or options.installed
    to_boot = options.image if options.image and others else None
    if to_boot and options.confirm != "vm":
        raise AuditError(
            "--image beside another target is the image to boot for it: say --confirm=vm, or audit it alone"
        )
    arch = options.arch
    if options.confirm and arch is None and any(targets[kind] for kind in ("kernel", "tree", "changelog", "config")):
        arch = _architecture_to_probe(to_boot)
    report = audit(
        kernels=targets["kernel"],
        trees=targets["tree"],
        rev=options.rev,
        packages=targets["package"],
        images=[*targets["image"], *([options.image] if options.image and not to_boot else [])],
        system_map=options.system_map,
        installed=options.installed,
        distro=options.distro,
        repository=next(iter(targets["repo"]), None),
        changelog=next(iter(targets["changelog"]), None),
        fleet=_fleet(options, targets),
        package_version=options.package_version,
        changelog_format=options.changelog_format,
        offline=options.offline,
        refresh=options.refresh,
        config=next(iter(targets["config"]), None),
        arch=arch,
        catalog=catalog,
        only=names(options),
        pitfalls=options.pitfalls,
        severity=options.severity,
        emulate=options.emulate,
        built=not options.confirm,
        progress=progress,
        apart=True,
        online=options.online,
        max_age=options.max_age,
        repositories=known_repositories(options.repositories),
    )
    return _confirm(report, options, to_boot, progress) if options.confirm else report


def _with_programs(report: Report, options: argparse.Namespace, progress: Progress) -> Report:
    """Returns the report with what the programs mean for each verdict; names on standard error what could not be read."""
    from tailcall_audit.analyzer.app.programs import named_programs
    from tailcall_audit.analyzer.exposing import expose_programs
    from tailcall_audit.analyzer.exposure.join import join

    asked = named_programs(options.programs, closed=options.closed, compiled=options.jit)
    slugs = {item.defect.slug: item.defect for target in report.targets for item in target.verdicts}
    found = expose_programs(asked, report.catalog, tuple(slugs.values()), progress)
    progress.clear()
    for item in found.skipped:
        say(f"skipped: {item.label}: {item.reason}")
    joined = join(report, found.exposures)
    return joined._replace(skipped=(*joined.skipped, *found.skipped))


def _show_settings(settings: Settings, gate: Gate, form: str | None) -> str:
    """Returns every setting, and the waivers, as text or as JSON."""
    from tailcall_audit.analyzer.formats.settings import render_settings, settings_as_json

    known = {item.variable for item in SETTINGS} | {SETTINGS_VARIABLE}
    ignored = sorted(name for name in os.environ if name.startswith("TAILCALL_AUDIT_") and name not in known)
    rendered = settings_as_json if form == "json" else render_settings
    values = [item._replace(value=item.value or _DEFAULTS.get(item.name)) for item in settings.values.values()]
    return rendered(values, gate.waivers, ignored)


def view_of(options: argparse.Namespace, settings: Settings, gate: Gate) -> View:
    """Returns how the user wants the report; raises AuditError."""
    return View(
        everything=options.all,
        explain=options.explain,
        unknown_passes=Outcome.UNKNOWN not in gate.fail_on,
        made=now(),
        publisher=settings.values["publisher"].value or "",
        namespace=settings.values["publisher-namespace"].value or "",
    )


def run(arguments: Sequence[str]) -> int:
    """Runs an audit and returns the exit code; raises AuditError."""
    options = audit_parser().read(arguments)
    settings = fill(options, GATE_SETTINGS)
    options.severity = severity_of(settings.values["severity"])
    options.max_age = days_of(settings.values["max-age"])
    options.repositories = [word for word in (settings.values["repositories"].value or "").split(",") if word.strip()]
    if options.show_config:
        gate = gate_of(options, settings, load(options.catalog))
        emit(_show_settings(settings, gate, options.format), options.output)
        return EXIT_CLEAN
    _check(options)
    catalog = load_with_surveys(options.catalog, options.surveys)
    gate = gate_of(options, settings, catalog)
    baseline = read_baseline(options.baseline)
    progress = Progress(enabled=sys.stderr is not None and sys.stderr.isatty() and not options.quiet)
    try:
        targets = _targets(options)
        _check_targets(options, targets)
        options.repo = next(iter(targets["repo"]), None)
        options.nodes = next(iter(targets["nodes"]), None)
        chosen = find_format(_format_of(options))
        report, found = gated_report(_audit(options, targets, catalog, progress), gate)
        if options.programs:
            report, found = gated_report(_with_programs(report, options, progress), gate)
    finally:
        progress.clear()
    compared = against(baseline, report)
    pieces = chosen.pieces(report, view_of(options, settings, gate))
    emit_pieces(with_changes(pieces, compared, chosen), options.output)
    return conclude(found, gate, compared)
