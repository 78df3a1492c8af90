"""Matchers of machine code and the commits that name them in the catalogue."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary, Function
from tailcall_audit.analyzer.readers import code
from tailcall_audit.analyzer.readers.code.claims import Claim, Shown
from tailcall_audit.analyzer.readers.code.isa import CodeIsa, CodeMatcher, isas
from tailcall_audit.analyzer.readers.code.registry import findings, functions_of
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tests.kernels import package_file
from tests.readers.listing import types

X86_64 = isas()["x86_64"]


def test_every_commit_names_an_effect_that_a_matcher_has_and_every_effect_is_named_once(catalog: Catalog) -> None:
    named = [(commit.code["matcher"], commit.code["effect"]) for commit in catalog.commits.values() if commit.code]
    known = [(name, effect) for name, matcher in X86_64.matchers.items() for effect in matcher.effects]
    assert sorted(named) == sorted(known)


def test_the_functions_of_commits_are_those_of_their_matchers(catalog: Catalog) -> None:
    assert functions_of(X86_64, catalog, ["d6083f040d5d"]) == set(X86_64.matchers["prog-array"].functions)
    assert functions_of(X86_64, catalog, ["04fd61ab36ec"]) == frozenset()
    assert functions_of(X86_64, catalog, catalog.commits) == set(X86_64.functions)


@pytest.fixture(scope="module")
def binary() -> Binary:
    """Debian's 6.1.170, which has some fixes in its code and lacks others."""
    path = package_file("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3")
    from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
    from tailcall_audit.analyzer.kernelfiles.containers import unpack
    from tailcall_audit.analyzer.kernelfiles.package_file import read_package

    bootable = read_package(str(path)).bootable
    assert bootable is not None
    return Binary(unpack(read_bootable(bootable), path.name))


def test_what_is_shown_is_said_of_the_commits_that_the_catalogue_names(catalog: Catalog, binary: Binary) -> None:
    """Two commits with one effect are both shown, and an effect that no commit has is not."""
    functions = binary.functions(X86_64.functions)
    before = {item.commit: item.claim for item in findings(X86_64, functions, binary.btf, catalog=catalog)}
    assert "d6083f040d5d" in before
    moved = catalog.commits["d6083f040d5d"]
    commits = {
        **catalog.commits,
        "aaaaaaaaaaaa": moved._replace(key="aaaaaaaaaaaa"),
        "116e04ba1459": catalog.commits["116e04ba1459"]._replace(code=None),
    }
    after = {
        item.commit: item.claim
        for item in findings(X86_64, functions, binary.btf, catalog=catalog._replace(commits=commits))
    }
    assert after.pop("aaaaaaaaaaaa") is after["d6083f040d5d"]
    assert after == {key: claim for key, claim in before.items() if key != "116e04ba1459"}


def test_claims_are_about_the_commits_of_the_catalogue_that_is_given(catalog: Catalog) -> None:
    name = "prog_fd_array_get_ptr"
    functions, old = {name: Function(name, 0xFFFFFFFF81000000, b"\xc3")}, types({("bpf_prog_aux", "dst_prog"): 0x48})
    assert [item.commit for item in findings(X86_64, functions, old)] == ["d6083f040d5d"]
    moved = {"aaaaaaaaaaaa": catalog.commits["d6083f040d5d"]._replace(key="aaaaaaaaaaaa")}
    found = findings(X86_64, functions, old, catalog=catalog._replace(commits=moved))
    assert [(item.commit, item.claim) for item in found] == [("aaaaaaaaaaaa", Claim.ABSENT)]


ONE_FILE = """
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.readers.code.claims import Place, PlaceState, taken_together
from tailcall_audit.analyzer.readers.code.isa import CodeIsa, CodeMatcher


def _decode(function):
    return [Insn("nop", "", function.address)]


def _find(functions, decoded, btf):
    for name in decoded:
        yield from taken_together("extended-refused", [Place(PlaceState.LACKING, functions[name], "a nop")])


ISA = CodeIsa("RISC-V", _decode, {"prog-array": CodeMatcher(("extended-refused",), ("prog_fd_array_get_ptr",), _find)})
"""


def test_an_architecture_is_one_file(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "riscv64.py").write_text(ONE_FILE)
    monkeypatch.setattr(code, "__path__", [*code.__path__, str(tmp_path)])
    isas.cache_clear()
    try:
        isa = isas()["riscv64"]
        function = Function("prog_fd_array_get_ptr", 0xFFFFFFFF81000000, b"\x01\x00")
        found = list(findings(isa, {function.name: function}, None, catalog=catalog))
        assert [(item.commit, item.claim) for item in found] == [("d6083f040d5d", Claim.ABSENT)]
        assert isas().keys() >= {"riscv64", "x86_64"}
    finally:
        isas.cache_clear()
        sys.modules.pop(f"{code.__name__}.riscv64", None)
        if hasattr(code, "riscv64"):
            del code.riscv64


def test_broken_types_are_noted_and_the_code_is_read_without_them(catalog: Catalog) -> None:
    """All claims of a matcher or none: what it said before it came to the broken part does not count."""
    item = Function("prog_fd_array_get_ptr", 0xFFFFFFFF81000000, b"\xc3")

    def find(functions: Mapping[str, Function], decoded: object, btf: Btf | None) -> Iterator[Shown]:
        del decoded
        if btf is not None:
            yield Shown("extended-refused", Claim.PRESENT, functions[item.name], "by its types")
            raise BtfError("a type of a type of a type")
        yield Shown("extended-refused", Claim.SIMILAR, functions[item.name], "by its code")

    def no_commit(*_: object) -> Iterator[Shown]:
        raise AssertionError("no commit names this matcher")

    matchers = {
        "another": CodeMatcher(("x",), (item.name,), no_commit),
        "prog-array": CodeMatcher(("extended-refused",), (item.name,), find),
    }
    isa = CodeIsa("RISC-V", lambda _: [], matchers)
    notes: list[str] = []
    types: Any = object()
    found = list(findings(isa, {item.name: item}, types, notes.append, catalog))
    assert [(shown.commit, shown.claim, shown.detail) for shown in found] == [
        ("d6083f040d5d", Claim.SIMILAR, "by its code")
    ]
    assert notes == ["its BTF is broken: a type of a type of a type"]
