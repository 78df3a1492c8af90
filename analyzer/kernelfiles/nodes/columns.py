"""Turns a row of a table into a node. The titles that tools use determine which columns have the node's name and its
kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, named
from tailcall_audit.analyzer.model import LivePatches

__all__ = ["has_kernel_column", "live_patches_of", "row_of_columns", "title"]

_NAMES = (
    "node", "node_name", "nodename", "hostname", "host_name", "host_hostname", "host_display_name", "host", "hostidentifier",
    "host_identifier", "fqdn", "machine_name", "server", "instance", "computer_name", "system_hostname", "device", "vm", "name",
    "asset", "id", "uuid", "host_uuid",
)  # fmt: skip
_KERNELS = (
    "uname_a", "uname", "kernel_version", "kernelversion", "kernel_release", "kernelrelease", "uname_r", "kernel", "linux_kernel",
    "running_kernel", "os_kernel", "ansible_kernel",
)  # fmt: skip
_LAST_KERNELS = ("release", "version")
"""Titles that mean the kernel only if no other column is about a distribution."""
_OF_DISTRIBUTION = frozenset(("platform", "platform_like", "codename", "os_image", "distribution", "pretty_name"))
_BUILDS = ("kernel_build", "build", "uname_v", "kernel_build_string", "ansible_kernel_version")
_ARCHITECTURES = ("architecture", "arch", "uname_m", "cpu_type", "machine", "ansible_architecture")
_LIVE = ("live_patches", "livepatches", "livepatch", "live_patch", "kpatch", "kpatches", "kernelcare")
_NONE = frozenset(("none", "no", "0", "false", "-", "n/a", "[]", "disabled"))
_TITLE = re.compile(r"[^a-z0-9]+")


def title(text: object) -> str:
    """Returns a column title in normalised spelling: ``KERNEL-VERSION`` and ``Kernel Version`` become
    kernel_version.
    """
    return _TITLE.sub("_", str(text).strip().lower()[:100]).strip("_")


def live_patches_of(value: object) -> LivePatches:
    """Returns the state of live patches that a column or fact gives. The value is a text, a number or a list, or None
    if it is missing.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return LivePatches.UNKNOWN
    empty = not value or (isinstance(value, str) and value.strip().lower() in _NONE)
    return LivePatches.NONE if empty else LivePatches.LOADED


def _first(row: Mapping[str, object], titles: tuple[str, ...]) -> str:
    return next((text for name in titles if name in row and (text := named(row[name]))), "")


def has_kernel_column(titles: frozenset[str]) -> bool:
    """Returns True if the titles include both the name of a node and its kernel."""
    kernels = (*_KERNELS, *(() if titles & _OF_DISTRIBUTION else _LAST_KERNELS))
    return any(name in titles for name in _NAMES) and any(name in titles for name in kernels)


def row_of_columns(row: Mapping[str, object], fallback: str) -> NodeRow:
    """Returns the node in a row. The keys are titles as returned by `title`. `fallback` is used if the row has
    no name.
    """
    name = _first(row, _NAMES) or fallback
    kernel = _first(row, _KERNELS)
    if not kernel and not _OF_DISTRIBUTION & row.keys():
        kernel = _first(row, _LAST_KERNELS)
    if not kernel:
        return NodeRow(name, skipped="no kernel in its row")
    build = _first(row, _BUILDS)
    if build.startswith("#") and "#" not in kernel:
        kernel = f"{kernel} {build}"
    live = live_patches_of(next((row[name] for name in _LIVE if name in row), None))
    return NodeRow(name, kernel, _first(row, _ARCHITECTURES) or None, live)
