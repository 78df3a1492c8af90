"""What a release string (``uname -r``) proves: the stable release, a vendor's patches on top of it, or its base alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tailcall_audit.analyzer.catalog.distribution import Distribution, Proof
from tailcall_audit.analyzer.kernelfiles.release.number import Candidate
from tailcall_audit.analyzer.kernelfiles.release.schemes import (
    Matched,
    known_architecture,
    match_distribution,
    settle_command,
)
from tailcall_audit.analyzer.kernelfiles.release.types import Build, KernelRelease, WholeSeries
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["of_unknown_vendor", "release_of_uname"]

_NEXT = re.compile(r"-next-?\d{8}\b", re.ASCII)
_GIT = re.compile(r"-g[0-9a-f]{7,40}(?![0-9a-z])", re.ASCII)
_COMMITS_AHEAD = re.compile(r"-\d{5}(?=-g|$)", re.ASCII)
_TREE = "tailcall-audit --tree PATH   on the sources that it was built from"


def _marks(rest: str) -> tuple[tuple[str, ...], str]:
    """Returns the marks of unknown patches in what follows the version, and the rest without them."""
    found = []
    for pattern in (_NEXT, _COMMITS_AHEAD, _GIT):
        match = pattern.search(rest)
        if match is not None:
            found.append(match.group())
            rest = rest[: match.start()] + rest[match.end() :]
    if rest.endswith("-dirty"):
        found.append("-dirty")
        rest = rest.removesuffix("-dirty")
    if rest.endswith("+"):
        found.append("+")
        rest = rest.removesuffix("+")
    return tuple(found), rest


def _of_distribution(matched: Matched, word: str, version: UpstreamVersion, rest: str, text: str) -> KernelRelease:
    """A release in the words of a known distribution."""
    distribution, parts = matched.distribution, matched.parts
    if parts.get("rc") is not None:
        version = version._replace(rc=int(parts["rc"] or 0))
    found = KernelRelease(
        text=text,
        release=word,
        version=version,
        proof=Proof.PATCHED if matched.form.proof is Proof.SNAPSHOT else matched.form.proof,
        snapshot=matched.form.proof is Proof.SNAPSHOT,
        vanilla_like=not distribution.frozen,
        abi=parts.get("abi"),
        flavour=parts.get("flavour"),
        architecture=known_architecture(parts.get("arch")),
        notes=(matched.note.replace("{suffix}", rest),),
        settle=settle_command(distribution, word, parts.get("flavour")),
        own_patches=not distribution.surveyed,
    )
    if distribution.self_built:
        return found._replace(local=rest, settle=None)
    survey = distribution.survey
    if matched.form.proof is Proof.BASE and survey:
        found = _with_survey(found, survey)
    lineage = (distribution.name, *((distribution.rebuilds,) if distribution.rebuilds else ()))
    modified: tuple[str, ...] = ("snapshot",) if matched.form.proof is Proof.SNAPSHOT else ()
    if distribution.keeps_marks:
        modified = _marks(rest)[0]
    return found._replace(distro=distribution.name, lineage=lineage, modified=modified)


def _with_survey(release: KernelRelease, survey: Mapping[str, Any]) -> KernelRelease:
    """Returns the survey's answer for an ABI number, and for the whole series."""
    series = survey["series"].get(release.version.branch)
    if series is None:
        return release
    packages = series["abi"].get(release.abi or "", ())
    builds = tuple(Build(name, parse_version(re.split(r"-\d", name)[0].replace("~", "-"))) for name in packages)
    whole = WholeSeries(tuple(series["lists"]), survey["source"]) if series["whole"] else None
    return release._replace(builds=builds, builds_source=survey["source"], whole_series=whole)


def of_unknown_vendor(word: str, version: UpstreamVersion, rest: str, text: str) -> KernelRelease:
    """Returns a release with an unknown suffix: it proves only what the age of its base proves."""
    note = (
        f"no distribution that this catalogue knows writes {rest}: it proves what every kernel of {version} has, and leaves open "
        "what its builder backported, fixes and features"
    )
    return KernelRelease(
        text, word, version, Proof.PATCHED, vanilla_like=False, notes=(note,), settle=_TREE, own_patches=True
    )


def release_of_uname(candidate: Candidate, text: str, distributions: Sequence[Distribution]) -> KernelRelease:
    """Returns the release at a place in `text`, with what it proves."""
    word, version, rest = candidate.word, candidate.version, candidate.rest
    if not rest:
        return KernelRelease(text, word, version, Proof.EXACT)
    matched = match_distribution(distributions, rest, version)
    if matched is not None:
        return _of_distribution(matched, word, version, rest, text)
    modified, local = _marks(rest)
    if not modified:
        return of_unknown_vendor(word, version, rest, text)
    note = f"{' '.join(modified)} in the release string: unknown patches on top of {version} or beside it"
    return KernelRelease(
        text,
        word,
        version,
        Proof.PATCHED,
        vanilla_like=False,
        modified=modified,
        local=local or None,
        notes=(note,),
        settle=_TREE,
        own_patches=True,
    )
