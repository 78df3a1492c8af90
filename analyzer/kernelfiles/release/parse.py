"""Kernel release strings: what they say, and what they prove.

Takes everything that names a kernel: ``uname -r``, ``-v`` and ``-a``, ``/proc/version``, ``/proc/version_signature``, lines of
logs and node tables. One kernel a line: `kernel_lines` parts a text, and a line that names two kernels is refused, or is
one kernel whose version is unknown where its own build string contradicts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, Proof
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.subjects.build_date import build_day
from tailcall_audit.analyzer.subjects.kernel_number import (
    Candidate,
    Place,
    clean_line,
    find_candidates,
    is_other_system,
    only_candidate,
)
from tailcall_audit.analyzer.subjects.schemes import (
    Matched,
    build_statements,
    known_architecture,
    match_distribution,
    settle_command,
)
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

if TYPE_CHECKING:
    from tailcall_audit.analyzer.catalog.types import Distribution

__all__ = ["Build", "KernelRelease", "NoKernelError", "ReleaseError", "WholeSeries", "kernel_lines", "parse_release"]

_MAX_LENGTH = 1024
_MAX_LINES = 10_000
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_UBUNTU_SIGNATURE = re.compile(
    r"\bUbuntu (?P<package>(?P<base>\d+\.\d+\.\d+)-[\w.~+-]+) (?P<stable>\d{1,4}\.\d{1,4}(?:\.\d{1,6})?(?:-rc\d{1,4})?)(?=[)\s\"']|$)",
    re.ASCII,
)
_UBUNTU_BUILD = re.compile(r"#(\d+)(?:~[\d.]+)?-Ubuntu\b", re.ASCII)
_UNAME_ARCH = re.compile(
    r"(?:\b|(?<=0000))(x86_64|aarch64|riscv64|s390x|ppc64le|ppc64|loongarch64|i[3-6]86|armv[67]l|armv8l)\b", re.ASCII
)
_NEXT = re.compile(r"-next-?\d{8}\b", re.ASCII)
_GIT = re.compile(r"-g[0-9a-f]{7,40}(?![0-9a-z])", re.ASCII)
_COMMITS_AHEAD = re.compile(r"-\d{5}(?=-g|$)", re.ASCII)
_TREE = "tailcall-audit --tree PATH   on the sources that it was built from"


class ReleaseError(AuditError):
    """A string in which no kernel version can be found, or more than one."""


class NoKernelError(ReleaseError):
    """A string in which there is no kernel version at all."""


class Build(NamedTuple):
    """A package that an ABI number may name, and its upstream release."""

    package: str
    version: UpstreamVersion


class WholeSeries(NamedTuple):
    """A series whose changelog was read whole: the commits of the catalogue that it lists, and the source."""

    adds: tuple[str, ...]
    source: str


class KernelRelease(NamedTuple):
    """A parsed kernel name.

    `proof` says how far `version` is proven; `modified` lists the marks of unknown patches (``-next``, ``-g<sha>``, ``+``,
    ``-dirty``); `local` is a LOCALVERSION that a user chose, which only lowers confidence. `release` is the ``uname -r``
    part. `vanilla_like` kernels take no features of later releases; `own_patches` says that the vendor's patches are not
    known. `lineage` names the distributions whose facts about builds hold, the own one first. `built` is the day in the
    build string, where `date_source` says that it is real. A `snapshot` is a point of mainline's history behind `version`.
    `builds` are all packages that an ABI number may name; `whole_series` is filled where the series' changelog was read.
    """

    text: str
    release: str
    version: UpstreamVersion
    proof: Proof
    vanilla_like: bool = True
    distro: str | None = None
    package: str | None = None
    abi: str | None = None
    flavour: str | None = None
    architecture: str | None = None
    modified: tuple[str, ...] = ()
    local: str | None = None
    notes: tuple[str, ...] = ()
    settle: str | None = None
    own_patches: bool = False
    lineage: tuple[str, ...] = ()
    built: str | None = None
    date_source: str | None = None
    snapshot: bool = False
    builds: tuple[Build, ...] = ()
    builds_source: str | None = None
    whole_series: WholeSeries | None = None


def kernel_lines(text: str, catalog: Catalog | None = None) -> tuple[str, ...]:
    """The lines of a text that name a kernel, in order: every one is a target of its own.

    Lines without a kernel (a prompt, a heading) are left out where another one has a kernel. A text of one line is that line.
    Raises ReleaseError where a text has more lines than a person pastes.
    """
    lines = [line for line in _LINE_ENDS.split(text) if line.strip()]
    if len(lines) > _MAX_LINES:
        raise ReleaseError(f"a text of {len(lines)} lines: give at most {_MAX_LINES}")
    found = [line for line in lines if _names_kernel(line, catalog)] if len(lines) > 1 else lines
    return tuple(found) or (text,)


def _names_kernel(line: str, catalog: Catalog | None) -> bool:
    try:
        parse_release(line, catalog)
    except NoKernelError:
        return False
    except ReleaseError:
        return True  # it names several, which is said where it is judged
    return True


def _marks(rest: str) -> tuple[tuple[str, ...], str]:
    """The marks of unknown patches in what follows the version, and the rest without them."""
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
    """What the survey of the distribution's changelogs says of an ABI number, and of the whole series."""
    series = survey["series"].get(release.version.branch)
    if series is None:
        return release
    packages = series["abi"].get(release.abi or "", ())
    builds = tuple(Build(name, parse_version(re.split(r"-\d", name)[0].replace("~", "-"))) for name in packages)
    whole = WholeSeries(tuple(series["lists"]), survey["source"]) if series["whole"] else None
    return release._replace(builds=builds, builds_source=survey["source"], whole_series=whole)


