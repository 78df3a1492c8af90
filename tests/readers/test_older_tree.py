"""A tree without a commit's names, as words: a longer name that holds one is another name."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.commit import Signature
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence
from tailcall_audit.analyzer.readers.older_tree import OlderTree
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version
from tests.memory import MemoryReader

_WITNESSES = ("kernel/bpf/core.c", "kernel/bpf/verifier.c", "include/linux/bpf.h", "include/linux/filter.h")


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        (b"int other(void);\n", True),
        (b"int run_it(void);\n", True),
        (b"int is_run;\n", True),
        (b"int run(void);\n", False),
        (b"\tx->run = 1;\n", False),
        (b"#define RUN(x) run\n", False),
    ],
)
def test_a_name_counts_as_a_whole_word_however_short_it_is(catalog: Catalog, text: bytes, absent: bool) -> None:
    part = {"name": "it runs", "files": ["kernel/bpf/run.c"], "scope": {"functions": [["run"]]}, "present": [["x"]]}
    commit = catalog.commits["1c123c567fb1"]._replace(signature_data=Signature([part]))
    files = dict.fromkeys((*_WITNESSES, "arch/x86/net/bpf_jit_comp.c"), b"\n") | {"kernel/bpf/arraymap.c": text}
    older = OlderTree(MemoryReader(files), UpstreamVersion(5, 10, 1))
    found = older.without(commit, "kernel/bpf/run.c")
    assert (found is not None) == absent
    assert found is None or found.presence is Presence.ABSENT


def _without(
    catalog: Catalog,
    version: str | None,
    files: dict[str, bytes],
    *leave_out: str,
    functions: tuple[str, ...] = ("run",),
) -> Evidence | None:
    """The evidence about a commit of v6.2 that brings a function."""
    part = {
        "name": "it runs",
        "files": ["kernel/bpf/run.c"],
        "scope": {"functions": [list(functions)]},
        "present": [["x"]],
    }
    commit = catalog.commits["1c123c567fb1"]._replace(signature_data=Signature([part] if functions else []))
    there = dict.fromkeys((*_WITNESSES, "arch/x86/net/bpf_jit_comp.c"), b"\n") | files
    for path in leave_out:
        del there[path]
    older = OlderTree(MemoryReader(there), None if version is None else parse_version(version))
    return older.without(commit, "kernel/bpf/run.c")


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("6.1.170", True),
        ("6.1", True),
        ("6.2-rc1", False),
        ("6.2", False),
        ("6.2.1", False),
        ("6.12", False),
        (None, False),
    ],
)
def test_only_a_tree_older_than_the_commit_is_without_it(catalog: Catalog, version: str | None, absent: bool) -> None:
    found = _without(catalog, version, {})
    assert (found is not None) is absent
    if found is not None:
        assert (found.presence, found.confidence) == (Presence.ABSENT, Confidence.MEDIUM)


def test_a_name_anywhere_in_the_code_leaves_it_open(catalog: Catalog) -> None:
    for path in ("kernel/bpf/other.c", "include/linux/other.h", "arch/arm64/net/other.c", "arch/x86/net/entry.S"):
        assert _without(catalog, "6.1", {path: b"run\n"}) is None, path
    assert _without(catalog, "6.1", {"kernel/bpf/notes.txt": b"run\n"}) is not None
    assert _without(catalog, "6.1", {"kernel/bpf/other.c": b"walk\n"}, functions=("run", "walk")) is None


def test_a_tree_that_is_not_whole_proves_nothing(catalog: Catalog) -> None:
    for path in _WITNESSES:
        assert _without(catalog, "6.1", {}, path) is None, path
    assert _without(catalog, "6.1", {}, "arch/x86/net/bpf_jit_comp.c") is None
    assert _without(catalog, "6.1", {"kernel/bpf/other.c": b"/" * (64 << 20)}) is None


def test_a_copy_without_the_architecture_of_a_commit_proves_nothing(catalog: Catalog) -> None:
    part = {"name": "it runs", "files": ["arch/x86/net/run.c"], "scope": {"functions": [["run"]]}, "present": [["x"]]}
    commit = catalog.commits["1c123c567fb1"]._replace(signature_data=Signature([part]))
    for there, proven in (("arch/arm64/net/bpf_jit_comp.c", False), ("arch/x86/Makefile", True)):
        files = dict.fromkeys((*_WITNESSES, there), b"\n")
        older = OlderTree(MemoryReader(files), UpstreamVersion(5, 10, 1))
        assert (older.without(commit, "arch/x86/net/run.c") is not None) is proven, there


def test_a_commit_that_brings_no_name_is_left_open(catalog: Catalog) -> None:
    assert _without(catalog, "6.1", {}, functions=()) is None


@pytest.mark.parametrize("folder", ["kernel/bpf", "include/linux", "arch"])
def test_a_folder_that_cannot_be_listed_leaves_it_open(
    catalog: Catalog, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _without(catalog, "6.1", {}) is not None
    names = MemoryReader.names
    monkeypatch.setattr(MemoryReader, "names", lambda self, asked: None if asked == folder else names(self, asked))
    assert _without(catalog, "6.1", {}) is None


def test_an_architecture_without_a_jit_is_no_gap(catalog: Catalog) -> None:
    assert _without(catalog, "6.1", {"arch/alpha/Kconfig": b"\n"}) is not None
