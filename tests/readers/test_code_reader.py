"""What each claim of machine code counts for, and images whose code is not read."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.insn import NoDisassemblerError
from tailcall_audit.analyzer.model import EvidenceKind, Presence, TargetKind
from tailcall_audit.analyzer.readers.code import reader
from tailcall_audit.analyzer.readers.code.claims import Claim, Finding
from tailcall_audit.analyzer.subjects.subject import Parts, Request, make_subject

FUNCTION = Function("do_jit", 0xFFFFFFFF81000010, b"\x90")
BINARY: Any = SimpleNamespace(functions=lambda names: {"do_jit": FUNCTION}, btf=None, notes=["a note"])


def _shows(monkeypatch: pytest.MonkeyPatch, *claims: Claim) -> None:
    def findings(*_: object) -> Iterator[Finding]:
        for number, claim in enumerate(claims):
            yield Finding(f"{number:012}", claim, FUNCTION, "it pushes the pointer")

    monkeypatch.setattr(reader, "findings", findings)


@pytest.mark.parametrize(
    ("claim", "presence", "leaves_it_to_others", "settles"),
    [
        (Claim.PRESENT, Presence.PRESENT, False, False),
        (Claim.ABSENT, Presence.ABSENT, False, False),
        (Claim.SIMILAR, Presence.UNKNOWN, True, True),
        # Code that looks wrong is unknown whatever the version says.
        (Claim.DOUBTFUL, Presence.UNKNOWN, False, True),
    ],
)
def test_what_a_claim_counts_for(
    monkeypatch: pytest.MonkeyPatch, claim: Claim, presence: Presence, leaves_it_to_others: bool, settles: bool
) -> None:
    _shows(monkeypatch, claim)
    (item,) = reader.code_evidence(BINARY, "x86_64", "vmlinuz")
    assert (item.kind, item.presence, item.unreadable) == (EvidenceKind.CODE, presence, leaves_it_to_others)
    assert item.citation == "vmlinuz: do_jit() at 0xffffffff81000010"
    assert item.detail == f"it pushes the pointer ({item.citation})"
    assert item.settle == ("tailcall-audit --image vmlinuz --confirm=vm" if settles else None)
    assert item.architecture == "x86_64"


def test_an_architecture_whose_code_is_not_read_has_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    _shows(monkeypatch, Claim.PRESENT)
    assert list(reader.code_evidence(BINARY, "alpha", "vmlinuz")) == []


def _read(catalog: Catalog, architecture: str | None, progress: list[str]) -> tuple[int, tuple[str, ...]]:
    image: Any = SimpleNamespace(name="vmlinuz", binary=BINARY, form=("bzImage", "ELF"), architecture=architecture)
    request = Request(catalog, (), progress=progress.append)
    subject = make_subject(request, TargetKind.IMAGE, "vmlinuz", release=None, parts=Parts(image=image))
    found = reader.read(subject, request)
    return len(found.evidence), found.notes


def test_the_notes_say_what_was_read(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    progress: list[str] = []
    _shows(monkeypatch, Claim.PRESENT, Claim.ABSENT, Claim.SIMILAR, Claim.DOUBTFUL)
    notes = ("image: bzImage, ELF; machine code decides 2 commits", "vmlinuz: a note")
    assert _read(catalog, "x86_64", progress) == (4, notes)
    assert progress == ["reading the code in vmlinuz"]
    _shows(monkeypatch)
    count, (first, _) = _read(catalog, "x86_64", progress)
    assert (count, first) == (0, "image: bzImage, ELF; machine code not recognised; judged by version and BTF")


@pytest.mark.parametrize("architecture", ["alpha", None])
def test_the_notes_say_whose_code_is_read(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, architecture: str | None
) -> None:
    _shows(monkeypatch, Claim.PRESENT)
    progress: list[str] = []
    count, notes = _read(catalog, architecture, progress)
    assert count == 0
    assert notes == ("image: bzImage, ELF; machine code is read for x86-64 only", "vmlinuz: a note")
    assert progress == []


def test_the_extra_that_is_missing_is_named(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def findings(*_: object) -> Iterator[Finding]:
        raise NoDisassemblerError

    monkeypatch.setattr(reader, "findings", findings)
    count, (first, _) = _read(catalog, "x86_64", [])
    assert count == 0
    assert "pip install 'tailcall-audit[images]'" in first