def _of_unknown_vendor(word: str, version: UpstreamVersion, rest: str, text: str) -> KernelRelease:
    """A release with a suffix that no known distribution writes: it proves what the base's age proves, and no more."""
    note = (
        f"no distribution that this catalogue knows writes {rest}: it proves what every kernel of {version} has, and leaves open "
        "what its builder backported, fixes and features"
    )
    return KernelRelease(
        text, word, version, Proof.PATCHED, vanilla_like=False, notes=(note,), settle=_TREE, own_patches=True
    )


def _from_uname(candidate: Candidate, text: str, distributions: tuple[Distribution, ...]) -> KernelRelease:
    word, version, rest = candidate.word, candidate.version, candidate.rest
    if not rest:
        return KernelRelease(text, word, version, Proof.EXACT)
    matched = match_distribution(distributions, rest, version)
    if matched is not None:
        return _of_distribution(matched, word, version, rest, text)
    modified, local = _marks(rest)
    if not modified:
        return _of_unknown_vendor(word, version, rest, text)
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


def _contradicted(release: KernelRelease, says: str, text: str) -> KernelRelease:
    """One kernel about which two statements disagree: its version is unknown."""
    note = f"the release {release.release} and {says} contradict each other: the version of this kernel is unknown"
    return KernelRelease(
        text=text,
        release=release.release,
        version=release.version,
        proof=Proof.NOTHING,
        vanilla_like=False,
        architecture=release.architecture,
        notes=(note,),
        settle="uname -a   on that host, whole and of one boot",
        own_patches=True,
    )


def _sublevels_differ(release: KernelRelease, version: UpstreamVersion) -> bool:
    """Whether a release carries a sublevel (an ABI number's zero is none) and a build string says another."""
    carries = release.proof is not Proof.BASE
    return carries and (release.version.sublevel != version.sublevel or release.version.rc != version.rc)


