"""One commit of the catalogue: its backports, its signatures, its postings, and related commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.expression import Expression
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["BranchFact", "Change", "Commit", "Examples", "Posting", "Relation", "Signature", "SignaturePart"]


class BranchFact(NamedTuple):
    """What a survey found on one stable branch.

    A backport has the release it entered with, or a release it was there by (`present_by`); an absence holds up to
    `surveyed_through`, the last release that was looked at, or with `present_by` the last one that is known to lack it.
    `survey` names the survey that it is from, None if it is the catalogue's own; `basis` is the survey that says it, or
    says the same later than the catalogue. `changes` has the releases that brought it (True) and took it back (False),
    oldest first, where it was reverted; before the first of them it is as in the base release.
    """

    branch: str
    backported: bool
    release: UpstreamVersion | None
    present_by: UpstreamVersion | None
    surveyed_through: UpstreamVersion | None
    id: str | None
    source: str
    unverified: str | None
    survey: str | None = None
    changes: tuple[tuple[UpstreamVersion, bool], ...] = ()
    basis: Basis | None = None


class Examples(NamedTuple):
    """Kernels on which a signature was seen to answer, by its answer: versions of Debian's linux-source, or
    PACKAGE=VERSION.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Examples:
        """Builds the examples from their JSON form."""
        return cls(*(tuple(data.get(answer, ())) for answer in cls._fields))

    def __str__(self) -> str:
        answers = ((answer, getattr(self, answer)) for answer in self._fields)
        return "; ".join(f"{answer} in {', '.join(kernels)}" for answer, kernels in answers if kernels)


class SignaturePart(NamedTuple):
    """One place in the source that shows whether a commit's effect is there.

    `present` and `absent` are alternatives, each a tuple of C fragments that must all occur in the scope (``!`` before
    one: must not occur). `functions` are alternatives of names, `struct` likewise; neither means the whole file.
    `known_calls` lists every function that the older form is known to call: another one makes an absence unknown.
    """

    name: str
    files: tuple[str, ...]
    functions: tuple[tuple[str, ...], ...]
    struct: tuple[str, ...]
    follow: bool
    present: tuple[tuple[str, ...], ...]
    absent: tuple[tuple[str, ...], ...]
    known_calls: tuple[str, ...]
    absent_without_file: bool
    examples: Examples
    note: str | None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> SignaturePart:
        """Builds a part from its JSON form."""
        scope = data["scope"]
        return cls(
            name=data["name"],
            files=tuple(data["files"]),
            functions=tuple(tuple(names) for names in scope.get("functions", ())),
            struct=tuple(scope.get("struct", ())),
            follow=bool(data.get("follow")),
            present=tuple(tuple(fragments) for fragments in data["present"]),
            absent=tuple(tuple(fragments) for fragments in data.get("absent", ())),
            known_calls=tuple(data.get("known_calls", ())),
            absent_without_file=data.get("missing_file") == "absent",
            examples=Examples.from_data(data.get("examples", {})),
            note=data.get("note"),
        )


class Signature:
    """The JSON form of a signature, whose parts are built once, on request: only trees need them."""

    def __init__(self, data: Iterable[Mapping[str, Any]]) -> None:
        self._data = tuple(data)

    @cached_property
    def parts(self) -> tuple[SignaturePart, ...]:
        """The places in the source."""
        return tuple(SignaturePart.from_data(part) for part in self._data)


class Posting(NamedTuple):
    """The day (ISO) on which a change was first posted in public, in any version of it, and the source that says so."""

    day: str
    source: str


class Relation(NamedTuple):
    """Another commit of the catalogue that belongs to a commit: its 12 digits, why it does, and the source that says
    so.
    """

    commit: str
    why: str
    source: str


class Change(NamedTuple):
    """What a fix changes for programs that worked before it: what happens, the error that they get and the words of the
    verifier's log (None: no error, or no words), and the source of it.

    `refuses` is the condition over `Catalog.facts` under which a program gets the error, `until` the commit that takes
    the change back.
    """

    what: str
    errno: str | None
    words: str | None
    source: str
    refuses: Expression | None = None
    until: str | None = None

    def __str__(self) -> str:
        error = "" if self.errno is None else f" ({self.errno}{f': {self.words}' if self.words else ''})"
        return f"{self.what}{error}"


class Commit(NamedTuple):
    """A commit that introduces or fixes a defect. `key` is its first 12 hex digits; `id` is as long as it is known.

    `btf` says how it shows in a kernel's type data: alternatives of struct.member, function() and enum:NAME
    (`tailcall_audit.analyzer.readers.btf`); `emulation` how functions behave when they are run: alternatives of
    case=outcome (`tailcall_audit.analyzer.readers.emulation`); `code` names the matcher of machine code that can show
    it, and the effect of it (`tailcall_audit.analyzer.readers.code.isa`). `needs` are the commits whose code it changes
    or uses, `follow_ups` those that mend what it broke or left open. `changes` are what a fix changes for programs,
    refusals first.
    """

    key: str
    id: str
    subject: str
    first_release: UpstreamVersion
    is_feature: bool
    files: tuple[str, ...]
    branches: Mapping[str, BranchFact]
    source: str
    unverified: str | None
    aliases: tuple[str, ...]
    only_on_branch: str | None
    signature_data: Signature
    btf: Mapping[str, Any] | None = None
    first_posted: Posting | None = None
    emulation: Mapping[str, Any] | None = None
    code: Mapping[str, Any] | None = None
    needs: tuple[Relation, ...] = ()
    follow_ups: tuple[Relation, ...] = ()
    changes: tuple[Change, ...] = ()
    basis: Basis | None = None
    """The survey that saw its first release later than the catalogue."""

    @property
    def signature(self) -> tuple[SignaturePart, ...]:
        """The places in the source that show whether it is there."""
        return self.signature_data.parts

    def __str__(self) -> str:
        return f'{self.key} ("{self.subject}")'
