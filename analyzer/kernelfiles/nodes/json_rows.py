"""Reads nodes from JSON: ``kubectl get nodes -o json``, Ansible's facts in the forms that it writes, and rows of
osquery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tailcall_audit.analyzer.kernelfiles.nodes.columns import live_patches_of, row_of_columns, title
from tailcall_audit.analyzer.kernelfiles.nodes.json_stream import Piece, json_pieces
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, NodesError, named

__all__ = ["json_rows"]

_MOST_MEMBERS = 2000
_LABEL = re.compile(r"(\S++) \| [A-Z]++!? (?:\| rc=\d++ )?=>$")
_FACTS = ("ansible_kernel", "kernel", "ansible_system", "ansible_architecture")
_PREFIX = "ansible_"


def _of_kubernetes(value: Mapping[str, Any], fallback: str) -> NodeRow | None:
    """Returns the node in a Node object (Kubernetes API, core/v1), None if the value has another shape."""
    kind, status, metadata = value.get("kind"), value.get("status"), value.get("metadata")
    info = status.get("nodeInfo") if isinstance(status, dict) else None
    if not isinstance(metadata, dict) or (kind != "Node" and not isinstance(info, dict)):
        if isinstance(kind, str) and isinstance(metadata, dict):
            return NodeRow(named(metadata.get("name")) or fallback, skipped=f"a {kind[:60]}, not a Node")
        return None
    name = named(metadata.get("name")) or fallback
    if not isinstance(info, dict) or not named(info.get("kernelVersion")):
        return NodeRow(name, skipped="its status names no kernel: the node has not reported yet")
    system = named(info.get("operatingSystem"))
    if system not in ("", "linux"):
        return NodeRow(name, skipped=f"runs {system[:60]}, not Linux")
    return NodeRow(name, named(info["kernelVersion"]), named(info.get("architecture")) or None)


def _of_ansible(value: Mapping[str, Any], fallback: str) -> NodeRow | None:
    """Returns the host in a value of Ansible: facts with or without their prefix, or the reason why they could not be
    gathered. None if the value is not such a host.
    """
    if value.get("unreachable") is True or value.get("failed") is True:
        why = named(value.get("msg")) or "no reason is given"
        return NodeRow(fallback, skipped=f"{'unreachable' if value.get('unreachable') else 'failed'}: {why}")
    facts = value.get("ansible_facts", value)
    if not isinstance(facts, dict) or not any(name in facts for name in _FACTS):
        return None

    def fact(name: str) -> object:
        return facts.get(f"{_PREFIX}{name}", facts.get(name))

    own = next((text for name in ("fqdn", "nodename", "hostname") if (text := named(fact(name)))), "")
    name = fallback if fallback and not fallback.startswith("item ") else own or fallback
    system, kernel = named(fact("system")), named(fact("kernel"))
    if system not in ("", "Linux"):
        return NodeRow(name, skipped=f"runs {system[:60]}, not Linux")
    if not kernel:
        return NodeRow(name, skipped="its facts name no kernel")
    build = named(fact("kernel_version"))
    live = live_patches_of(fact("livepatch"))
    text = f"{kernel} {build}" if build.startswith("#") else kernel
    return NodeRow(name, text, named(fact("architecture")) or None, live)


def _rows_of_osquery(value: Mapping[str, Any], fallback: str) -> Iterator[NodeRow]:
    """Yields the row of a result, or the rows of a log line of osqueryd, which contains the name of the host."""
    host = next((value[key] for key in ("hostIdentifier", "host_identifier") if key in value), None)
    inner = value.get("columns", value.get("snapshot"))
    rows = inner if isinstance(inner, list) else [inner if isinstance(inner, dict) else value]
    for row in rows:
        if not isinstance(row, dict):
            yield NodeRow(
                named(host) or fallback,
                skipped="neither a node of Kubernetes nor facts of Ansible nor a row of osquery",
            )
            continue
        cells = {title(key): cell for key, cell in row.items()}
        yield row_of_columns(cells, named(host) or fallback)


def _rows(value: object, fallback: str) -> Iterator[NodeRow]:
    if not isinstance(value, dict):
        yield NodeRow(fallback, skipped="no object, and so no node")
        return
    row = _of_kubernetes(value, fallback) or _of_ansible(value, fallback)
    yield from (row,) if row is not None else _rows_of_osquery(value, fallback)


_PARTS = frozenset(("ansible_facts", "metadata", "status", "spec", "columns"))
"""The keys of objects that are parts of a node, not nodes."""
_OF_LIST = frozenset(("apiVersion", "kind", "metadata"))
"""The keys that a list of Kubernetes has beside its nodes."""


def _of_text(value: Mapping[str, Any], label: str, number: int) -> Iterator[NodeRow]:
    """Yields the node or nodes in a text that contains no lists of nodes."""
    hosts = [
        row
        for key, member in value.items()
        if isinstance(member, dict) and key not in _PARTS and (row := _of_ansible(member, key)) is not None
    ]
    if hosts:
        yield from hosts
    elif value.keys() - _OF_LIST:
        match = _LABEL.match(label) if label else None
        yield from _rows(value, match.group(1) if match is not None else f"item {number}")


class _Document:
    """One JSON text. Top-level members that are not nodes are kept, because together they may form one node."""

    def __init__(self) -> None:
        self.rest: dict[str, object] = {}
        self.label = ""
        self.rows = 0

    def take(self, piece: Piece, number: int) -> Iterator[NodeRow]:
        key = piece.keys[-1]
        self.label = piece.label
        is_host = isinstance(piece.value, dict) and key not in _PARTS
        if not key:
            yield from _rows(piece.value, f"item {number}")
        elif piece.keys[:-1] and isinstance(piece.value, dict) and is_host:
            yield from self._of_member(piece.value, piece.keys)
        elif is_host and isinstance(piece.value, dict) and (row := _of_ansible(piece.value, key)) is not None:
            yield row
        elif len(piece.keys) == 1 and len(self.rest) < _MOST_MEMBERS:
            self.rest[key] = piece.value

    def _of_member(self, value: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[NodeRow]:
        """Yields the host in a map from names to hosts. Only one task of a play gathers facts; the others are ignored."""
        row = _of_kubernetes(value, keys[-1]) or _of_ansible(value, keys[-1])
        if row is not None:
            yield row
        elif "tasks" not in keys:
            yield NodeRow(keys[-1], skipped="its facts name no kernel")

    @property
    def is_page(self) -> bool:
        """True for a part of a list of Kubernetes that others follow (ListMeta.continue in the API of meta/v1)."""
        metadata = self.rest.get("metadata")
        return isinstance(metadata, dict) and bool(metadata.get("continue"))

    def end(self, number: int) -> Iterator[NodeRow]:
        if self.rows == 0:
            yield from _of_text(self.rest, self.label, number)


def json_rows(read: Callable[[int], str], path: str) -> Iterator[NodeRow]:
    """Yields the nodes in JSON texts. Raises NodesError for broken JSON, possibly after valid nodes, and if pages of a list
    are missing.
    """
    document, number, is_page = _Document(), 1, False
    for piece in json_pieces(read, path):
        if piece.ends and isinstance(piece.value, dict):
            rows = _of_text(piece.value, piece.label, number)
        else:
            rows = document.end(number) if piece.ends else document.take(piece, number)
        for row in rows:
            document.rows += 1
            number += 1
            yield row
        if piece.ends and (document.rows or document.rest):
            is_page = document.is_page
            document = _Document()
    if is_page:
        raise NodesError(
            f"{path}: it is a page of a longer list (metadata.continue): kubectl get nodes -o json has all"
        )