def _with_build(release: KernelRelease | None, matched: Matched, text: str) -> KernelRelease:
    """A distribution's build string names the package: ``Debian 6.1.170-3 (2026-05-08)``."""
    distribution, parts = matched.distribution, matched.parts
    package = parts.get("version") or ""
    version = parse_version((parts.get("stable") or "").replace("~", "-"))
    says = f"the {distribution.title} package {package}"
    if release is not None and release.version.branch != version.branch:
        raise ReleaseError(f"{_shown(text)}: the release {release.release} and {says} are of different series")
    if release is not None:
        foreign = release.distro is not None and not release.distro.startswith(distribution.name)
        alike = release.distro == "debian-or-kali" or release.proof is Proof.BASE
        names = {build.package for build in release.builds}
        other_abi = bool(names) and distribution.name == release.distro and re.sub(r"\+b\d+$", "", package) not in names
        if _sublevels_differ(release, version) or (foreign and not alike) or other_abi:
            return _contradicted(release, says, text)
    found = release or KernelRelease(text, package, version, Proof.EXACT)
    return found._replace(
        version=version,
        proof=matched.form.proof,
        vanilla_like=not distribution.frozen,
        distro=distribution.name,
        package=package,
        modified=(),
        local=None,
        notes=(matched.note,),
        settle=None,
        own_patches=not distribution.surveyed,
        lineage=(distribution.name,),
        builds=(),
        whole_series=None,
    )


def _with_unknown_build(release: KernelRelease, build: Candidate, text: str) -> KernelRelease:
    """A build string of no known distribution names a package too: the kernel is that vendor's."""
    says = f"{build.word} in its build string"
    if release.version.branch != build.version.branch:
        raise ReleaseError(f"{_shown(text)}: the release {release.release} and {says} are of different series")
    if _sublevels_differ(release, build.version):
        return _contradicted(release, says, text)
    unknown = _of_unknown_vendor(release.release, release.version.base, f"{build.word} into its build string", text)
    return unknown._replace(architecture=release.architecture, flavour=release.flavour)


def _with_signature(release: KernelRelease | None, match: re.Match[str], text: str, catalog: Catalog) -> KernelRelease:
    """Ubuntu's signature ends in the stable release rolled in: ``Ubuntu 5.15.0-79.86-generic 5.15.111``."""
    version = parse_version(match.group("stable"))
    package = match.group("package")
    name = re.sub(r"^(\d+\.\d+\.\d+-\d+)\.\d+(?:~[\d.]+)?(?:\+\w+)?", r"\1", package)
    if release is not None and not release.release.startswith(name.rsplit("-", 1)[0]):
        return _contradicted(release, f"the signature of Ubuntu's {package}", text)
    distribution = next((entry for entry in catalog.distributions if entry.name == "ubuntu"), None)
    upload = re.match(r"\d+\.\d+\.\d+-\d+\.[\d.~]+", package)
    flavour = name.split("-", 2)[2] if name.count("-") > 1 else None
    found = (
        release
        if release is not None and release.distro == "ubuntu"
        else KernelRelease(text, package if release is None else release.release, version, Proof.PATCHED)
    )
    return found._replace(
        version=version,
        proof=Proof.PATCHED,
        vanilla_like=True,
        distro="ubuntu",
        lineage=("ubuntu",),
        package=package,
        flavour=found.flavour or flavour,
        notes=(f"Ubuntu's signature: stable {version} is rolled in, and Ubuntu may have picked fixes beyond it",),
        settle=None
        if distribution is None
        else settle_command(distribution, name, flavour, upload.group().rstrip("~.") if upload else None),
        own_patches=True,
    )


def _exists(catalog: Catalog, version: UpstreamVersion) -> bool:
    return catalog.has_mainline(version.major, version.minor)


def _chosen(line: str, candidates: list[Candidate]) -> Candidate | None:
    """The one kernel of a line; raises ReleaseError where it names several."""
    sure = [candidate for candidate in candidates if candidate.place is not Place.BARE]
    if not sure:
        alone = only_candidate(line, candidates)
        if alone is None:
            return None
        sure = [alone]
    names = {candidate.word for candidate in (*candidates, *sure)}
    distinct = [
        name
        for name in names
        if not any(other != name and other.startswith(name) and other[len(name)] in ".+-_" for other in names)
    ]
    if len(distinct) > 1:
        listed = ", ".join(sorted(distinct)[:5])
        raise ReleaseError(
            f"{_shown(line)}: names {len(distinct)} kernels ({listed}); give one a line, or one --kernel each"
        )
    return next(
        candidate for candidate in sorted(candidates, key=lambda item: -item.place) if candidate.word in distinct
    )


