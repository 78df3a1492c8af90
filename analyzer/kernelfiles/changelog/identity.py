"""Finds out which distribution a changelog of dpkg's form is of: several have sources of the same name, `linux`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tailcall_audit.analyzer.catalog.distribution import ChangelogForm, Distribution
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family

__all__ = ["foreign_suite", "of_distribution"]

_NEWEST = 20
"""The entries that show whose a changelog is. Many have thousands, and one is opened at each of its versions."""


def _shows(form: ChangelogForm, entry: Entry) -> bool:
    """Returns True if an entry names a suite of a distribution, or has a version that only its packages have."""
    if not set(form.suites).isdisjoint(entry.suites):
        return True
    return (
        form.versions is not None
        and re.fullmatch(form.versions, entry.version, re.ASCII) is not None
        and any(re.fullmatch(source, entry.package, re.ASCII) for source in form.sources)
    )


def of_distribution(catalog: Catalog, changelog: Changelog) -> Changelog:
    """Returns a changelog in the grammar of the distribution that a newer entry shows; as it is if none shows one."""
    if changelog.family is not Family.DEBIAN:
        return changelog
    for distribution in catalog.distributions:
        form = distribution.changelog
        if form is not None and any(_shows(form, entry) for entry in changelog.entries[:_NEWEST]):
            return replace(changelog, family=Family(form.grammar))
    return changelog


def foreign_suite(distribution: Distribution, entries: Iterable[Entry]) -> str | None:
    """Returns why a changelog may not list every commit: an entry is for a suite that is not known as one of the
    distribution's, so that someone else may have written it. None if all suites are known, or if the catalogue does not
    name those of the distribution.
    """
    known = () if distribution.changelog is None else distribution.changelog.suites
    for entry in entries if known else ():
        if entry.suites and set(known).isdisjoint(entry.suites):
            return (
                f"entry {entry.version} is for {' '.join(entry.suites)[:40]}, which the catalogue does not know as a series of"
                f" {distribution.title}"
            )
    return None
