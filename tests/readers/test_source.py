"""Signatures on real kernel source: Debian's linux-source packages, and the same files with a fix taken out or put in.

Expected states are those of the research file's "Source signatures over the unpacked trees" and of its table "Core six
in the Debian kernels at hand", and what probes saw in guests booted from these kernels.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
from tailcall_audit.analyzer.model import Presence, TargetReport
from tailcall_audit.analyzer.readers.source import SourceReader
from tests.kernels import kernel_source

F, A, N, U = "fixed", "affected", "not-affected", "unknown"
OLDEST, BOOKWORM_170, BOOKWORM_192, TRIXIE, NEWEST = (
    "5.10.262-1",
    "6.1.170-3",
    "6.1.192-2",
    "6.12.117-1",
    "7.3.4-1~bpo13+1",
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
    # What an arena and the fix do to the count was read only: their absence and presence make nothing safe.
    "loongarch-arena-count-slot": (N, N, N, N, U),
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


def states(report: TargetReport) -> dict[str, str]:
    return {item.defect.slug: item.state.value for item in report.verdicts}


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


# ---------------------------------------------------------------------------------------------------------------------
# Four corners: at the fix silent, before it affected, at the introduction affected, before that not. What a commit changed is
# taken from the older Debian source where there is one, else written as the commit's patch has it.


class Source:
    """A copy of a real source that can be changed."""

    def __init__(self, series: str, version: str, target: Path) -> None:
        self.path = target
        origin, _ = kernel_source(series, version)
        shutil.copytree(origin, target)

    def edit(self, path: str, old: str, new: str) -> Source:
        place = self.path / path
        text = place.read_text()
        assert old in text, f"{path} no longer contains {old!r}"
        place.write_text(text.replace(old, new))
        return self

    def drop_lines(self, path: str, containing: str) -> Source:
        place = self.path / path
        lines = place.read_text().split("\n")
        kept = [line for line in lines if containing not in line or line.lstrip().startswith("*")]
        assert len(kept) < len(lines), f"{path} has no line with {containing!r}"
        place.write_text("\n".join(kept))
        return self

    def replace_function(self, path: str, name: str, body: str) -> Source:
        place = self.path / path
        text = place.read_text()
        pattern = re.compile(
            rf"^(?:static )?(?:inline )?[\w ]*\*?{name}\([^;{{]*\)\n\{{.*?^\}}\n", re.MULTILINE | re.DOTALL
        )
        assert len(pattern.findall(text)) == 1, f"{path} has not one {name}()"
        place.write_text(pattern.sub(lambda _: body, text))
        return self

    def take(self, path: str, series: str, version: str) -> Source:
        other, _ = kernel_source(series, version)
        shutil.copyfile(other / path, self.path / path)
        return self

    def state(self, slug: str, arch: str = "x86_64") -> str:
        return states(audit(trees=[str(self.path)], arch=arch, only=[slug]).targets[0])[slug]


@pytest.fixture
def oldest(tmp_path: Path) -> Source:
    return Source("5.10", OLDEST, tmp_path / "oldest")


@pytest.fixture
def before_loop_fix(tmp_path: Path) -> Source:
    return Source("6.1", BOOKWORM_170, tmp_path / "before")


@pytest.fixture
def after_loop_fix(tmp_path: Path) -> Source:
    return Source("6.1", BOOKWORM_192, tmp_path / "after")


CORE, JIT, VERIFIER, TRAMPOLINE, ARRAYMAP, HEADER = (
    "kernel/bpf/core.c",
    "arch/x86/net/bpf_jit_comp.c",
    "kernel/bpf/verifier.c",
    "kernel/bpf/trampoline.c",
    "kernel/bpf/arraymap.c",
    "include/linux/bpf_verifier.h",
)
# emit_prologue() of v5.9, before Linux kernel commit ebf7d1f508a7 ("bpf, x64: rework pro/epilogue and tailcall handling in JIT") (in v5.10)
PROLOGUE_5_9 = """static void emit_prologue(u8 **pprog, u32 stack_depth, bool ebpf_from_cbpf)
{
	u8 *prog = *pprog;
	int cnt = X86_PATCH_SIZE;

	memcpy(prog, ideal_nops[NOP_ATOMIC5], cnt);
	prog += cnt;
	EMIT1(0x55);             /* push rbp */
	EMIT3(0x48, 0x89, 0xE5); /* mov rbp, rsp */
	/* sub rsp, rounded_stack_depth */
	EMIT3_off32(0x48, 0x81, 0xEC, round_up(stack_depth, 8));
	EMIT1(0x53);             /* push rbx */
	if (!ebpf_from_cbpf) {
		/* zero init tail_call_cnt */
		EMIT2(0x6a, 0x00);
		BUILD_BUG_ON(cnt != PROLOGUE_SIZE);
	}
	*pprog = prog;
}
"""
RESOLVE_5_18 = """static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)
{
	return prog->type == BPF_PROG_TYPE_EXT ?
		prog->aux->dst_prog->type : prog->type;
}
"""
RESOLVE_5_17 = """static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)
{
	return prog->aux->dst_prog ? prog->aux->dst_prog->type : prog->type;
}
"""
RESOLVE_6_11_RC1 = """static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)
{
	return (prog->type == BPF_PROG_TYPE_EXT && prog->aux->dst_prog) ?
		prog->aux->dst_prog->type : prog->type;
}
"""


def without_type_resolution(source: Source) -> Source:
    """Undo Linux kernel commit 1c123c567fb1 ("bpf: Resolve fext program type when checking map compatibility") (in
    v6.2).
    """
    source.edit(CORE, "	enum bpf_prog_type prog_type = resolve_prog_type(fp);\n", "")
    source.edit(CORE, "map->owner->type  = prog_type;", "map->owner->type  = fp->type;").edit(
        CORE, "map->owner->type  == prog_type &&", "map->owner->type  == fp->type &&"
    )
    return source.edit(CORE, "switch (prog_type) {", "switch (fp->type) {")


def test_pitfall_1_four_corners(before_loop_fix: Source, oldest: Source) -> None:
    assert before_loop_fix.state("freplace-tailcallee") == F
    assert without_type_resolution(before_loop_fix).state("freplace-tailcallee") == A
    assert oldest.state("freplace-tailcallee") == A
    oldest.edit(
        TRAMPOLINE,
        "	default:\n		return BPF_TRAMP_REPLACE;\n",
        "	default:\n		return BPF_TRAMP_FEXIT;\n",
    )
    assert oldest.state("freplace-tailcallee") == N


def test_pitfall_1_is_fixed_by_the_open_coded_form_of_5_15_192(oldest: Source) -> None:
    oldest.edit(
        CORE,
        "	bool ret;\n\n	if (fp->kprobe_override)",
        "	enum bpf_prog_type prog_type = fp->aux->dst_prog ? fp->aux->dst_prog->type : fp->type;\n	bool ret;\n\n	if (fp->kprobe_override)",
    )
    oldest.edit(CORE, "owner.type  = fp->type;", "owner.type  = prog_type;").edit(
        CORE, "owner.type  == fp->type &&", "owner.type  == prog_type &&"
    )
    oldest.edit("Makefile", "PATCHLEVEL = 10", "PATCHLEVEL = 15").edit("Makefile", "SUBLEVEL = 262", "SUBLEVEL = 192")
    assert oldest.state("freplace-tailcallee") == F
    assert oldest.state("tracing-dst-prog-type-confusion") == A
    assert oldest.state("freplace-loop") == A


def test_pitfall_2_four_corners(oldest: Source) -> None:
    assert oldest.state("x86-count-offset") == F
    oldest.edit(JIT, "-round_up(bpf_prog->aux->stack_depth, 8) - 8);", "-(bpf_prog->aux->stack_depth + 8));")
    assert oldest.state("x86-count-offset") == A
    oldest.replace_function(JIT, "emit_prologue", PROLOGUE_5_9)
    assert oldest.state("x86-count-offset") == N


def test_pitfall_2_is_affected_where_round_up_was_dropped_as_in_the_lab_kernel(oldest: Source) -> None:
    oldest.edit(JIT, "-round_up(bpf_prog->aux->stack_depth, 8) - 8);", "-bpf_prog->aux->stack_depth - 8);")
    assert oldest.state("x86-count-offset") == A


def test_pitfall_2_is_affected_where_only_the_macro_lost_its_rounding(before_loop_fix: Source) -> None:
    assert before_loop_fix.state("x86-count-offset") == F
    before_loop_fix.edit(
        JIT, "EMIT3_off32(0x48, 0x8B, 0x85, -round_up(stack, 8) - 8)", "EMIT3_off32(0x48, 0x8B, 0x85, -stack - 8)"
    )
    assert before_loop_fix.state("x86-count-offset") == "unknown"


def test_pitfall_3_four_corners(before_loop_fix: Source, oldest: Source) -> None:
    assert before_loop_fix.state("x86-trampoline-loop") == F
    before_loop_fix.drop_lines(VERIFIER, "BPF_TRAMP_F_TAIL_CALL_CTX").drop_lines(
        VERIFIER, "if (tgt_prog && tgt_prog->aux->tail_call_reachable)"
    )
    before_loop_fix.edit(
        TRAMPOLINE, "(BPF_TRAMP_F_SHARE_IPMODIFY | BPF_TRAMP_F_TAIL_CALL_CTX)", "BPF_TRAMP_F_SHARE_IPMODIFY"
    )
    before_loop_fix.edit(JIT, "flags & BPF_TRAMP_F_TAIL_CALL_CTX", "false")
    assert before_loop_fix.state("x86-trampoline-loop") == A
    assert oldest.state("x86-trampoline-loop") == A
    oldest.replace_function(JIT, "emit_prologue", PROLOGUE_5_9)
    assert oldest.state("x86-trampoline-loop") == N


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (VERIFIER, "tr->flags = BPF_TRAMP_F_TAIL_CALL_CTX;", ";"),
        (TRAMPOLINE, "(BPF_TRAMP_F_SHARE_IPMODIFY | BPF_TRAMP_F_TAIL_CALL_CTX)", "BPF_TRAMP_F_SHARE_IPMODIFY"),
        (JIT, "flags & BPF_TRAMP_F_TAIL_CALL_CTX", "false"),
    ],
)
def test_pitfall_3_is_not_fixed_while_one_part_of_the_fix_is_missing(
    before_loop_fix: Source, path: str, old: str, new: str
) -> None:
    assert before_loop_fix.edit(path, old, new).state("x86-trampoline-loop") == A


def test_pitfall_4_four_corners(tmp_path: Path, oldest: Source) -> None:
    fixed = Source("6.12", TRIXIE, tmp_path / "fixed")
    assert fixed.state("x86-hierarchy") == F
    assert fixed.take(JIT, "6.1", BOOKWORM_192).state("x86-hierarchy") == A
    assert oldest.state("x86-hierarchy") == A
    oldest.edit(VERIFIER, "env->subprog_cnt > 1 && !allow_tail_call_in_subprogs(env)", "env->subprog_cnt > 1").edit(
        VERIFIER,
        '"tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls\\n");\n			return -EINVAL;\n		}\n		break;',
        '"tail_calls are not allowed in programs with bpf-to-bpf calls\\n");\n			return -EINVAL;\n		}\n		break;',
    )
    assert oldest.state("x86-hierarchy") == N


def test_pitfall_5_panic_four_corners(before_loop_fix: Source) -> None:
    assert before_loop_fix.state("freplace-attached-panic") == F
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_5_18)
    assert before_loop_fix.state("freplace-attached-panic") == A
    assert before_loop_fix.state("resolve-prog-type-null-deref-load") == A
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_5_17)
    assert before_loop_fix.state("freplace-attached-panic") == N


def test_pitfall_5_panic_needs_both_introducing_commits(before_loop_fix: Source) -> None:
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_5_18)
    assert without_type_resolution(before_loop_fix).state("freplace-attached-panic") == N


def test_pitfall_5_refused_update_four_corners(before_loop_fix: Source) -> None:
    assert before_loop_fix.state("freplace-attached-refused") == F
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_6_11_RC1)
    assert before_loop_fix.state("freplace-attached-refused") == A
    assert before_loop_fix.state("freplace-attached-panic") == F
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_5_18)
    assert before_loop_fix.state("freplace-attached-refused") == N


def test_pitfall_6_four_corners(after_loop_fix: Source, before_loop_fix: Source) -> None:
    assert after_loop_fix.state("freplace-loop") == F
    assert before_loop_fix.state("freplace-loop") == A
    assert without_type_resolution(before_loop_fix).state("freplace-loop") == N


def test_pitfall_6_is_not_fixed_by_the_array_half_alone(after_loop_fix: Source) -> None:
    assert after_loop_fix.take(TRAMPOLINE, "6.1", BOOKWORM_170).state("freplace-loop") == A


def test_pitfall_6_is_not_fixed_by_the_trampoline_half_alone(after_loop_fix: Source) -> None:
    assert after_loop_fix.take(ARRAYMAP, "6.1", BOOKWORM_170).state("freplace-loop") == A


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
    for item in SourceReader(DiskReader(path)).evidence(catalog):
        for file, line in re.findall(r"([\w/]+\.[ch]):(\d+)", item.citation):
            assert 0 < int(line) <= (path / file).read_text().count("\n") + 1