def parse_release(text: str, catalog: Catalog | None = None) -> KernelRelease:
    """Parse one line that names a kernel, by the distributions of `catalog` (None: the shipped one).

    Raises ReleaseError when there is no kernel version in it, or more than one.
    """
    if len(text) > _MAX_LENGTH:
        raise NoKernelError(f"a kernel release of {len(text)} characters: no kernel has one over {_MAX_LENGTH}")
    catalog = catalog or shipped_catalog()
    line = clean_line(text)
    if is_other_system(line):
        raise NoKernelError(f"{_shown(line)}: another system's version, not Linux's")
    release = _parsed(line, catalog)
    if release is None:
        raise NoKernelError(
            f"{_shown(line)}: no kernel version in it (Linux through {catalog.newest_mainline.major}.x); "
            "expected something like 6.1.170, 6.8.0-35-generic or a line of uname -a"
        )
    return _with_line(release, line, catalog)


def _parsed(line: str, catalog: Catalog) -> KernelRelease | None:
    """The release in a line, with what its build string or signature says of it."""
    build = line.rfind(" #") + 1  # what follows is uname -v; before it a compiler may be called Debian too
    statements = [
        (matched, (start + build, end + build))
        for matched, (start, end) in build_statements(catalog.distributions, line[build:])
    ]
    signature = _UBUNTU_SIGNATURE.search(line)
    plain = line
    for start, end in (*(span for _, span in statements), *((signature.span(),) if signature else ())):
        plain = plain[:start] + " " * (end - start) + plain[end:]

    def has_form(rest: str, version: UpstreamVersion) -> bool:
        matched = match_distribution(catalog.distributions, rest, version)
        return matched is not None and not matched.distribution.self_built

    candidates = find_candidates(plain, lambda version: _exists(catalog, version), has_form)
    foreign = [item for item in candidates if build and item.start > build and item.place is Place.BARE]
    candidates = [item for item in candidates if item not in foreign]
    chosen = _chosen(plain, candidates) if candidates else None
    release = None if chosen is None else _from_uname(chosen, line, catalog.distributions)
    packages = {matched.parts.get("version") for matched, _ in statements}
    if len(packages) > 1:
        raise ReleaseError(f"{_shown(line)}: names {len(packages)} kernel packages; give one a line")
    if statements:
        release = _with_build(release, statements[0][0], line)
    elif signature is not None and _exists(catalog, parse_version(signature.group("stable"))):
        release = _with_signature(release, signature, line, catalog)
    for other in foreign:
        if release is not None and not release.release.startswith(other.word):
            release = _with_unknown_build(release, other, line)
    return release


def _with_line(release: KernelRelease, line: str, catalog: Catalog) -> KernelRelease:
    """What the rest of the line says: the upload number of an Ubuntu package, the architecture, the day of the build."""
    by_name = {entry.name: entry for entry in catalog.distributions}
    distribution = by_name.get(release.distro or "")
    upload = _UBUNTU_BUILD.search(line)
    if upload is not None and release.distro == "ubuntu" and release.package is None and distribution is not None:
        package = f"{release.version.branch}.{release.version.sublevel}-{release.abi}.{upload.group(1)}"
        settle = settle_command(distribution, release.release, release.flavour, package)
        release = release._replace(package=package, settle=settle)
    if release.architecture is None:
        outside = _UNAME_ARCH.findall(line)
        release = release._replace(architecture=known_architecture(outside[-1])) if outside else release
    if distribution is not None and distribution.build_dates is not None and upload is not None:
        release = release._replace(built=build_day(line), date_source=distribution.build_dates)
    return release


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
