"""Kernel release strings: what they say, and what they prove.

Takes everything that names a kernel: ``uname -r``, ``-v`` and ``-a``, ``/proc/version``, ``/proc/version_signature``,
lines of logs and node tables. A line names one kernel, and `kernel_lines` splits a text. A line that names two kernels
is refused. If a kernel's own build string contradicts its release, its version is unknown.
"""

from __future__ import annotations

import re

from tailcall_audit.analyzer.architecture import MACHINE
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.build_date import build_day
from tailcall_audit.analyzer.kernelfiles.release.build_string import (
    stated_version,
    with_build,
    with_signature,
    with_unknown_build,
)
from tailcall_audit.analyzer.kernelfiles.release.number import (
    Candidate,
    Place,
    clean_line,
    find_candidates,
    is_other_system,
    only_candidate,
)
from tailcall_audit.analyzer.kernelfiles.release.schemes import (
    build_statements,
    find_signature,
    find_upload,
    known_architecture,
    match_distribution,
    settle_command,
)
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, NoKernelError, ReleaseError, shown
from tailcall_audit.analyzer.kernelfiles.release.uname import release_of_uname
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["kernel_lines", "parse_release"]

_MAX_LENGTH = 1024
_MAX_LINES = 10_000
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_UNAME_ARCH = re.compile(rf"(?:\b|(?<=0000))({MACHINE})\b", re.ASCII)


def kernel_lines(text: str, catalog: Catalog | None = None) -> tuple[str, ...]:
    """Returns the lines of a text that name a kernel, in order; each is a separate target. Lines without a kernel (a
    prompt, a heading) are left out if another line has one. A text of one line is returned as it is. Raises
    ReleaseError if a text has more lines than a person pastes.
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
        return True  # it names several kernels; the audit of the line reports that
    return True


def _exists(catalog: Catalog, version: UpstreamVersion) -> bool:
    return catalog.has_mainline(version.major, version.minor)


def _chosen(line: str, candidates: list[Candidate]) -> Candidate | None:
    """Returns the one kernel of a line; raises ReleaseError if it names several."""
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
        raise ReleaseError(f"{shown(line)}: names {len(distinct)} kernels ({listed}); give each a line of its own")
    return next(
        candidate for candidate in sorted(candidates, key=lambda item: -item.place) if candidate.word in distinct
    )


def parse_release(text: str, catalog: Catalog | None = None) -> KernelRelease:
    """Parses one line that names a kernel, by the distributions of `catalog` (None: the shipped one).

    Raises ReleaseError when there is no kernel version in it, or more than one.
    """
    if len(text) > _MAX_LENGTH:
        raise NoKernelError(f"a kernel release of {len(text)} characters: no kernel has one over {_MAX_LENGTH}")
    catalog = catalog or shipped_catalog()
    line = clean_line(text)
    if is_other_system(line):
        raise NoKernelError(f"{shown(line)}: another system's version, not Linux's")
    release = _parsed(line, catalog)
    if release is None:
        raise NoKernelError(
            f"{shown(line)}: no kernel version in it (Linux through {catalog.newest_mainline.major}.x); "
            "expected something like 6.1.170, 6.8.0-35-generic or a line of uname -a"
        )
    return _with_line(release, line, catalog)


def _parsed(line: str, catalog: Catalog) -> KernelRelease | None:
    """Returns the release in a line, with the facts of its build string or signature."""
    build = line.rfind(" #") + 1  # the rest is uname -v; a compiler before it may contain the word Debian too
    statements = [
        statement._replace(start=statement.start + build, end=statement.end + build)
        for statement in build_statements(catalog.distributions, line[build:])
    ]
    signature = find_signature(catalog.distributions, line)
    plain = line
    for statement in (*statements, *((signature,) if signature else ())):
        plain = plain[: statement.start] + " " * (statement.end - statement.start) + plain[statement.end :]

    def has_form(rest: str, version: UpstreamVersion) -> bool:
        matched = match_distribution(catalog.distributions, rest, version)
        return matched is not None and not matched.distribution.self_built

    candidates = find_candidates(plain, lambda version: _exists(catalog, version), has_form)
    foreign = [item for item in candidates if build and item.start > build and item.place is Place.BARE]
    candidates = [item for item in candidates if item not in foreign]
    chosen = _chosen(plain, candidates) if candidates else None
    release = None if chosen is None else release_of_uname(chosen, line, catalog.distributions)
    packages = {statement.matched.parts.get("version") for statement in statements}
    if len(packages) > 1:
        raise ReleaseError(f"{shown(line)}: names {len(packages)} kernel packages; give one a line")
    if statements:
        release = with_build(release, statements[0].matched, line, catalog)
    elif signature is not None and _exists(catalog, stated_version(signature.matched, line)):
        release = with_signature(release, signature.matched, line)
    for other in foreign:
        if release is not None and not release.release.startswith(other.word):
            release = with_unknown_build(release, other, line)
    return release


def _with_line(release: KernelRelease, line: str, catalog: Catalog) -> KernelRelease:
    """Returns the release with the facts in the rest of the line: a package's upload number, the architecture, the
    build date.
    """
    distribution = next((entry for entry in catalog.distributions if entry.name == release.distro), None)
    upload = None if distribution is None else find_upload(distribution, line)
    if upload is not None and release.package is None and distribution is not None:
        package = f"{release.version.branch}.{release.version.sublevel}-{release.abi}.{upload}"
        settle = settle_command(distribution, release.release, release.flavour, package)
        release = release._replace(package=package, settle=settle)
    if distribution is not None and (rebuilder := distribution.rebuilder(line)) is not None:
        release = release._replace(rebuilder=rebuilder)
    if release.architecture is None:
        outside = _UNAME_ARCH.findall(line)
        release = release._replace(architecture=known_architecture(outside[-1])) if outside else release
    if distribution is not None and distribution.build_dates is not None and upload is not None:
        release = release._replace(built=build_day(line), date_source=distribution.build_dates)
    return release
