"""Whose a changelog of dpkg's form is: by the series that its entries name, by the form of its versions, and what becomes
of a series that is not known yet.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import parse_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family
from tailcall_audit.analyzer.kernelfiles.changelog.identity import of_distribution
from tailcall_audit.analyzer.model import EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog import listed_evidence
from tailcall_audit.analyzer.readers.changelog_silence import silent_evidence
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tests.repositories import FIX_6_SUBJECT

_NEXT = "zany"
"""A series that no distribution has had yet."""


def _entry(version: str, suite: str, body: str, source: str = "linux") -> str:
    return (
        f"{source} ({version}) {suite}; urgency=medium\n\n{body}\n\n"
        " -- A Developer <a@example.org>  Fri, 14 Nov 2025 17:49:39 +0100\n\n"
    )


def _family(catalog: Catalog, text: str) -> Family:
    return of_distribution(catalog, parse_changelog(text, "changelog")).family


@pytest.mark.parametrize(
    ("version", "suite", "source", "family"),
    [
        ("5.15.0-164.174", "jammy", "linux", Family.UBUNTU),
        ("5.15.0-164.174", "jammy-proposed", "linux", Family.UBUNTU),
        ("6.17.0-1010.10", "questing", "linux-aws", Family.UBUNTU),
        ("4.13.0-46.51", "artful", "linux", Family.UBUNTU),
        ("7.9.0-35.35", _NEXT, "linux", Family.UBUNTU),
        ("7.9.0-35.35~27.04.1", _NEXT, "linux-hwe-7.9", Family.UBUNTU),
        ("7.9.0-1019.24.1", _NEXT, "linux-azure-fde", Family.UBUNTU),
        ("6.8.0-35.35", "UNRELEASED", "linux", Family.UBUNTU),
        ("6.1.170-3", "bookworm-security", "linux", Family.DEBIAN),
        ("7.9.4-1", "duke", "linux", Family.DEBIAN),
        ("7.9~rc3-1~exp1", "experimental", "linux", Family.DEBIAN),
        ("6.1.170-3.1", "unstable", "linux", Family.DEBIAN),  # an upload by another than the maintainer
        ("6.8.12-15", "bookworm", "proxmox-kernel-6.8", Family.DEBIAN),
        ("5.15.0-1.2", "bullseye", "pve-kernel", Family.DEBIAN),
    ],
)
def test_whose_a_changelog_is_shows_in_its_series_or_in_the_form_of_its_version(
    version: str, suite: str, source: str, family: Family, catalog: Catalog
) -> None:
    assert _family(catalog, _entry(version, suite, "  * x", source)) is family


def test_no_name_of_a_series_is_in_the_code(catalog: Catalog) -> None:
    root = Path(__file__).parents[2]
    named = yaml.safe_load((root / "catalog/distributions/ubuntu.yaml").read_text())["changelog"]["suites"]
    (ubuntu,) = (item for item in catalog.distributions if item.name == "ubuntu")
    assert ubuntu.changelog is not None
    assert list(ubuntu.changelog.suites) == named
    grammar = "".join(path.read_text() for path in (root / "analyzer/kernelfiles/changelog").glob("*.py"))
    # Examples in docstrings are of jammy.
    assert [name for name in named if f'"{name}"' in grammar] == []


def _ubuntu_s(suite: str) -> str:
    """Returns a changelog of Ubuntu's form that is complete: it goes back past 7.9 and lists the subjects of 7.9.1."""
    update = (
        f"  * {suite.capitalize()} update: v7.9.1 upstream stable release (LP: #1)\n    - net: x\n    - Linux 7.9.1"
    )
    return (
        _entry("7.9.0-36.36", suite, update)
        + _entry("7.9.0-35.35", suite, f"  * A fix (LP: #2)\n    - {FIX_6_SUBJECT}")
        + _entry("7.8.0-9.9", suite, "  * x")
    )


def _opened(catalog: Catalog, text: str) -> OpenChangelog:
    return open_changelog(catalog, parse_changelog(text, "changelog"))


@pytest.mark.parametrize("suite", ["resolute", _NEXT])
def test_a_series_that_is_not_known_yet_loses_no_fact_and_proves_no_absence(suite: str, catalog: Catalog) -> None:
    opened = _opened(catalog, _ubuntu_s(suite))
    assert (opened.release.distro, str(opened.release.version)) == ("ubuntu", "7.9.1")
    listed = [item for item in listed_evidence(opened) if item.kind is EvidenceKind.CHANGELOG]
    assert [item.presence for item in listed] == [Presence.PRESENT]
    silent = {item.presence for item in silent_evidence(opened)}
    if suite == _NEXT:
        assert silent <= {Presence.UNKNOWN}
        assert opened.window.gap == (
            "entry 7.9.0-36.36 is for zany, which the catalogue does not know as a series of Ubuntu"
        )
    else:
        assert opened.window.gap is None


def test_an_entry_that_is_not_released_names_no_series(catalog: Catalog) -> None:
    text = _ubuntu_s("resolute").replace("resolute;", "UNRELEASED;", 1)
    assert _opened(catalog, text).window.gap is None


def test_a_vendor_s_own_entries_on_top_of_ubuntu_s_prove_no_absence(catalog: Catalog) -> None:
    """The vendor may have taken more than it lists."""
    text = _entry("7.9.0-36.36vendor1", "acme", "  * x") + _ubuntu_s("resolute")
    opened = _opened(catalog, text)
    assert opened.window.gap is not None
    assert "acme" in opened.window.gap


def test_a_suite_of_debian_s_that_is_not_known_yet_changes_nothing(tmp_path: Path) -> None:
    """The source package and the form of the version say that it is Debian's."""
    found = []
    for suite in ("bookworm", "duke"):
        body = "  * New upstream stable update:\n    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.1\n    - net: x"
        path = tmp_path / suite
        path.write_text(_entry("6.1.1-1", suite, body) + _entry("6.0.9-1", suite, "  * x"))
        (target,) = audit(changelog=str(path), arch="x86_64").targets
        found.append((target.states, dict(target.identity) | {"changelog": ""}))
    assert found[0] == found[1]
    assert found[0][1]["distro"] == "debian"
