"""The pitfalls in real source: silent at the fix, affected before it and at the introduction, not before that.

What a commit changed is taken from the older Debian source if there is one, or written as in the commit's patch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readers.sources import (
    ARRAYMAP,
    BOOKWORM_170,
    BOOKWORM_192,
    CORE,
    HEADER,
    JIT,
    TRAMPOLINE,
    TRIXIE,
    VERIFIER,
    A,
    F,
    N,
    Source,
)
from tests.readers.test_source import RESOLVE_5_18

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


@pytest.mark.parametrize(
    ("slug", "faulty", "others", "older"),
    [
        ("freplace-attached-panic", RESOLVE_5_18, {"resolve-prog-type-null-deref-load": A}, RESOLVE_5_17),
        ("freplace-attached-refused", RESOLVE_6_11_RC1, {"freplace-attached-panic": F}, RESOLVE_5_18),
    ],
)
def test_pitfall_5_four_corners(
    before_loop_fix: Source, slug: str, faulty: str, others: dict[str, str], older: str
) -> None:
    assert before_loop_fix.state(slug) == F
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", faulty)
    assert before_loop_fix.state(slug) == A
    assert {other: before_loop_fix.state(other) for other in others} == others
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", older)
    assert before_loop_fix.state(slug) == N


def test_pitfall_5_panic_needs_both_introducing_commits(before_loop_fix: Source) -> None:
    before_loop_fix.replace_function(HEADER, "resolve_prog_type", RESOLVE_5_18)
    assert without_type_resolution(before_loop_fix).state("freplace-attached-panic") == N


def test_pitfall_6_four_corners(after_loop_fix: Source, before_loop_fix: Source) -> None:
    assert after_loop_fix.state("freplace-loop") == F
    assert before_loop_fix.state("freplace-loop") == A
    assert without_type_resolution(before_loop_fix).state("freplace-loop") == N


def test_pitfall_6_is_not_fixed_by_the_array_half_alone(after_loop_fix: Source) -> None:
    assert after_loop_fix.take(TRAMPOLINE, "6.1", BOOKWORM_170).state("freplace-loop") == A


def test_pitfall_6_is_not_fixed_by_the_trampoline_half_alone(after_loop_fix: Source) -> None:
    assert after_loop_fix.take(ARRAYMAP, "6.1", BOOKWORM_170).state("freplace-loop") == A
