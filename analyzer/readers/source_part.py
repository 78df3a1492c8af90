"""One part of a signature, decided on the parsed C: a form in a function, a struct or a whole file.

A form counts only if the code that is compiled is proven to have it: every definition of a name that may be compiled,
in every file that may define it, has the form; no macro replaces it; no conditional that cannot be decided touches it.
Otherwise the answer is unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

from tailcall_audit.analyzer.catalog.commit import SignaturePart
from tailcall_audit.analyzer.kernelfiles.conditionals import NO_ASSUMPTIONS, Assumptions
from tailcall_audit.analyzer.kernelfiles.cscope import Scope
from tailcall_audit.analyzer.kernelfiles.csource import CSource
from tailcall_audit.analyzer.kernelfiles.tree_files import FileRead, FileReader, ReadState
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.signature import Forms, Unit, in_words, match_forms, standing_macro, units

__all__ = ["SHARED", "Part", "PartReader"]

SHARED = ("kernel/", "include/")
"""Shared code of all architectures: in all of it a name stands for one thing."""


@dataclass(frozen=True)
class Part:
    """The answer for one part of a signature.

    `missing` is True if nothing in the tree defines what the part looks at, `no_file` if the tree has none of its
    files.
    """

    presence: Presence
    citation: str
    detail: str
    unreadable: bool = False
    missing: bool = False
    no_file: bool = False

    @property
    def settle(self) -> str | None:
        """Returns what would let the part be read, if its files are not in the tree."""
        return f"unpack {self.citation} into this tree   and audit it again" if self.no_file else None


@dataclass(frozen=True)
class _Definition:
    """One definition that a part looks at, and the file that it stands in."""

    path: str
    scope: Scope


_Key = tuple[str, int, bool, Assumptions]


class _Units:
    """The units made from a definition, the reason if one of them cannot be read, and the forms that were looked for."""

    def __init__(self, units: list[Unit], odd: str | None) -> None:
        self.units = units
        self.odd = odd
        self._found: dict[tuple[tuple[str, ...], ...], Forms] = {}

    def match(self, alternatives: tuple[tuple[str, ...], ...]) -> Forms:
        """Returns which alternatives hold, looked for only once."""
        if alternatives not in self._found:
            self._found[alternatives] = match_forms(alternatives, self.units)
        return self._found[alternatives]


_UNITS: WeakKeyDictionary[CSource, dict[_Key, _Units]] = WeakKeyDictionary()
"""The units of the definitions of a file, kept as long as the parsed file: the tips of several branches share files."""


@lru_cache(maxsize=48)
def _parsed(data: bytes) -> CSource:
    """Returns a file, parsed only once: a plan reads a tree before and after its steps, and most files stay the same."""
    return CSource(data)


class PartReader:
    """Decides parts of signatures on one tree; each file is read and parsed once.

    `shared` are the files of shared code that any signature reads: a second definition in one of them counts, too.
    """

    def __init__(self, reader: FileReader, progress: Callable[[str], None], shared: tuple[str, ...] = ()) -> None:
        self.shared = shared
        self._reader = reader
        self._progress = progress
        self._files: dict[str, FileRead] = {}
        self._sources: dict[str, CSource] = {}

    def file(self, path: str) -> FileRead:
        """Returns a file, which is read only once."""
        if path not in self._files:
            self._progress(f"reading {path}")
            self._files[path] = self._reader.read(path)
        return self._files[path]

    def _source(self, path: str) -> CSource:
        if path not in self._sources:
            self._sources[path] = _parsed(self.file(path).data)
        return self._sources[path]

    def part(self, part: SignaturePart, assumptions: Assumptions = NO_ASSUMPTIONS) -> Part:
        """Returns the answer for one part of a signature alone."""
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
            return Part(Presence.UNKNOWN, first.path, f"cannot read {first.path}: {first.reason}", unreadable=True)
        found = list(self._definitions(part, assumptions))
        if found:
            return self._decide(part, found, assumptions)
        names = ", ".join(part.files)
        if len(missing) == len(part.files):
            if part.absent_without_file and all(self._is_gone(path) for path in missing):
                return Part(Presence.ABSENT, names, f"there is no {names}")
            gone = all(self._is_gone(path) for path in missing)
            return Part(Presence.UNKNOWN, names, f"there is no {names}", unreadable=True, missing=gone, no_file=True)
        what = " or ".join(name for names_ in part.functions for name in names_) or " or ".join(part.struct)
        return Part(
            Presence.UNKNOWN,
            names,
            f"no {what} in {names}: a shape that the catalogue does not know",
            missing=not any(self._macro(path, name, assumptions) for path in part.files for name in self._names(part)),
        )

    @staticmethod
    def _names(part: SignaturePart) -> tuple[str, ...]:
        return (*(name for names in part.functions for name in names), *part.struct)

    def _is_gone(self, path: str) -> bool:
        """Returns True if the absence of a file means something: in a headers package or a copy of some folders it does
        not.
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
        if any(path.startswith(SHARED) for path in paths):
            paths += [path for path in self.shared if path not in paths and self.file(path).state is ReadState.READ]
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

    def _decide(self, part: SignaturePart, found: list[_Definition], assumptions: Assumptions) -> Part:
        """Returns the answer for a part: every definition that may be compiled must agree."""
        answers = [self._one(part, item, assumptions) for item in found]
        spoken = {answer.presence for answer in answers}
        if len(spoken) == 1:
            if answers[0].presence is not Presence.UNKNOWN and not self._is_compiled(found, assumptions):
                detail = f"{found[0].scope.name} depends on a condition that cannot be decided"
                return Part(Presence.UNKNOWN, answers[0].citation, detail)
            return answers[0]
        known = [answer for answer in answers if answer.presence is Presence.UNKNOWN]
        if known:
            return known[0]
        places = ", ".join(answer.citation for answer in answers)
        return Part(Presence.UNKNOWN, answers[0].citation, f"two definitions of it differ: {places}")

    def _is_compiled(self, found: list[_Definition], assumptions: Assumptions) -> bool:
        by_path: dict[str, list[Scope]] = {}
        for item in found:
            by_path.setdefault(item.path, []).append(item.scope)
        return any(self._source(path).always_defined(scopes, assumptions) for path, scopes in by_path.items())

    def _one(self, part: SignaturePart, item: _Definition, assumptions: Assumptions) -> Part:
        source, scope = self._source(item.path), item.scope
        citation = f"{item.path}:{scope.line}" if scope.name else item.path
        name = f"{scope.name}()" if scope.name and not part.struct else scope.name or item.path

        def unknown(detail: str) -> Part:
            return Part(Presence.UNKNOWN, citation, f"{name} {detail}")

        key = (scope.name, scope.line, part.follow, assumptions)
        known = _UNITS.setdefault(source, {})
        if key not in known:
            known[key] = _Units(*units(source, scope, part.follow, assumptions))
        unit_list = known[key].units
        odd = scope.oddity or known[key].odd
        if odd is not None:
            return unknown(f"cannot be followed: {odd}")
        if scope.texts is None:
            return unknown("has more conditionals than can be tried")
        present, absent = known[key].match(part.present), known[key].match(part.absent)
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
            return Part(Presence.PRESENT, citation, part.name)
        strange = (
            {call for unit in unit_list for call in unit.calls}
            - set(part.known_calls)
            - {unit.name for unit in unit_list}
        )
        if part.known_calls and strange:
            return unknown(f"calls {', '.join(sorted(strange)[:3])}, which no form of it that the catalogue knows does")
        return Part(Presence.ABSENT, citation, f"{name} has the older form ({in_words(part.absent[min(absent.sure)])})")

    def _stands_in(
        self, part: SignaturePart, name: str, form: tuple[str, ...], path: str, assumptions: Assumptions
    ) -> str | None:
        """Returns why a macro keeps the form from being what is compiled; None if there is none."""
        paths = dict.fromkeys((path, *part.files, *(self.shared if path.startswith(SHARED) else ())))
        for other in paths:
            if self.file(other).state is ReadState.READ:
                macro = standing_macro(self._source(other), name, form, assumptions)
                if macro is not None:
                    return f"may not be what is compiled: {other} defines the macro {macro}"
        return None
