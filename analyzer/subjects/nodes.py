"""Reads a list of nodes: each distinct kernel (release, build and architecture) once, and which node runs which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.nodes.read import NodesForm, read_nodes
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, NodesError
from tailcall_audit.analyzer.kernelfiles.release.number import build_of
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.model import AuditError, LivePatches, Node, TargetKind
from tailcall_audit.analyzer.subjects.release import teaching_command
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject

__all__ = ["LIVE_PATCHES_NOTE", "NodeBatch", "NodeKernel", "Nodes", "group_nodes", "subject_of_kernel"]

_BATCH = 2000
_MOST_KERNELS = 2000
_MOST_NODES = 2_000_000
LIVE_PATCHES_NOTE = (
    "live patches not known (kpatch, KernelCare): they change a kernel without changing its name, so a node"
    " may differ from what is reported here"
)
_LOADED_NOTE = (
    "live patches are loaded on these nodes: what they change is not in the version, so nothing here is certain"
)
_NOTES = ((LivePatches.UNKNOWN, LIVE_PATCHES_NOTE), (LivePatches.LOADED, _LOADED_NOTE))
_NO_ARCHITECTURE = (
    "the list names no architecture for some kernels, which are judged for every one; kubectl get nodes -o json and"
    " uname -a name it"
)


class NodeKernel(NamedTuple):
    """A kernel that nodes run: what names it, its architecture as this tool calls it, and what is known of live patches.

    `build` is what ``uname -v`` says, where that is known.
    """

    text: str
    architecture: str | None
    live_patches: LivePatches
    build: str | None


class NodeBatch(NamedTuple):
    """The next nodes of a list: for each a name, and the place of its kernel among those that were yielded, or the
    reason why it has none.
    """

    nodes: tuple[tuple[str, int | None, str | None], ...]


class Nodes(NamedTuple):
    """A list of nodes that was read: the kernels, and the nodes with the places of theirs."""

    kernels: tuple[NodeKernel, ...]
    nodes: tuple[Node, ...]


def _without_host(text: str) -> str:
    """Returns a line of ``uname -a`` without the name of the host, which differs from node to node."""
    words = text.split(" ", 3)
    named = len(words) == 4 and words[0] == "Linux" and words[2][:1].isdigit() and words[3].startswith("#")
    return f"Linux {words[2]} {words[3]}" if named else text


class _Kernels:
    """The kernels of a list so far. A text that names a kernel is parsed once, however many nodes have it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._by_text: dict[tuple[str, str | None, LivePatches], int | str] = {}
        self._places: dict[object, int] = {}
        self.new: NodeKernel | None = None

    def place(self, row: NodeRow, no_live_patches: bool) -> int | str:
        """Returns the place of a node's kernel, or why it has none. `new` is set to the kernel if no earlier node had
        it.
        """
        if row.text is None:
            return row.skipped or "nothing names its kernel"
        text = _without_host(row.text)
        if no_live_patches and row.live_patches is LivePatches.UNKNOWN:
            row = row._replace(live_patches=LivePatches.NONE)
        key = (text, row.architecture, row.live_patches)
        known = self._by_text.get(key)
        if known is None:
            if len(self._by_text) > 10 * _MOST_KERNELS:
                self._by_text.clear()
            known = self._by_text[key] = self._parsed(text, row)
        return known

    def _parsed(self, text: str, row: NodeRow) -> int | str:
        try:
            release = parse_release(text, self._catalog)
            architecture = (
                release.architecture if row.architecture is None else normalize_architecture(row.architecture)
            )
        except (ReleaseError, UnknownArchitectureError) as error:
            return str(error)
        build = build_of(text)
        key = (release._replace(text=""), architecture, row.live_patches, build)
        if key not in self._places and len(self._places) >= _MOST_KERNELS:
            return f"not judged: the list names more than {_MOST_KERNELS:,} different kernels; give a part of it"
        place = self._places.setdefault(key, len(self._places))
        self.new = NodeKernel(text, architecture, row.live_patches, build)
        return place


def group_nodes(
    catalog: Catalog, rows: Iterable[NodeRow], label: str, no_live_patches: bool = False
) -> Iterator[NodeKernel | NodeBatch]:
    """Yields each kernel before the first node that runs it, and all nodes in batches; raises NodesError if there is no
    node.

    If the list cannot be read to its end, the rest is a row of its own.
    """
    kernels, seen, count = _Kernels(catalog), 0, 0
    batch: list[tuple[str, int | None, str | None]] = []
    for row in _to_the_end(rows, label):
        place = kernels.place(row, no_live_patches)
        if isinstance(place, int):
            if place == seen:
                assert kernels.new is not None
                yield kernels.new
                seen += 1
            batch.append((row.name, place, None))
        else:
            batch.append((row.name, None, place))
        count += 1
        if count > _MOST_NODES:
            raise NodesError(f"{label}: more than {_MOST_NODES:,} nodes")
        if len(batch) == _BATCH:
            yield NodeBatch(tuple(batch))
            batch = []
    if not count:
        raise NodesError(f"{label}: no node in it; {parameter('nodes_format')} says how it is written")
    yield NodeBatch(tuple(batch))


def _to_the_end(rows: Iterable[NodeRow], label: str) -> Iterator[NodeRow]:
    """Yields the rows, and one row more for a rest that cannot be read; raises AuditError if no row could be read."""
    count = 0
    try:
        for row in rows:
            count += 1
            yield row
    except AuditError as error:
        if not count:
            raise
        yield NodeRow(f"the rest of {label}", skipped=str(error))


def nodes_of_list(request: Request, name: str) -> Iterator[NodeKernel | NodeBatch]:
    """Yields the kernels and nodes of a list, which is a file or ``-``; raises AuditError."""
    request.progress(f"reading {name}")
    form = None if request.fleet.nodes_format is None else NodesForm(request.fleet.nodes_format)
    label = "standard input" if name == "-" else name
    yield from group_nodes(request.catalog, read_nodes(name, form), label, request.fleet.no_live_patches)


def subject_of_kernel(request: Request, kernel: NodeKernel) -> Subject:
    """Returns the kernel of nodes as a subject, looked up where the request says so. Raises ReleaseError if its text
    names none, and AuditError if what was found for it cannot be read.
    """
    release = parse_release(kernel.text, request.catalog)
    notes = [note for state, note in _NOTES if state is kernel.live_patches]
    opened = None
    if request.online is not None:
        found = request.online.look_up(request, release)
        release, opened = found.release, found.changelog
        notes += found.notes
    else:
        release = release._replace(teach=teaching_command(request, release))
    if kernel.architecture is None and request.arch is None:
        notes.append(_NO_ARCHITECTURE)
    subject = make_subject(
        request,
        TargetKind.RELEASE,
        release.release,
        release=release,
        architecture=(kernel.architecture, "the list of nodes"),
        config=request.config,
        parts=Parts(changelog=opened),
        notes=notes,
        changelog=None if opened is None else opened.changelog.path,
        build=kernel.build,
        live_patches=kernel.live_patches.value,
    )
    return subject._replace(live_patches=kernel.live_patches)
