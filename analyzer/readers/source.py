"""What the source says: each signature of the catalogue decided on the parsed C, scoped to its function or struct."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tailcall_audit.analyzer.catalog.types import Capability, Catalog, Commit, SignaturePart
from tailcall_audit.analyzer.kernelfiles.csource import CSource, Scope, tokenize
from tailcall_audit.analyzer.kernelfiles.tree_files import FileRead, FileReader, ReadState
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence

__all__ = ["SourceReader", "signature_files"]


@dataclass(frozen=True)
class _Part:
    """The answer for one part of a signature."""

    presence: Presence
    citation: str
    detail: str
    unread: bool = False


def signature_files(catalog: Catalog) -> tuple[str, ...]:
    """The paths of all files that any signature reads, sorted."""
    paths = {path for commit in catalog.commits.values() for part in commit.signature for path in part.files}
    paths |= {path for capability in catalog.capabilities.values() for path in capability.files.values()}
    return tuple(sorted(paths))


def _joined(tokens: list[bytes]) -> bytes:
    return b"\0" + b"\0".join(tokens) + b"\0"


def _holds(fragments: tuple[str, ...], haystack: bytes) -> bool:
    """Whether all fragments of an alternative occur in the tokens (those after ``!`` must not)."""
    for fragment in fragments:
        negated = _is_negated(fragment)
        needle = _joined(tokenize(fragment.removeprefix("!").encode() if negated else fragment.encode()))
        if (needle in haystack) is negated:
            return False
    return True


def _in_words(alternative: tuple[str, ...]) -> str:
    """What an alternative asks for: "has bpf_prog_get (, no is_extended"."""
    words = [f"no {fragment[1:]}" if _is_negated(fragment) else f"has {fragment}" for fragment in alternative]
    return ", ".join(sorted(words))


def _is_negated(fragment: str) -> bool:
    # "!" is also C's own operator: "! cookie" with a space is code, "!name" without one negates.
    return fragment.startswith("!") and not fragment.startswith(("! ", "!="))


class SourceReader:
    """Decides signatures on one tree; each file is read and parsed once."""

    def __init__(self, reader: FileReader, progress: Callable[[str], None] = lambda _: None) -> None:
        self._reader = reader
        self._progress = progress
        self._files: dict[str, FileRead] = {}
        self._sources: dict[str, CSource] = {}

    def file(self, path: str) -> FileRead:
        """Read a file, once."""
        if path not in self._files:
            self._progress(f"reading {path}")
            self._files[path] = self._reader.read(path)
        return self._files[path]

    def _source(self, path: str) -> CSource:
        if path not in self._sources:
            self._sources[path] = CSource(self.file(path).data)
        return self._sources[path]

    def evidence(self, catalog: Catalog) -> Iterator[Evidence]:
        """Yield the evidence about every commit with a signature, and about every capability."""
        for commit in catalog.commits.values():
            if commit.signature:
                yield self.commit(commit)
        for capability in catalog.capabilities.values():
            yield from self._capability(capability)

    def commit(self, commit: Commit) -> Evidence:
        """Decide a commit: present when all its parts are, absent when one is; a part of a strange shape makes it unknown,
        since a rewrite of that part may do without the others."""
        parts = [(part, self._part(part)) for part in commit.signature]
        absent = [(part, answer) for part, answer in parts if answer.presence is Presence.ABSENT]
        open_ones = [(part, answer) for part, answer in parts if answer.presence is Presence.UNKNOWN]
        strange = [(part, answer) for part, answer in open_ones if not answer.unread]
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
        return Evidence(
            EvidenceKind.SOURCE,
            commit.key,
            presence,
            citation,
            f"{citation}: {detail}" if presence is not Presence.UNKNOWN else detail,
            Confidence.LOW if presence is Presence.UNKNOWN else Confidence.HIGH,
            settle=f"tailcall-audit explain {commit.key}   and compare with {answer.citation}" if strange else None,
            unread=presence is Presence.UNKNOWN and not strange,
        )

    def _part(self, part: SignaturePart) -> _Part:
        missing: list[str] = []
        for path in part.files:
            read = self.file(path)
            if read.state is ReadState.UNREADABLE:
                return _Part(Presence.UNKNOWN, path, f"cannot read {path}: {read.reason}", unread=True)
            if read.state is ReadState.MISSING:
                missing.append(path)
                continue
            groups = self._scopes(part, path)
            if groups:
                return self._decide(part, path, groups)
        names = ", ".join(part.files)
        if len(missing) == len(part.files):
            if part.absent_without_file and all(self._is_gone(path) for path in missing):
                return _Part(Presence.ABSENT, names, f"there is no {names}")
            return _Part(Presence.UNKNOWN, names, f"there is no {names}", unread=True)
        what = " or ".join(name for names_ in part.functions for name in names_) or " or ".join(part.struct)
        return _Part(Presence.UNKNOWN, names, f"no {what} in {names}: a shape that the catalogue does not know")

    def _is_gone(self, path: str) -> bool:
        """Whether a missing file says something: in a headers package or a copy of some folders it says nothing."""
        witnesses = ["kernel/bpf/core.c", *(["arch/Kconfig"] if path.startswith("arch/") else [])]
        return all(self.file(name).state is ReadState.READ for name in witnesses)

    def _scopes(self, part: SignaturePart, path: str) -> list[list[Scope]]:
        """The definitions to look at: alternatives under different preprocessor conditions, each a group of scopes."""
        source = self._source(path)
        if part.struct:
            return [[scope] for name in part.struct for scope in source.structs(name)]
        if not part.functions:
            return [[source.whole]]
        groups: list[list[Scope]] = []
        for alternatives in part.functions:
            for name in alternatives:
                found = source.functions(name)
                if found:
                    groups += [source.with_callees(scope) if part.follow else [scope] for scope in found]
                    break
        return groups

    def _decide(self, part: SignaturePart, path: str, groups: list[list[Scope]]) -> _Part:
        """Decide a part; of several definitions an empty stub has no say, and two that differ make it unknown."""
        answers = [self._one(part, path, group) for group in groups]
        spoken = {answer.presence for answer in answers if answer.presence is not Presence.UNKNOWN}
        if len(spoken) == 1:
            return next(answer for answer in answers if answer.presence in spoken)
        if len(spoken) > 1:
            return _Part(
                Presence.UNKNOWN,
                answers[0].citation,
                "two definitions of it differ: " + ", ".join(answer.citation for answer in answers),
            )
        return answers[0]

    def _one(self, part: SignaturePart, path: str, group: list[Scope]) -> _Part:
        citation = f"{path}:{group[0].line}" if group[0].name else path
        tokens = [token for scope in group for token in scope.tokens]
        haystack = _joined(tokens + self._source(path).macro_tokens(tokens))
        present = next((alternative for alternative in part.present if _holds(alternative, haystack)), None)
        absent = next((alternative for alternative in part.absent if _holds(alternative, haystack)), None)
        name = f"{group[0].name}()" if group[0].name and not part.struct else group[0].name or path
        if present is not None and absent is None:
            return _Part(Presence.PRESENT, citation, part.name)
        if absent is not None and present is None:
            strange = (
                {call for scope in group for call in scope.calls}
                - set(part.known_calls)
                - {scope.name for scope in group}
            )
            if part.known_calls and strange:
                return _Part(
                    Presence.UNKNOWN,
                    citation,
                    f"{name} calls {', '.join(sorted(strange)[:3])}, which no form of it that the catalogue knows does",
                )
            return _Part(Presence.ABSENT, citation, f"{name} has the older form ({_in_words(absent)})")
        if present is not None:
            return _Part(Presence.UNKNOWN, citation, f"{name} looks fixed and unfixed at once")
        return _Part(Presence.UNKNOWN, citation, f"{name} has a shape that the catalogue does not know")

    def _capability(self, capability: Capability) -> Iterator[Evidence]:
        """bpf_arch_text_poke() is a weak function that refuses; an architecture that can attach defines its own."""
        for architecture, path in capability.files.items():
            read = self.file(path)
            if read.state is ReadState.UNREADABLE:
                presence, detail = Presence.UNKNOWN, f"cannot read {path}: {read.reason}"
            elif read.state is ReadState.MISSING:
                presence = Presence.ABSENT if self._is_gone(path) else Presence.UNKNOWN
                detail = f"there is no {path}"
            elif b"bpf_arch_text_poke" not in read.data:
                presence, detail = Presence.ABSENT, f"{path} does not define bpf_arch_text_poke()"
            elif scopes := self._source(path).functions("bpf_arch_text_poke"):
                presence, detail = Presence.PRESENT, f"{path}:{scopes[0].line} defines bpf_arch_text_poke()"
            else:
                presence, detail = Presence.UNKNOWN, f"{path} names bpf_arch_text_poke() and does not define it"
            yield Evidence(
                EvidenceKind.SOURCE,
                capability.key,
                presence,
                path,
                detail,
                architecture=architecture,
                unread=presence is Presence.UNKNOWN,
            )
