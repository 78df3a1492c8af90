"""A subject is one kernel that is audited: what it says it is, and the parts of it that readers can read.

The openers beside this module make subjects. `tailcall_audit.analyzer.judging` reads and judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Bootable, Confidence, LivePatches, TargetKind

if TYPE_CHECKING:
    from tailcall_audit.analyzer.kernelfiles.makefile import TreeIdentity
    from tailcall_audit.analyzer.kernelfiles.patch_series import ListedPatch
    from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader
    from tailcall_audit.analyzer.subjects.image import OpenImage
    from tailcall_audit.analyzer.subjects.locate_tree import KernelTree
    from tailcall_audit.analyzer.subjects.online import Online
    from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
    from tailcall_audit.analyzer.web.fetch import Fetcher

__all__ = [
    "ANY_DISTRIBUTION",
    "Fleet",
    "OpenPatches",
    "OpenTree",
    "Parts",
    "Progress",
    "Request",
    "Subject",
    "make_subject",
]

ANY_DISTRIBUTION = "*"
"""Stands for all distributions: a repository of which nothing is known may belong to any of them."""
Progress = Callable[[str], None]


class Fleet(NamedTuple):
    """What holds many kernels (docs/fleets.md).

    `nodes` is a list of nodes, a path or ``-``, in the form `nodes_format` (None: it is detected); `no_live_patches`
    says that the nodes have none. `texts` are logs, or folders and archives of them, in which kernels name themselves.
    `roots` are root file systems: folders, containers (`oci`) and disks.
    """

    nodes: str | None = None
    nodes_format: str | None = None
    no_live_patches: bool = False
    texts: Sequence[str] = ()
    roots: Sequence[str] = ()
    oci: Sequence[str] = ()
    disks: Sequence[str] = ()


class Request(NamedTuple):
    """What is asked of an audit, for every kind of input.

    `arch` is a normalised name, `config` the configuration that was given. `root` is the folder of the host's files.
    `online` is set if builds that no survey has may be looked up, and `repositories` names the distributions for which
    a repository that the user named could be asked. `today` is the day of the audit (ISO; empty: the clock's). The
    other fields are the parameters of `tailcall_audit.analyzer.pipeline.audit`.
    """

    catalog: Catalog
    defects: Sequence[Defect]
    arch: str | None = None
    config: KernelConfig | None = None
    pitfalls: bool = False
    progress: Progress = lambda _: None
    rev: str | None = None
    system_map: str | None = None
    distro: str | None = None
    package_version: str | None = None
    changelog_format: str | None = None
    offline: bool = False
    refresh: bool = False
    root: str = "/"
    apart: bool = False
    emulate: bool = True
    online: Online | None = None
    repositories: tuple[str, ...] = ()
    max_age: int | None = None
    today: str = ""
    fleet: Fleet = Fleet()

    def fetcher(self) -> Fetcher:
        """Returns what fetches from the web, set up by `offline` and `refresh`."""
        from tailcall_audit.analyzer.web.fetch import Fetcher

        return Fetcher(offline=self.offline, refresh=self.refresh, progress=self.progress)


class OpenTree(NamedTuple):
    """A kernel tree, and its identity by its Makefile or its history."""

    tree: KernelTree
    identity: TreeIdentity


class OpenPatches(NamedTuple):
    """A folder of patches without the sources that they are for.

    `listing` names the list that `patches` are from, whose paths are below `prefix`. `branch` is the stable branch of
    the base.
    """

    files: FileReader
    listing: str
    prefix: str
    patches: tuple[ListedPatch, ...]
    branch: str


class Parts(NamedTuple):
    """The parts that are at hand of a kernel; each reader reads one of them. `types` is the path of the running
    kernel's BTF.
    """

    tree: OpenTree | None = None
    image: OpenImage | None = None
    types: str | None = None
    changelog: OpenChangelog | None = None
    patches: OpenPatches | None = None


class Subject(NamedTuple):
    """One kernel to judge.

    `release` is what its version proves, at most with `confidence`. `config_applies` is True if options that are off in
    `config` can exclude defects. `live_patches` keep every verdict from being certain. The fields `is_running`,
    `bootable`, `series` and `version` are those of `TargetReport`.
    """

    kind: TargetKind
    label: str
    identity: Mapping[str, str | None]
    architecture: str | None
    release: KernelRelease | None
    confidence: Confidence
    config: KernelConfig | None
    config_applies: bool
    parts: Parts
    notes: tuple[str, ...]
    live_patches: LivePatches = LivePatches.NONE
    bootable: Bootable | None = None
    is_running: bool = False
    series: str | None = None
    version: str | None = None


def _identity_of(
    release: KernelRelease | None, architecture: str | None, more: Mapping[str, str | None]
) -> dict[str, str | None]:
    return {
        "release": None if release is None else release.release,
        "upstream": None if release is None or release.proof is Proof.NOTHING else str(release.version),
        "proof": None if release is None else release.proof.value,
        "distro": None if release is None else release.distro,
        "package": None if release is None else release.package,
        "flavour": None if release is None else release.flavour,
        "architecture": architecture,
        **more,
    }


def _contradictions(config: KernelConfig, release: KernelRelease | None, architecture: str | None) -> list[str]:
    """Returns the reasons why a configuration belongs to another kernel than the subject; empty if there are none."""
    found = []
    if release is not None and config.release is not None:
        ours, theirs = release.version, config.release.version
        if config.release.proof is Proof.NOTHING:
            return [config.release.notes[0]]
        exact = release.proof is not Proof.BASE and release.vanilla_like
        if ours.branch != theirs.branch or (exact and ours != theirs):
            found.append(f"its header says {theirs}, the target is {ours}")
    if config.foreign is not None and config.foreign != architecture:
        found.append(f"it is of Linux/{config.foreign}, which is none of the architectures that are audited")
    if architecture is not None and config.architecture is not None and architecture != config.architecture:
        found.append(f"it is for {config.architecture}, the target is {architecture}")
    return found


def _config_applies(
    config: KernelConfig | None, release: KernelRelease | None, architecture: str | None, is_of_this_build: bool | None
) -> tuple[bool, list[str]]:
    """Returns True if a configuration belongs to this kernel, so that options that are off rule defects out; and notes.

    If it is known to belong to this kernel, as with /proc/config.gz, its version and its salt are not compared: ``make
    olddefconfig`` keeps a salt that another kernel's configuration had.
    """
    if config is None:
        return False, ["no .config given: defects that a configuration would rule out are listed too"]
    contradictions = _contradictions(config, None if is_of_this_build else release, architecture)
    notes = [f"{config.path} excludes nothing: {text}" for text in contradictions]
    return not contradictions and is_of_this_build is not False, [*config.notes, *notes]


def _release_notes(request: Request, release: KernelRelease | None) -> list[str]:
    if release is None:
        return []
    notes = list(release.notes)
    if release.version.base > request.catalog.newest_mainline:
        known = f"{request.catalog.date}, through {request.catalog.newest_mainline}"
        notes.append(f"{release.version} is newer than the catalogue ({known}): defects found since then are not in it")
    return notes


def make_subject(
    request: Request,
    kind: TargetKind,
    label: str,
    *,
    release: KernelRelease | None,
    proven: KernelRelease | None = None,
    confidence: Confidence = Confidence.HIGH,
    architecture: tuple[str | None, str] = (None, ""),
    config: KernelConfig | None = None,
    config_is_of_this_build: bool | None = None,
    parts: Parts = Parts(),  # noqa: B008 (a named tuple is immutable)
    notes: Sequence[str] = (),
    **more: str | None,
) -> Subject:
    """Returns a subject, with the notes that its release, its architecture and its configuration call for.

    `release` is what the subject says it is and `proven` what that proves, where the two differ. `architecture` is the
    name that the subject gives, and where; an architecture that the user asked for comes first.
    `config_is_of_this_build` is None if that is not known. `more` goes into the identity.
    """
    named, place = architecture
    judged = request.arch or named
    found = list(notes)
    if request.arch is not None and named is not None and request.arch != named:
        found.append(f"{place} says {named}; judged for {request.arch}, as asked")
    found += _release_notes(request, proven or release)
    applies, config_notes = _config_applies(config, release, judged, config_is_of_this_build)
    identity = _identity_of(release, judged, more)
    identity["config"] = None if config is None else config.path
    return Subject(
        kind=kind,
        label=label,
        identity=identity,
        architecture=judged,
        release=proven or release,
        confidence=confidence,
        config=config,
        config_applies=applies,
        parts=parts,
        notes=(*found, *config_notes),
    )
