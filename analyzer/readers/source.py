"""Evidence from the C sources: each signature of the catalogue, decided part by part (`source_part`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.catalog.commit import Commit, SignaturePart
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Capability, Catalog
from tailcall_audit.analyzer.kernelfiles.conditionals import NO_ASSUMPTIONS, Assumptions
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, FileRead, FileReader, ReadState, blob_id
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.assumptions import assumptions_by_commit
from tailcall_audit.analyzer.readers.older_tree import OlderTree
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.readers.source_part import SHARED, Part, PartReader
from tailcall_audit.analyzer.version import UpstreamVersion

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.locate_tree import KernelTree
    from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["SourceReader", "changed_files", "read", "signature_files"]


def signature_files(catalog: Catalog) -> tuple[str, ...]:
    """Returns the paths of all files that any signature reads, sorted."""
    paths = {path for commit in catalog.commits.values() for part in commit.signature for path in part.files}
    for capability in catalog.capabilities.values():
        paths |= {path for parts in capability.signatures.values() for part in parts for path in part.files}
    return tuple(sorted(paths))


class SourceReader:
    """Decides signatures on one tree; each file is read and parsed once."""

    def __init__(
        self,
        reader: FileReader,
        progress: Callable[[str], None] = lambda _: None,
        version: UpstreamVersion | None = None,
    ) -> None:
        """`version` is the tree's. If it is given, a commit is absent if the tree is older and has none of its names."""
        self._reader = reader
        self._version = version
        self._parts = PartReader(reader, progress)

    def file(self, path: str) -> FileRead:
        """Returns a file, which is read only once."""
        return self._parts.file(path)

    def evidence(self, catalog: Catalog, only: Collection[str] | None = None) -> Iterator[Evidence]:
        """Yields the evidence about every commit with a signature and about every capability; with `only`, about those
        commits alone.
        """
        self._parts.shared = tuple(path for path in signature_files(catalog) if path.startswith(SHARED))
        assumed = assumptions_by_commit(catalog)
        fixing = {name for defect in catalog.defects for name in leaves(defect.fixed)}
        for commit in catalog.commits.values():
            if commit.signature and (only is None or commit.key in only):
                yield self.commit(commit, assumed.get(commit.key, NO_ASSUMPTIONS), commit.key not in fixing)
        for capability in catalog.capabilities.values() if only is None else ():
            yield from self._capability(capability)

    def commit(
        self, commit: Commit, assumptions: Assumptions = NO_ASSUMPTIONS, introduces_only: bool = False
    ) -> Evidence:
        """Returns the evidence about a commit: present if all its parts are present, absent if one is absent. A part of
        an unknown shape makes it unknown, since a rewrite of that part may do without the others.

        `assumptions` are the options without which no defect that names the commit can be reached. `introduces_only`
        says that the commit fixes nothing: it is absent in an older tree that has none of its names.
        """
        parts = [(part, self._parts.part(part, assumptions)) for part in commit.signature]
        if introduces_only and all(answer.missing for _, answer in parts):
            older = self._older.without(commit, parts[0][1].citation)
            if older is not None:
                return older
        return self._all(commit.key, parts, None)

    @staticmethod
    def _all(key: str, parts: Sequence[tuple[SignaturePart, Part]], architecture: str | None) -> Evidence:
        """Returns the joined answers for all parts of a commit or capability; `architecture` limits the statement to
        one.
        """
        absent = [(part, answer) for part, answer in parts if answer.presence is Presence.ABSENT]
        open_ones = [(part, answer) for part, answer in parts if answer.presence is Presence.UNKNOWN]
        strange = [(part, answer) for part, answer in open_ones if not answer.unreadable]
        if strange:
            presence, (part, answer) = Presence.UNKNOWN, strange[0]
            detail = answer.detail
        elif absent:
            presence, (part, answer) = Presence.ABSENT, absent[0]
            detail = answer.detail
            if any(other.presence is Presence.PRESENT for _, other in parts):
                detail = f"incomplete, without {part.name!r}: {detail}"
        elif open_ones:
            presence, (part, answer) = Presence.UNKNOWN, open_ones[0]
            detail = answer.detail
        else:
            presence, (part, answer) = Presence.PRESENT, parts[0]
            detail = "; ".join(part.name for part, _ in parts)
        citation = (
            ", ".join(dict.fromkeys(other.citation for _, other in parts))
            if presence is Presence.PRESENT
            else answer.citation
        )
        settle = answer.settle if presence is Presence.UNKNOWN else None
        if strange and architecture is None:
            settle = f"tailcall-audit explain {key}   and compare with {answer.citation}"
        return Evidence(
            EvidenceKind.SOURCE,
            key,
            presence,
            citation,
            f"{citation}: {detail}" if presence is not Presence.UNKNOWN else detail,
            Confidence.LOW if presence is Presence.UNKNOWN else Confidence.HIGH,
            settle=settle,
            architecture=architecture,
            unreadable=presence is Presence.UNKNOWN and not strange,
        )

    def presence(self, part: SignaturePart, assumptions: Assumptions = NO_ASSUMPTIONS) -> Presence:
        """Returns the presence of one part of a signature alone."""
        return self._parts.part(part, assumptions).presence

    @cached_property
    def _older(self) -> OlderTree:
        return OlderTree(self._reader, self._version)

    def _capability(self, capability: Capability) -> Iterator[Evidence]:
        """Yields the evidence about a capability for each architecture that has a signature of it, decided as for a
        commit.
        """
        for architecture, signature in capability.signatures.items():
            parts = [(part, self._parts.part(part)) for part in signature]
            yield self._all(capability.key, parts, architecture)


def changed_files(tree: KernelTree, source: SourceReader, paths: tuple[str, ...]) -> list[str]:
    """Returns those of the files in which the disk differs from HEAD in more than the ends of lines."""
    if not tree.on_disk or tree.repository is None or tree.commit is None:
        return []
    head = BlobReader(tree.repository, tree.commit)
    changed = []
    for path in (*paths, "Makefile"):
        committed = head.entry_id(path)
        read = source.file(path)
        # A file that is in HEAD and not on disk is unreadable: a sparse checkout leaves some out.
        if committed is None or read.state is not ReadState.READ:
            continue
        # A checkout on Windows has CR LF where the commit has LF (core.autocrlf): the compiler sees the same code.
        same = {blob_id(read.data), blob_id(read.data.replace(b"\r\n", b"\n"))}
        if committed not in same:
            changed.append(path)
    return changed


def read(subject: Subject, request: Request) -> Reading:
    """Reads the C code of a tree."""
    opened = subject.parts.tree
    assert opened is not None  # the registry's condition
    source = SourceReader(opened.tree.files, request.progress, opened.identity.version)
    evidence = tuple(source.evidence(request.catalog))
    changed = changed_files(opened.tree, source, signature_files(request.catalog))
    if not changed:
        return Reading(evidence)
    note = f"files that matter differ from HEAD; what is on disk is audited: {', '.join(changed)}"
    return Reading(evidence, (note,))
