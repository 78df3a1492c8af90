"""How distributions name their kernels, package them and publish their changelogs (`catalog/distributions/NAME.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

__all__ = [
    "Address",
    "ChangelogForm",
    "Distribution",
    "Form",
    "Line",
    "PatchRepository",
    "Proof",
    "Published",
    "Rebuilder",
    "TreeMark",
]


class Proof(Enum):
    """How much of the upstream release a release string proves."""

    EXACT = "exact"
    """The stable release, without patches of the vendor that matter here (kernel.org, Debian, Alpine, Arch, …)."""
    PATCHED = "patched"
    """At least that release; the vendor put patches on top that the string does not show."""
    BASE = "base"
    """The mainline release only; the string does not show which stable updates are in."""
    SNAPSHOT = "snapshot"
    """A point of mainline's history between a release candidate and the next release."""
    NOTHING = "nothing"
    """Two statements contradict each other, so no version is proven."""


class Form(NamedTuple):
    """One way in which a distribution writes a release or a build string, and what that proves.

    `match` is a regular expression. For a release it matches the whole rest behind the upstream version and may name
    the groups ``abi``, ``flavour``, ``arch`` and ``rc``; for a build string (``uname -v``) it is searched for and names
    ``version`` and ``stable``. It is tried only where one of `contains` occurs. `zero_sublevel` says whether it is only
    for a sublevel of zero (True), only for others (False), or for both (None). `note` may name ``{version}`` and
    ``{suffix}``.
    """

    match: str
    contains: tuple[str, ...]
    proof: Proof
    note: str
    zero_sublevel: bool | None = None


class PatchRepository(NamedTuple):
    """Patches without the sources: what they are, the file that lists them, the expression for the base's version in
    the file that is the mark, and what applies them.
    """

    what: str
    series: str
    base: str
    apply: str


class TreeMark(NamedTuple):
    """A file that a distribution's source trees have, where the file `without` (None: whatever else) is not there.

    With `patches` it is also the mark of a repository of patches.
    """

    path: str
    note: str
    without: str | None = None
    patches: PatchRepository | None = None


class Line(NamedTuple):
    """Source packages whose builds are counted apart: the expression for their names, the tag that their releases have,
    and the expression that is found in their releases alone (None: the tag is enough). If the tag is None, it is the
    group ``tag`` of the expression, or the mark in the release (ph5) with the group ``flavour`` behind it (ph5-esx).
    """

    source: str
    tag: str | None = None
    builds: str | None = None


class ChangelogForm(NamedTuple):
    """How the changelogs of a distribution's packages are written.

    `grammar` is the value of a `Family`. `sources` are expressions for the names of source packages that are its
    kernels; the group ``version`` in one names the kernel's. `release` makes a release string of ``{version}`` and
    ``{flavour}``. `lists_commits` says that every commit that is taken is listed. `lines` are the packages (of dpkg:
    the source packages) whose builds are counted apart. `counted` is the expression for the end of a package's version
    that counts how often the same sources were built: ``uname -r`` does not have it. `suites` are the names of its
    series in the headers of dpkg's entries, and `versions` is the expression for versions that no other distribution
    has: they identify its changelogs, since other distributions have sources of the same names.
    """

    grammar: str
    sources: tuple[str, ...] = ()
    lists_commits: bool = False
    release: str | None = None
    lines: tuple[Line, ...] = ()
    counted: str | None = None
    suites: tuple[str, ...] = ()
    versions: str | None = None

    def build_of(self, version: str) -> str:
        """Returns the build that a package's version names, without the count of how often it was built."""
        return version if self.counted is None else re.sub(rf"{self.counted}$", "", version, flags=re.ASCII)


class Address(NamedTuple):
    """The end of a changelog's address, with ``{version}``, ``{source}`` or ``{suite}`` in it, and an example of such a
    value.
    """

    template: str
    example: str


class Published(NamedTuple):
    """Where a distribution publishes the changelogs of its kernels.

    `base` is where the addresses begin, `by_version` the address of one version, `by_suite` that of a suite's newest.
    `sources` are expressions for ``NAME=VERSION``, each with the name of the source package. A distribution without a
    `base` has `instead`, what to audit, or `repository`, the package that an RPM repository or host has the changelog
    of. `builds` is the expression for the versions that a release may be of, with ``{upstream}`` and ``{abi}`` to fill
    in; `bumps` finds the group ``abi`` where an entry of a changelog sets a new ABI number.
    """

    base: str | None = None
    by_version: Address | None = None
    by_suite: Address | None = None
    sources: tuple[tuple[str, str], ...] = ()
    instead: str | None = None
    repository: str | None = None
    builds: str | None = None
    bumps: str | None = None


class Rebuilder(NamedTuple):
    """Builds a distribution's kernels anew under its names; `match` is the expression, in any case, for what shows it."""

    title: str
    match: str


class Distribution(NamedTuple):
    """How a distribution names its kernels, and what such a name proves.

    `frozen` kernels take features of later releases, so that their base does not show what is absent. `surveyed` ones
    have no patches of their own that the catalogue does not know. `self_built` is no distribution, but a list of local
    versions. `rebuilds` names the distribution whose builds it has, fixes included. Facts about builds are compared
    with the package's version (`by_package`) or with the release string, in which the series' tag occurs
    (`series_in_release`). With `z_streams` a build with more than one number of its own (427.13.1) is on a line that
    leaves the main one at its first number; with `zero_is_main` only where the second one is not 0. `signatures` are
    forms of a second statement beside the release (``/proc/version_signature``) that names the stable release rolled
    in, `uploads` the expression that finds the rest of a package's version in a build string. `either_of` are the
    distributions of which it is one, where its release does not say which. `ids` are further names, of os-release(5)
    and for ``--distro``. `tree` are the marks of its source trees. `settle` is the command that decides what the name
    does not; ``{release}``, ``{build}`` (without the flavour's ``+rt`` or ``-esx``), ``{version}``, ``{flavour}`` and
    ``{package}`` (by flavour) are filled in. `build_dates` is the source that says that the strings carry real build
    dates. `whole` are the ended series whose changelogs were read whole, with the commits that those list; `abi` has
    the packages of each ABI number by series. `rebuilders` build its kernels anew under its names.
    """

    name: str
    title: str
    frozen: bool
    surveyed: bool
    self_built: bool
    rebuilds: str | None
    by_package: bool
    series_in_release: bool
    z_streams: bool
    keeps_marks: bool
    forms: tuple[Form, ...]
    builds: tuple[Form, ...]
    signatures: tuple[Form, ...]
    uploads: str | None
    either_of: tuple[str, ...]
    settle: str | None
    package: str | None
    flavour_packages: Mapping[str, str]
    build_dates: str | None
    config: tuple[tuple[str, str], ...]
    tree: tuple[TreeMark, ...]
    packages: tuple[str, ...]
    changelog: ChangelogForm | None
    ids: tuple[str, ...]
    published: Published | None
    survey: Mapping[str, Any]
    zero_is_main: bool = False
    rebuilders: tuple[Rebuilder, ...] = ()

    @property
    def vendor(self) -> str:
        """The distribution's own name, without those of its rebuilders."""
        return self.title.partition(" and ")[0]

    def rebuilder(self, text: str) -> str | None:
        """Returns the title of the rebuilder that a text shows; None if it shows none."""
        found = (item for item in self.rebuilders if re.search(item.match, text, re.IGNORECASE | re.ASCII))
        return next((item.title for item in found), None)
