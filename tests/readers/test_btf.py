"""Type data made for the purpose: members, functions and enumerators of signatures, and how sure each answer is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence, TargetKind
from tailcall_audit.analyzer.readers.btf import btf_evidence, btf_presence, read
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.analyzer.subjects.subject import Parts, Request, make_subject
from tailcall_audit.probes.kernel.btf import Btf
from tailcall_audit.probes.kernel.btf_format import GLOBAL
from tailcall_audit.probes.kernel.btf_writer import Writer

KEY = "d6083f040d5d"
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def _data() -> bytes:
    """A struct with a member, a pointer to another struct and two at odd places; a function and an enum."""
    made = Writer()
    number = made.integer("int", 4)
    inner = made.struct("inner", 8, [("deep", number, 32)])
    made.struct(
        "aux", 24, [("there", number, 0), ("to", made.pointer(inner), 64), ("in", inner, 128), ("odd", number, 3)]
    )
    made.function("run", made.prototype(number, [("x", number)]), GLOBAL)
    made.enum("kind", {"ONE": 1})
    return made.encode()


def _evidence(catalog: Catalog, signature: Mapping[str, Any]) -> list[Evidence]:
    commits = {key: commit._replace(btf=None) for key, commit in catalog.commits.items()}
    commits[KEY] = commits[KEY]._replace(btf=signature)
    return list(btf_evidence(catalog._replace(commits=commits), Btf(_data()), "the image: BTF"))


@pytest.mark.parametrize(
    ("atom", "there"),
    [
        ("aux", True),
        ("aux.there", True),
        ("aux.missing", False),
        ("aux.to.deep", True),
        ("aux.in.deep", True),
        ("aux.to.missing", False),
        ("aux.there.deep", False),
        ("missing.there", False),
        ("run()", True),
        ("walk()", False),
        ("kind:ONE", True),
        ("kind:TWO", False),
        ("none:ONE", False),
    ],
)
def test_an_atom_is_there_or_not(catalog: Catalog, atom: str, there: bool) -> None:
    commit = catalog.commits[KEY]
    for wanted, negated in ((there, False), (not there, True)):
        signature = {"present": [[f"!{atom}" if negated else atom]]}
        assert btf_presence(Btf(_data()), commit._replace(btf=signature)) is (PRESENT if wanted else UNKNOWN)


@pytest.mark.parametrize(
    ("signature", "presence"),
    [
        ({"present": [["aux.there", "run()"]]}, PRESENT),
        ({"present": [["aux.there", "walk()"]]}, UNKNOWN),
        ({"present": [["aux.missing"], ["aux.there"]]}, PRESENT),
        ({"present": [["aux.missing"]], "absent": [["!aux.missing"]]}, ABSENT),
        # Both forms at once are a shape that the catalogue does not know.
        ({"present": [["aux.there"]], "absent": [["run()"]]}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_every_item_of_one_alternative_is_needed(
    catalog: Catalog, signature: Mapping[str, Any], presence: Presence
) -> None:
    assert btf_presence(Btf(_data()), catalog.commits[KEY]._replace(btf=signature)) is presence
    assert [item.presence for item in _evidence(catalog, signature)] == ([] if presence is UNKNOWN else [presence])


@pytest.mark.parametrize(
    ("signature", "words", "confidence"),
    [
        # A member shows that a struct changed, not that every check of a fix is in.
        ({"present": [["aux.there"]]}, "has aux.there", Confidence.MEDIUM),
        ({"absent": [["!aux.missing"]]}, "no aux.missing", Confidence.HIGH),
        # pahole leaves out functions that it cannot make sense of.
        ({"absent": [["!walk()"]]}, "no walk()", Confidence.MEDIUM),
        ({"absent": [["!aux.missing", "aux.there"]]}, "no aux.missing, has aux.there", Confidence.HIGH),
    ],
)
def test_how_sure_an_answer_is_and_where_it_was_read(
    catalog: Catalog, signature: Mapping[str, Any], words: str, confidence: Confidence
) -> None:
    (item,) = _evidence(catalog, signature)
    assert (item.kind, item.commit, item.confidence, item.citation) == (
        EvidenceKind.BTF,
        KEY,
        confidence,
        "the image: BTF",
    )
    assert item.detail == f"its BTF {words} (the image: BTF)"


def test_broken_types_of_one_commit_cost_no_other(catalog: Catalog) -> None:
    """The pointer of `aux.to` leads to a type that does not exist; nothing else needs it."""
    made = Writer()
    number = made.integer("int", 4)
    made.struct("aux", 16, [("there", number, 0), ("to", 99, 64)])
    commits = {key: commit._replace(btf=None) for key, commit in catalog.commits.items()}
    first, second = list(commits)[:2]
    commits[first] = commits[first]._replace(btf={"present": [["aux.to.deep"]]})
    commits[second] = commits[second]._replace(btf={"present": [["aux.there"]]})
    found = list(btf_evidence(catalog._replace(commits=commits), Btf(made.encode()), "x"))
    assert [item.commit for item in found] == [second]


def test_the_types_of_the_running_kernel_are_read_from_their_file(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(_data())

    def notes(types: Path) -> tuple[str, ...]:
        request = Request(catalog, ())
        parts = Parts(types=str(types))
        return read(make_subject(request, TargetKind.HOST, "host", release=None, parts=parts), request).notes

    assert notes(path) == (f"types read from {path}",)
    path.write_bytes(b"nothing")
    assert notes(path) == (f"{path}: too short for a header",)
    assert "No such file" in notes(tmp_path / "none")[0]


def test_the_place_of_a_member_is_in_bytes_and_of_no_bit_field() -> None:
    btf = Btf(_data())
    assert [place_of(btf, "aux", name) for name in ("there", "to", "in", "odd", "none")] == [0, 8, 16, None, None]
    assert place_of(btf, "none", "there") is None
