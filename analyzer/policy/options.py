"""Defects that a kernel's configuration excludes: by the configuration, or by the options that its functions show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.expression import ABSENT, PRESENT, UNKNOWN, Interval, evaluate, leaves
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.evidence import OptionSeen
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.policy.facts import Facts

__all__ = ["Excluded", "contradicted", "excluded_by_config", "excluded_by_functions"]


class Excluded(NamedTuple):
    """Why a defect cannot be reached: the values of options as text, how sure that is, and the evidence."""

    brief: str
    reason: str
    confidence: Confidence
    evidence: Evidence


def contradicted(config: KernelConfig | None, seen: Iterable[OptionSeen]) -> tuple[str, ...]:
    """Returns the notes about options that have another value in a configuration than the kernel's functions show. Such
    a configuration is of another kernel.
    """
    if config is None:
        return ()
    notes = []
    for item in seen:
        values = [config.value(name) for name in item.options]
        says_on = any(value.met for value in values)
        if says_on != item.is_on and (says_on or all(value.excluded for value in values)):
            options = " and ".join(f"CONFIG_{name}={config.options.get(name, 'n')}" for name in item.options)
            notes.append(f"{config.path} excludes nothing: it has {options}, but {item.detail}")
    return tuple(notes)


def _by_config(facts: Facts, name: str) -> Interval:
    return facts.config.value(name) if facts.config is not None and facts.config_applies else UNKNOWN


def _excludes(defect: Defect, options: Mapping[str, OptionSeen]) -> bool:
    def value(name: str) -> Interval:
        seen = options.get(name)
        return UNKNOWN if seen is None else PRESENT if seen.is_on else ABSENT

    return evaluate(defect.config, value).excluded


def _decisive(defect: Defect, options: Mapping[str, OptionSeen]) -> dict[str, OptionSeen]:
    """Returns the options without which the others do not exclude a defect; all, if none is needed by itself."""
    named = {name: options[name] for name in leaves(defect.config) if name in options}
    needed = {
        name: seen
        for name, seen in named.items()
        if not _excludes(defect, {other: item for other, item in named.items() if item is not seen})
    }
    return needed or named


def excluded_by_config(defect: Defect, facts: Facts) -> Excluded | None:
    """Returns why a kernel's configuration excludes a defect; None if it does not."""
    config = facts.config
    if config is None or not evaluate(defect.config, lambda name: _by_config(facts, name)).excluded:
        return None
    values = ", ".join(
        f"CONFIG_{name}={config.options.get(name, 'n')}" for name in dict.fromkeys(leaves(defect.config))
    )
    needs = f"needs {defect.config}"
    item = Evidence(EvidenceKind.CONFIG, "", Presence.ABSENT, config.path, f"{needs}; {values}")
    return Excluded("by config", f"cannot be reached with {values} ({needs})", Confidence.HIGH, item)


def excluded_by_functions(defect: Defect, facts: Facts) -> Excluded | None:
    """Returns why the options that a kernel's functions show exclude a defect; None if they do not."""
    if not facts.options or not _excludes(defect, facts.options):
        return None
    shown = _decisive(defect, facts.options)
    values = ", ".join(f"CONFIG_{name}={'y' if seen.is_on else 'n'}" for name, seen in shown.items())
    because = "; ".join(dict.fromkeys(seen.detail for seen in shown.values()))
    citation = "; ".join(dict.fromkeys(seen.citation for seen in shown.values()))
    needs = f"needs {defect.config}"
    item = Evidence(
        EvidenceKind.CONFIG, "", Presence.ABSENT, citation, f"{needs}; {values}: {because}", Confidence.MEDIUM
    )
    reason = f"cannot be reached with {values}: {because} ({needs})"
    return Excluded("by its functions", reason, Confidence.MEDIUM, item)
