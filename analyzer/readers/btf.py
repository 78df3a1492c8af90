"""Evidence from a kernel's type data (BTF).

A struct's member shows that a struct changed, not that every check of a fix is in. A BTF match needs every item that
the catalogue lists, and a presence is never better than medium confidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tailcall_audit.probes.reading import open_file

__all__ = ["btf_evidence", "btf_presence", "read"]

_MAX_BTF = 64 << 20


def _there(btf: Btf, atom: str) -> bool:
    """Returns True if an atom of the catalogue (struct.member, function(), enum:NAME; ``!`` negates) is in the type
    data.
    """
    if atom.startswith("!"):
        return not _there(btf, atom[1:])
    if _is_function(atom):
        return btf.has_function(atom[:-2])
    if ":" in atom:
        enum, _, name = atom.partition(":")
        return name in btf.enumerators(enum)
    struct, *path = atom.split(".")
    number = btf.find(struct, kinds.STRUCT)
    for index, name in enumerate(path):
        member = None if number is None else btf.member_of(number, name)
        if member is None:
            return False
        number = btf.resolve(member.type) if index + 1 < len(path) else 0
        if number and btf.type(number).kind == kinds.PTR:
            number = btf.resolve(btf.type(number).value)
    return True


def _is_function(atom: str) -> bool:
    return atom.endswith("()")


def _decide(btf: Btf, commit: Commit) -> tuple[Presence, tuple[str, ...]] | None:
    """Returns what the type data says of a commit, and the atoms that say it; None if it has no known shape."""
    assert commit.btf is not None
    answers = {
        presence: next(
            (atoms for atoms in commit.btf.get(presence.value, ()) if all(_there(btf, atom) for atom in atoms)), None
        )
        for presence in (Presence.PRESENT, Presence.ABSENT)
    }
    matching = [(presence, atoms) for presence, atoms in answers.items() if atoms is not None]
    if len(matching) != 1:
        return None  # a shape that the catalogue does not know
    ((presence, atoms),) = matching
    return presence, tuple(atoms)


def btf_presence(btf: Btf, commit: Commit) -> Presence:
    """Returns the evidence from type data about a commit that has a BTF signature; raises BtfError on broken data."""
    found = _decide(btf, commit)
    return Presence.UNKNOWN if found is None else found[0]


def btf_evidence(catalog: Catalog, btf: Btf, where: str) -> Iterator[Evidence]:
    """Yields the evidence from the kernel's type data about each commit that has a BTF signature."""
    for commit in catalog.commits.values():
        if commit.btf is None:
            continue
        try:
            found = _decide(btf, commit)
        except BtfError:
            continue
        if found is not None:
            presence, atoms = found
            # A commit that needs a missing member is surely absent; a member that is there proves a change, not a fix. A function
            # may be missing because pahole could not make sense of it.
            is_sure = presence is Presence.ABSENT and not any(map(_is_function, atoms))
            words = ", ".join(f"no {atom[1:]}" if atom.startswith("!") else f"has {atom}" for atom in atoms)
            sure = Confidence.HIGH if is_sure else Confidence.MEDIUM
            yield Evidence(EvidenceKind.BTF, commit.key, presence, where, f"its BTF {words} ({where})", sure)


def read(subject: Subject, request: Request) -> Reading:
    """Reads the type data of an image, or else that of the running kernel, which every user may read."""
    image, path = subject.parts.image, subject.parts.types
    if image is not None:
        request.progress(f"reading the types in {image.name}")
        if (btf := image.binary.btf) is not None:
            return Reading(tuple(btf_evidence(request.catalog, btf, f"{image.name}: BTF")))
        note = f"{image.name} has no BTF that can be read (CONFIG_DEBUG_INFO_BTF): its structures are not known"
        return Reading(notes=(note,))
    assert path is not None  # the registry's condition
    try:
        with open_file(path) as file:
            data = file.read(_MAX_BTF)
        return Reading(tuple(btf_evidence(request.catalog, Btf(data), path)), (f"types read from {path}",))
    except (OSError, BtfError) as error:
        return Reading(notes=(f"{path}: {error}",))
