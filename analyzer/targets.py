"""The parameters of an audit that name kernels, and the rules for combining parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import UsageError
from tailcall_audit.analyzer.kernelfiles.release.parse import kernel_lines
from tailcall_audit.analyzer.subjects.subject import Fleet, Request

__all__ = ["Source", "Targets", "check_parameters"]

Source = tuple[str, str]
"""The module of `tailcall_audit.analyzer.subjects` that opens a subject, and its argument: a path, a name or a text."""


class Targets(NamedTuple):
    """The parameters of `tailcall_audit.analyzer.pipeline.audit` that name kernels. At most one kind of them may be
    given.
    """

    kernels: Sequence[str] = ()
    trees: Sequence[str] = ()
    packages: Sequence[str] = ()
    images: Sequence[str] = ()
    installed: bool = False
    repository: str | None = None
    changelog: str | None = None
    fleet: Fleet = Fleet()

    def sources(self, catalog: Catalog) -> list[Source]:
        """Returns the sources to open. Raises UsageError if targets of several kinds are given."""
        kinds: dict[str, Sequence[str]] = {
            "release": [line for text in self.kernels for line in kernel_lines(text, catalog)],
            "tree": self.trees,
            "package": self.packages,
            "image": self.images,
            "installed": ("",) if self.installed else (),
            "repository": (self.repository,) if self.repository else (),
            "changelog": (self.changelog,) if self.changelog else (),
            "nodes": (self.fleet.nodes,) if self.fleet.nodes else (),
            "text": self.fleet.texts,
            "rootfs": self.fleet.roots,
            "oci": self.fleet.oci,
            "disk": self.fleet.disks,
        }
        if sum(map(bool, kinds.values())) > 1:
            raise UsageError(
                "{kernels}, {trees}, {packages}, {images}, {installed}, {repository}, {changelog}, {nodes}, {texts}, {roots}, {oci} and {disks} name different targets:"
                " audit one after the other"
            )
        return [(opener, name) for opener, names in kinds.items() for name in names]


def check_parameters(request: Request, targets: Targets, count: int, *, has_config: bool) -> None:
    """Raises UsageError if a parameter applies to a target that was not given, or contradicts another one.

    `count` is the number of sources.
    """
    fetched, fleet = targets.packages or targets.changelog, targets.fleet
    wrong = {
        "{distro} is about a package that is fetched, or about a changelog: name one with {packages} or"
        " {changelog}": request.distro and not fetched,
        "{package_version} and {changelog_format} are about a changelog: name it with {changelog}": (
            (request.package_version or request.changelog_format) and not targets.changelog
        ),
        "{nodes_format} is about a list of nodes: name it with {nodes}": request.fleet.nodes_format and not fleet.nodes,
        "{no_live_patches} is about the nodes of a fleet, or kernels in logs: name {nodes} or {texts}": (
            request.fleet.no_live_patches and not (fleet.nodes or fleet.texts)
        ),
        "{config} is of one kernel: name one target with it": has_config and (count > 1 or any(fleet)),
        "{online} looks up the builds that release strings name: name one with {kernels}, or a list with {nodes}": (
            request.online is not None and not (targets.kernels or fleet.nodes)
        ),
        "{offline} and {online} contradict each other": request.offline and request.online is not None,
        "{offline} and {refresh} contradict each other": request.offline and request.refresh,
        "{rev} is a revision of one tree: name it with {trees}": request.rev is not None and len(targets.trees) != 1,
        "{system_map} is of one image: name it with {images}": (
            request.system_map is not None and len(targets.images) != 1
        ),
    }
    for template, is_wrong in wrong.items():
        if is_wrong:
            raise UsageError(template)
