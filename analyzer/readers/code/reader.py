"""Evidence from the machine code of an image. Its confidence is high if all of a fix is in the function that was read."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.isa.insn import NoDisassemblerError
from tailcall_audit.analyzer.model import Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.isa import isas
from tailcall_audit.analyzer.readers.code.registry import findings
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["code_evidence", "read"]


_CLAIMED = {
    Claim.PRESENT: Presence.PRESENT,
    Claim.ABSENT: Presence.ABSENT,
    Claim.SIMILAR: Presence.UNKNOWN,
    Claim.DOUBTFUL: Presence.UNKNOWN,
}


def code_evidence(binary: Binary, architecture: str, where: str, catalog: Catalog | None = None) -> Iterator[Evidence]:
    """Yields what the machine code shows of the commits of a catalogue (the shipped one).

    It yields nothing for an architecture whose code is not read, or for functions that cannot be located. Code that
    only resembles a commit leaves the answer to other evidence. Code that looks wrong is unknown, even if the version
    has an answer.
    """
    isa = isas().get(architecture)
    if isa is None:
        return
    for item in findings(isa, binary.functions(isa.functions), binary.btf, binary.notes.append, catalog):
        citation = f"{where}: {item.function.name}() at {item.function.address:#x}"
        yield Evidence(
            EvidenceKind.CODE,
            item.commit,
            _CLAIMED[item.claim],
            citation,
            f"{item.detail} ({citation})",
            architecture=architecture,
            settle=None
            if item.claim in (Claim.PRESENT, Claim.ABSENT)
            else f"tailcall-audit --image {where} --confirm=vm",
            unreadable=item.claim is Claim.SIMILAR,
        )


def read(subject: Subject, request: Request) -> Reading:
    """Reads the functions of an image for which its architecture has a matcher."""
    image = subject.parts.image
    assert image is not None  # the registry's condition
    form = f"image: {', '.join(image.form)}"
    reading = tuple(f"{image.name}: {text}" for text in image.binary.notes)
    if image.architecture is None or image.architecture not in isas():
        known = " and ".join(isa.title for isa in isas().values())
        return Reading(notes=(f"{form}; machine code is read for {known} only", *reading))
    request.progress(f"reading the code in {image.name}")
    try:
        found = tuple(code_evidence(image.binary, image.architecture, image.name, request.catalog))
    except NoDisassemblerError:
        words = "machine code not read (pip install 'tailcall-audit[images]'); judged by version and BTF"
        return Reading(notes=(f"{form}; {words}", *reading))
    decided = len({item.commit for item in found if item.presence is not Presence.UNKNOWN})
    words = (
        f"machine code decides {decided} commits" if found else "machine code not recognised; judged by version and BTF"
    )
    return Reading(found, (f"{form}; {words}", *(f"{image.name}: {text}" for text in image.binary.notes)))
