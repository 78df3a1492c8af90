"""The kernel that a configuration belongs to: its header and options mean the same as in a release string."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tailcall_audit.analyzer.catalog.distribution import Distribution, Proof
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError

__all__ = ["identify_config"]

_NAMES_BUILD = ("VERSION_SIGNATURE", "BUILD_SALT")
"""Ubuntu's signature; the salt in which Debian and Fedora write the release (lib/Kconfig.debug or init/Kconfig)."""


def identify_config(header: str, options: Mapping[str, str], catalog: Catalog | None = None) -> KernelRelease:
    """Returns the release that a configuration is of. `header` is the version in its first lines.

    Raises ReleaseError if the header names no version.
    """
    catalog = catalog or shipped_catalog()
    suffix = options.get("LOCALVERSION", "")
    plain = re.fullmatch(r"\d+\.\d+(?:\.\d+)?(?:-rc\d+)?", header, re.ASCII) is not None
    release = parse_release(header + suffix if plain and suffix[:1] in ("-", "+", "_", ".") else header, catalog)
    for option in _NAMES_BUILD:
        named = _named(options.get(option, ""), catalog)
        if named is not None:
            release = _agreed(release, named, f"CONFIG_{option}")
            break
    if release.distro is None and release.proof is not Proof.NOTHING:
        marked = _marked(options, catalog)
        release = release if marked is None else _of_marked(release, marked)
    return release


def _named(text: str, catalog: Catalog) -> KernelRelease | None:
    try:
        return parse_release(text, catalog) if text else None
    except ReleaseError:
        return None


def _agreed(header: KernelRelease, named: KernelRelease, option: str) -> KernelRelease:
    """Returns the release that an option names; for an ABI number, the header adds the stable release."""
    abi = named.proof is Proof.BASE
    differ = header.version.branch != named.version.branch or (
        not abi and named.vanilla_like and header.version.sublevel not in (0, named.version.sublevel)
    )
    if differ:
        note = f"its header says {header.version} and its {option} says {named.release}: the version of this kernel is unknown"
        return named._replace(proof=Proof.NOTHING, vanilla_like=False, notes=(note,), builds=(), built=None)
    if not abi or header.version.sublevel == 0:
        return named
    proof = Proof.PATCHED if named.own_patches else Proof.EXACT
    note = f"its header says {header.version}: taken as the stable release that {named.release} was built from"
    return named._replace(version=header.version, proof=proof, notes=(note,), builds=(), whole_series=None)


def _marked(options: Mapping[str, str], catalog: Catalog) -> Distribution | None:
    """Returns the distribution whose own option the configuration has (``CONFIG_SUSE_KERNEL=y``)."""
    for distribution in catalog.distributions:
        for option, expression in distribution.config:
            if re.fullmatch(expression, options.get(option, ""), re.ASCII):
                return distribution
    return None


def _of_marked(release: KernelRelease, distribution: Distribution) -> KernelRelease:
    return release._replace(
        proof=Proof.PATCHED,
        vanilla_like=not distribution.frozen,
        distro=distribution.name,
        lineage=(distribution.name,),
        own_patches=True,
        notes=(f"its options are those of {distribution.title}, whose patches its version does not show",),
    )
