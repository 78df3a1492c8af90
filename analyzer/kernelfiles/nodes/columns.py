"""Turns a row of a table into a node. The titles that tools use determine which columns have the node's name and its
kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

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


@lru_cache(maxsize=4096)
def _normalised(text: str) -> str:
    return _TITLE.sub("_", text.strip().lower()[:100]).strip("_")


def title(text: object) -> str:
    """Returns a column title in normalised spelling: ``KERNEL-VERSION`` and ``Kernel Version`` become
    kernel_version.
    """
    return _normalised(str(text)[:1000])


def live_patches_of(value: object) -> LivePatches:
    """Returns the state of live patches that a column or fact gives. The value is a text, a number or a list, or None
    if it is missing.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return LivePatches.UNKNOWN
    empty = not value or (isinstance(value, str) and value.strip().lower() in _NONE)
    return LivePatches.NONE if empty else LivePatches.LOADED


class _Columns(NamedTuple):
    """The titles of a table that may have each part of a node, the best first."""

    names: tuple[str, ...]
    kernels: tuple[str, ...]
    builds: tuple[str, ...]
    architectures: tuple[str, ...]
    live: str | None


@lru_cache(maxsize=256)
def _columns(titles: tuple[str, ...]) -> _Columns:
    """Returns which columns are which. The rows of a list have the same titles, mostly."""
    have = frozenset(titles)

    def there(wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in have)

    return _Columns(
        names=there(_NAMES),
        kernels=there(_KERNELS if have & _OF_DISTRIBUTION else (*_KERNELS, *_LAST_KERNELS)),
        builds=there(_BUILDS),
        architectures=there(_ARCHITECTURES),
        live=next(iter(there(_LIVE)), None),
    )


def _first(row: Mapping[str, object], titles: tuple[str, ...]) -> str:
    for name in titles:
        text = named(row[name])
        if text:
            return text
    return ""


def has_kernel_column(titles: frozenset[str]) -> bool:
    """Returns True if the titles include both the name of a node and its kernel."""
    kernels = (*_KERNELS, *(() if titles & _OF_DISTRIBUTION else _LAST_KERNELS))
    return any(name in titles for name in _NAMES) and any(name in titles for name in kernels)


def row_of_columns(row: Mapping[str, object], fallback: str) -> NodeRow:
    """Returns the node in a row. The keys are titles as returned by `title`. `fallback` is used if the row has
    no name.
    """
    columns = _columns(tuple(row))
    name = _first(row, columns.names) or fallback
    kernel = _first(row, columns.kernels)
    if not kernel:
        return NodeRow(name, skipped="no kernel in its row")
    build = _first(row, columns.builds)
    if build.startswith("#") and "#" not in kernel:
        kernel = f"{kernel} {build}"
    live = live_patches_of(None if columns.live is None else row[columns.live])
    return NodeRow(name, kernel, _first(row, columns.architectures) or None, live)
