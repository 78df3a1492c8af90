"""Signatures on real kernel source: Debian's linux-source packages, and the same files with a fix taken out or put in.

Expected states are those of the research file's "Source signatures over the unpacked trees" and of its table "Core six
in the Debian kernels at hand", and what probes saw in guests booted from these kernels.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.source import SourceReader
from tests.kernels import kernel_source
from tests.readers.sources import (
    ARRAYMAP,
    BOOKWORM_170,
    BOOKWORM_192,
    HEADER,
    NEWEST,
    OLDEST,
    TRIXIE,
    A,
    F,
    N,
    Source,
    U,
    states,
)

# Columns as in COLUMNS, from the research file; None if it says nothing of that tree.
COLUMNS = (OLDEST, BOOKWORM_170, BOOKWORM_192, TRIXIE, NEWEST)
EXPECTED: dict[str, tuple[str | None, ...]] = {
    "freplace-tailcallee": (A, F, F, F, F),
    "x86-count-offset": (F, F, F, F, F),
    "x86-trampoline-loop": (A, F, F, F, F),
    "x86-hierarchy": (A, A, A, F, F),
    "freplace-attached-panic": (N, F, F, F, F),
    "freplace-attached-refused": (N, F, F, F, F),
    "freplace-loop": (N, A, F, F, F),
    "resolve-prog-type-null-deref-load": (N, F, F, F, F),
    "prog-array-poke-run-bug": (A, F, F, F, F),
    "tailcall-compat-attach-func-proto": (A, F, F, F, F),
    "tailcall-compat-expected-attach-type": (A, F, F, F, F),
    "tailcall-cgroup-storage-oob": (A, F, F, F, F),
    "tailcall-cgroup-storage-bridge": (N, A, A, F, F),
    "tailcall-compat-race": (F, F, F, F, F),
    "poke-desc-tnum-oob": (F, F, F, F, F),
    "subprog-poke-uaf": (F, F, F, F, F),
    "interp-fallback-tailcall-subprog": (F, F, F, F, F),
    "mixed-tailcall-subprog-null-deref": (F, F, F, F, F),
    "tailcall-pkt-pointers": (A, A, A, F, F),
    "tailcall-verifier-return-model": (A, A, A, A, F),
    "tailcall-via-callback-subprog": (N, A, A, A, F),
    "trampoline-flags-clobber": (N, A, F, F, F),
    "tracing-dst-prog-type-confusion": (N, N, N, N, N),
    "tailcall-locks-rcu-preempt": (N, N, N, F, F),
    "arm64-tailcall-hierarchy": (N, A, A, F, F),
    "s390-tailcall-hierarchy": (N, N, N, F, F),
    "loongarch-tailcall-hierarchy": (N, N, N, A, F),
    "s390-trampoline-tcc": (N, N, N, F, F),
    "loongarch-tailcall-jump-offset": (N, None, F, F, F),
    "loongarch-prologue-off-by-one": (N, None, None, F, F),
    # Not of the research, which took the commit that breaks for the fix: read in these sources.
    "riscv-kcfi-tailcall-stack": (N, N, N, A, F),
    "powerpc32-tailcall-oops": (N, F, F, F, F),
    # Not of the research: read in these sources.
    "tailcall-sleepable-callee": (A, A, A, A, F),
    "tailcall-failed-pkt-pointers": (N, N, N, A, F),
    "tailcall-stack-liveness": (U, U, U, U, F),
    "tailcall-direct-in-callback": (N, N, N, N, F),
    "prog-array-clear-stall": (A, A, F, F, F),
    "s390-trampoline-tcc-writeback": (N, N, N, F, F),
    "powerpc64-pcrel-tailcall": (N, N, N, F, F),
    "powerpc64-tailcall-info-compare": (U, U, U, U, A),
    # Guests of 7.2.13 showed the fix, and its absence.
    "loongarch-arena-count-slot": (N, N, N, N, F),
    "x86-empty-slot-count": (A, A, A, F, F),
    "arm64-empty-slot-count": (A, A, A, F, F),
    "s390-empty-slot-count": (A, A, A, A, F),
    "loongarch-empty-slot-count": (N, A, A, A, F),
    "riscv64-empty-slot-count": (N, A, A, A, F),
    "powerpc64-empty-slot-count": (F, F, F, F, F),
    "interp-empty-slot-count": (A, A, A, A, F),
}
SERIES = {OLDEST: "5.10", BOOKWORM_170: "6.1", BOOKWORM_192: "6.1", TRIXIE: "6.12", NEWEST: "7.3"}
ARCHITECTURE = {
    "arm64": "arm64",
    "s390": "s390x",
    "loongarch": "loongarch64",
    "riscv": "riscv64",
    "riscv64": "riscv64",
    "powerpc32": "powerpc32",
    "powerpc64": "powerpc64",
}


def architecture_of(slug: str) -> str:
    return ARCHITECTURE.get(slug.split("-", maxsplit=1)[0], "x86_64")


def audited(path: Path, slugs: list[str] | None = None) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in dict.fromkeys(("x86_64", *ARCHITECTURE.values())):
        report = audit(trees=[str(path)], arch=name, only=slugs or ()).targets[0]
        found |= {slug: state for slug, state in states(report).items() if architecture_of(slug) == name}
    return found


@pytest.mark.parametrize("version", COLUMNS)
def test_debian_source_is_judged_as_researched(version: str) -> None:
    path, got = kernel_source(SERIES[version], version)
    column = COLUMNS.index(version)
    found = audited(path)
    expected = {slug: row[column] for slug, row in EXPECTED.items() if row[column] is not None}
    if got != version:
        # The mirror has moved on. A fix stays; what was affected may have been fixed since, so only the fixes are compared.
        expected = {slug: state for slug, state in expected.items() if state == F}
    assert {slug: found[slug] for slug in expected} == expected


def test_debian_7_2_is_judged_as_researched() -> None:
    path, _ = kernel_source("7.2")
    found = audited(path)
    # The fix of the callback and riscv64's tail calls in subprograms are in 7.3 only.
    open_ones = {"tailcall-via-callback-subprog", "riscv64-empty-slot-count"}
    fixed = {slug for slug, row in EXPECTED.items() if row[4] == F} - open_ones
    assert {slug: found[slug] for slug in fixed} == dict.fromkeys(fixed, F)
    assert {slug: found[slug] for slug in open_ones} == dict.fromkeys(open_ones, A)


RESOLVE_5_18 = """static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)
{
	return prog->type == BPF_PROG_TYPE_EXT ?
		prog->aux->dst_prog->type : prog->type;
}
"""


def test_a_vendor_rewrite_is_unknown_and_not_unfixed(before_loop_fix: Source) -> None:
    before_loop_fix.edit(
        ARRAYMAP,
        "	if (!bpf_prog_map_compatible(map, prog)) {",
        "	if (vendor_refuses_extended(prog) || !bpf_prog_map_compatible(map, prog)) {",
    )
    assert before_loop_fix.state("freplace-loop") == "unknown"


def test_a_fix_in_a_comment_or_in_dead_code_is_no_fix(before_loop_fix: Source) -> None:
    before_loop_fix.edit(
        ARRAYMAP,
        "	struct bpf_prog *prog = bpf_prog_get(fd);",
        "	/* is_extended prog_array_member_cnt */\n	struct bpf_prog *prog = bpf_prog_get(fd);\n#if 0\n	is_extended = prog_array_member_cnt;\n#endif",
    )
    assert before_loop_fix.state("freplace-loop") == A


def test_reformatted_code_is_recognised(after_loop_fix: Source) -> None:
    after_loop_fix.edit(
        ARRAYMAP,
        "prog->aux->prog_array_member_cnt++;",
        "prog -> aux\n\t\t\t-> prog_array_member_cnt /* one more */ ++ ;",
    )
    assert after_loop_fix.state("freplace-loop") == F


def test_windows_line_ends_change_nothing(after_loop_fix: Source) -> None:
    for path in after_loop_fix.path.rglob("*.[ch]"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert after_loop_fix.state("freplace-loop") == F
    assert after_loop_fix.state("x86-count-offset") == F


def test_two_definitions_that_differ_are_unknown(after_loop_fix: Source, catalog: Catalog) -> None:
    header = after_loop_fix.path / HEADER
    text = header.read_text().replace(
        "/* only use after check_attach_btf_id() */", "#ifdef CONFIG_VENDOR\n" + RESOLVE_5_18 + "#else\n"
    )
    header.write_text(
        text.replace("static inline bool bpf_prog_check_recur", "#endif\nstatic inline bool bpf_prog_check_recur", 1)
    )
    evidence = SourceReader(DiskReader(after_loop_fix.path)).commit(catalog.commits["f7866c358733"])
    assert evidence.presence is Presence.UNKNOWN


def test_a_missing_file_is_unknown_and_a_missing_architecture_absent(after_loop_fix: Source, catalog: Catalog) -> None:
    (after_loop_fix.path / ARRAYMAP).unlink()
    reader = SourceReader(DiskReader(after_loop_fix.path))
    assert reader.commit(catalog.commits["d6083f040d5d"]).presence is Presence.UNKNOWN
    (after_loop_fix.path / "arch/loongarch/net/bpf_jit.c").unlink()
    assert (
        SourceReader(DiskReader(after_loop_fix.path)).commit(catalog.commits["5dc615520c4d"]).presence
        is Presence.ABSENT
    )


@pytest.mark.parametrize("witness", ["kernel/bpf/core.c", "arch/Kconfig"])
def test_a_missing_file_says_nothing_in_a_tree_without_the_rest(
    after_loop_fix: Source, catalog: Catalog, witness: str
) -> None:
    """A headers package has a Makefile and none of the code; a copy of some folders has a part of it."""
    (after_loop_fix.path / witness).unlink()
    (after_loop_fix.path / "arch/loongarch/net/bpf_jit.c").unlink()
    evidence = SourceReader(DiskReader(after_loop_fix.path)).evidence(catalog)
    about = [item for item in evidence if item.commit == "5dc615520c4d" or item.architecture == "loongarch64"]
    assert len(about) > 1
    assert {item.presence for item in about} == {Presence.UNKNOWN}


def test_every_citation_names_a_line_that_exists(catalog: Catalog) -> None:
    path, _ = kernel_source("6.1", BOOKWORM_192)
    cited = 0
    for item in SourceReader(DiskReader(path)).evidence(catalog):
        for file, line in re.findall(r"([\w/]+\.[ch]):(\d+)", item.citation):
            assert 0 < int(line) <= (path / file).read_text().count("\n") + 1
            cited += 1
    assert cited > 10
