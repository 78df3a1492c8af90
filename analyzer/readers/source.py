"""What the source says: each signature of the catalogue decided on the parsed C, scoped to its function or struct.

A commit counts as there only where the code that is compiled is proven to have it: every definition of a name that may
be compiled, in every file that may define it, has the form; no macro stands in for one; no conditional that cannot be
decided touches what decides. Else the answer is unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Capability, Catalog, Commit, SignaturePart
from tailcall_audit.analyzer.kernelfiles.csource import CSource, Scope
from tailcall_audit.analyzer.kernelfiles.preprocess import NO_ASSUMPTIONS, Assumptions
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, FileRead, FileReader, ReadState, blob_id
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.assumptions import assumptions_by_commit
from tailcall_audit.analyzer.readers.older_tree import OlderTree
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.readers.signature import Unit, in_words, match_forms, standing_macro, units
from tailcall_audit.analyzer.subjects.locate_tree import KernelTree
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["SourceReader", "changed_files", "read", "signature_files"]

_SHARED = ("kernel/", "include/")
"""Code for every architecture: a name stands for one thing in all of it."""


@dataclass(frozen=True)
class _Part:
    """The answer for one part of a signature.

    `missing`: nothing in the tree defines what the part looks at; `no_file`: the tree has none of its files.
    """

    presence: Presence
    citation: str
    detail: str
    unreadable: bool = False
    missing: bool = False
    no_file: bool = False

    @property
    def settle(self) -> str | None:
        """What lets the part be read, if its files are not in the tree."""
        return f"unpack {self.citation} into this tree   and audit it again" if self.no_file else None


@dataclass(frozen=True)
class _Definition:
    """One definition that a part looks at, and the file that it stands in."""

    path: str
    scope: Scope


def signature_files(catalog: Catalog) -> tuple[str, ...]:
    """Returns the paths of all files that any signature reads, sorted."""
    paths = {path for commit in catalog.commits.values() for part in commit.signature for path in part.files}
    for capability in catalog.capabilities.values():
        paths |= {path for parts in capability.signatures.values() for part in parts for path in part.files}
    return tuple(sorted(paths))


@lru_cache(maxsize=48)
def _parsed(data: bytes) -> CSource:
    """One file, parsed once: a plan reads a tree before and after its steps, and most files stay the same."""
    return CSource(data)


class SourceReader:
    """Decides signatures on one tree; each file is read and parsed once."""

    def __init__(
        self,
        reader: FileReader,
        progress: Callable[[str], None] = lambda _: None,
        version: UpstreamVersion | None = None,
    ) -> None:
        """`version` is the tree's; with it, what an older tree does not name at all is absent."""
        self._reader = reader
        self._progress = progress
        self._version = version
        self._shared: tuple[str, ...] = ()
        self._files: dict[str, FileRead] = {}
        self._sources: dict[str, CSource] = {}
        self._units: dict[tuple[str, str, int, bool, Assumptions], tuple[list[Unit], str | None]] = {}

    def file(self, path: str) -> FileRead:
        """Reads a file, once."""
        if path not in self._files:
            self._progress(f"reading {path}")
            self._files[path] = self._reader.read(path)
        return self._files[path]

    def _source(self, path: str) -> CSource:
        if path not in self._sources:
            self._sources[path] = _parsed(self.file(path).data)
        return self._sources[path]

    def evidence(self, catalog: Catalog) -> Iterator[Evidence]:
        """Yields the evidence about every commit with a signature, and about every capability."""
        self._shared = tuple(path for path in signature_files(catalog) if path.startswith(_SHARED))
        assumed = assumptions_by_commit(catalog)
        fixing = {name for defect in catalog.defects for name in leaves(defect.fixed)}
        for commit in catalog.commits.values():
            if commit.signature:
                yield self.commit(commit, assumed.get(commit.key, NO_ASSUMPTIONS), commit.key not in fixing)
        for capability in catalog.capabilities.values():
            yield from self._capability(capability)

    def commit(
        self, commit: Commit, assumptions: Assumptions = NO_ASSUMPTIONS, introduces_only: bool = False
    ) -> Evidence:
        """Decides a commit: present when all its parts are, absent when one is; a part of a strange shape makes it
        unknown, since a rewrite of that part may do without the others.

        `assumptions` are the options without which no defect that names the commit can be reached. `introduces_only`
        says that the commit fixes nothing: in an older tree that names nothing of it, it is absent.
        """
        parts = [(part, self._part(part, assumptions)) for part in commit.signature]
        if introduces_only and all(answer.missing for _, answer in parts):
            older = self._older.without(commit, parts[0][1].citation)
            if older is not None:
                return older
        return self._all(commit.key, parts, None)

    @staticmethod
    def _all(key: str, parts: Sequence[tuple[SignaturePart, _Part]], architecture: str | None) -> Evidence:
        """Joins the answers for all parts of a commit or capability; `architecture` limits the statement to one."""
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
        """Decides one part of a signature alone."""
        return self._part(part, assumptions).presence

    @cached_property
    def _older(self) -> OlderTree:
        return OlderTree(self._reader, self._version)

    def _part(self, part: SignaturePart, assumptions: Assumptions) -> _Part:
        missing: list[str] = []
        unreadable: list[FileRead] = []
        for path in part.files:
            read = self.file(path)
            if read.state is ReadState.UNREADABLE:
                unreadable.append(read)
            elif read.state is ReadState.MISSING:
                missing.append(path)
        if unreadable:
            first = unreadable[0]
            return _Part(Presence.UNKNOWN, first.path, f"cannot read {first.path}: {first.reason}", unreadable=True)
        found = list(self._definitions(part, assumptions))
        if found:
            return self._decide(part, found, assumptions)
        names = ", ".join(part.files)
        if len(missing) == len(part.files):
            if part.absent_without_file and all(self._is_gone(path) for path in missing):
                return _Part(Presence.ABSENT, names, f"there is no {names}")
            gone = all(self._is_gone(path) for path in missing)
            return _Part(Presence.UNKNOWN, names, f"there is no {names}", unreadable=True, missing=gone, no_file=True)
        what = " or ".join(name for names_ in part.functions for name in names_) or " or ".join(part.struct)
        return _Part(
            Presence.UNKNOWN,
            names,
            f"no {what} in {names}: a shape that the catalogue does not know",
            missing=not any(self._macro(path, name, assumptions) for path in part.files for name in self._names(part)),
        )

    @staticmethod
    def _names(part: SignaturePart) -> tuple[str, ...]:
        return (*(name for names in part.functions for name in names), *part.struct)

    def _is_gone(self, path: str) -> bool:
        """Returns True if a missing file says something: in a headers package or a copy of some folders it says
        nothing.
        """
        witnesses = ["kernel/bpf/core.c", *(["arch/Kconfig"] if path.startswith("arch/") else [])]
        return all(self.file(name).state is ReadState.READ for name in witnesses)

    def _definitions(self, part: SignaturePart, assumptions: Assumptions) -> Iterator[_Definition]:
        """Yields every definition that may be compiled, in each file of the part and in the shared code that was read."""
        paths = [path for path in part.files if self.file(path).state is ReadState.READ]
        if not part.functions and not part.struct:
            for path in paths:
                yield _Definition(path, self._source(path).whole(assumptions))
            return
        if any(path.startswith(_SHARED) for path in paths):
            paths += [path for path in self._shared if path not in paths and self.file(path).state is ReadState.READ]
        for name in part.struct:
            yield from (
                _Definition(path, scope) for path in paths for scope in self._source(path).structs(name, assumptions)
            )
        for alternatives in part.functions:
            for name in alternatives:
                found = [
                    _Definition(path, scope)
                    for path in paths
                    for scope in self._source(path).functions(name, assumptions)
                ]
                if any(item.path in part.files for item in found):
                    yield from found
                    break

    def _macro(self, path: str, name: str, assumptions: Assumptions) -> bool:
        return self.file(path).state is ReadState.READ and bool(self._source(path).live_macros(name, assumptions))

    def _decide(self, part: SignaturePart, found: list[_Definition], assumptions: Assumptions) -> _Part:
        """Decides a part: every definition that may be compiled must say the same."""
        answers = [self._one(part, item, assumptions) for item in found]
        spoken = {answer.presence for answer in answers}
        if len(spoken) == 1:
            if answers[0].presence is not Presence.UNKNOWN and not self._is_compiled(found, assumptions):
                detail = f"{found[0].scope.name} depends on a condition that cannot be decided"
                return _Part(Presence.UNKNOWN, answers[0].citation, detail)
            return answers[0]
        known = [answer for answer in answers if answer.presence is Presence.UNKNOWN]
        if known:
            return known[0]
        places = ", ".join(answer.citation for answer in answers)
        return _Part(Presence.UNKNOWN, answers[0].citation, f"two definitions of it differ: {places}")

    def _is_compiled(self, found: list[_Definition], assumptions: Assumptions) -> bool:
        by_path: dict[str, list[Scope]] = {}
        for item in found:
            by_path.setdefault(item.path, []).append(item.scope)
        return any(self._source(path).always_defined(scopes, assumptions) for path, scopes in by_path.items())

    def _one(self, part: SignaturePart, item: _Definition, assumptions: Assumptions) -> _Part:
        source, scope = self._source(item.path), item.scope
        citation = f"{item.path}:{scope.line}" if scope.name else item.path
        name = f"{scope.name}()" if scope.name and not part.struct else scope.name or item.path

        def unknown(detail: str) -> _Part:
            return _Part(Presence.UNKNOWN, citation, f"{name} {detail}")

        key = (item.path, scope.name, scope.line, part.follow, assumptions)
        if key not in self._units:
            self._units[key] = units(source, scope, part.follow, assumptions)
        unit_list, odd = self._units[key]
        odd = scope.oddity or odd
        if odd is not None:
            return unknown(f"cannot be followed: {odd}")
        if scope.texts is None:
            return unknown("has more conditionals than can be tried")
        present, absent = match_forms(part.present, unit_list), match_forms(part.absent, unit_list)
        if present.maybe and absent.maybe:
            surely = present.sure and absent.sure
            return unknown(
                "looks fixed and unfixed at once" if surely else "depends on a condition that cannot be decided"
            )
        if not present.maybe and not absent.maybe:
            return unknown("has a shape that the catalogue does not know")
        if not (present.sure or absent.sure):
            return unknown("depends on a condition that cannot be decided")
        if present.sure:
            macro = self._stands_in(part, scope.name, part.present[min(present.sure)], item.path, assumptions)
            if macro is not None:
                return unknown(macro)
            return _Part(Presence.PRESENT, citation, part.name)
        strange = (
            {call for unit in unit_list for call in unit.calls}
            - set(part.known_calls)
            - {unit.name for unit in unit_list}
        )
        if part.known_calls and strange:
            return unknown(f"calls {', '.join(sorted(strange)[:3])}, which no form of it that the catalogue knows does")
        return _Part(
            Presence.ABSENT, citation, f"{name} has the older form ({in_words(part.absent[min(absent.sure)])})"
        )

    def _stands_in(
        self, part: SignaturePart, name: str, form: tuple[str, ...], path: str, assumptions: Assumptions
    ) -> str | None:
        """Returns why a macro keeps the form from being what is compiled; None if there is none."""
        paths = dict.fromkeys((path, *part.files, *(self._shared if path.startswith(_SHARED) else ())))
        for other in paths:
            if self.file(other).state is ReadState.READ:
                macro = standing_macro(self._source(other), name, form, assumptions)
                if macro is not None:
                    return f"may not be what is compiled: {other} defines the macro {macro}"
        return None

    def _capability(self, capability: Capability) -> Iterator[Evidence]:
        """Decides a capability for each architecture that has a signature of it, in the same way as a commit."""
        for architecture, signature in capability.signatures.items():
            parts = [(part, self._part(part, NO_ASSUMPTIONS)) for part in signature]
            yield self._all(capability.key, parts, architecture)


def changed_files(tree: KernelTree, source: SourceReader, paths: tuple[str, ...]) -> list[str]:
    """Returns the files that matter in which the disk differs from HEAD, in more than the ends of lines."""
    if not tree.on_disk or tree.repository is None or tree.commit is None:
        return []
    head = BlobReader(tree.repository, tree.commit)
    changed = []
    for path in (*paths, "Makefile"):
        committed = head.entry_id(path)
        read = source.file(path)
        if committed is None or read.state is ReadState.UNREADABLE:
            continue
        # A checkout on Windows has CR LF where the commit has LF (core.autocrlf): the compiler sees the same code.
        same = {blob_id(read.data), blob_id(read.data.replace(b"\r\n", b"\n"))}
        if read.state is ReadState.MISSING or committed not in same:
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
