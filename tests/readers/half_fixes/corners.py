"""The other corners of a fix: taken back as a whole, and a source that is older than what the defect needs.

Corners that one of Debian's sources is are in `EXPECTED` of tests/readers/test_source.py, or in the four corners of the
pitfalls there; these are the rest. What is put back is what the fix took out, as its patch or an older
source has it.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.readers.half_fixes.edits import (
    ARRAYMAP,
    CORE,
    LOONGARCH,
    OWNER_CHECK,
    POWERPC64,
    S390,
    VERIFIER,
    X86,
)

__all__ = ["OLDER", "UNDONE", "Corner", "Edit"]


class Edit(NamedTuple):
    """A text that takes the place of another in one function, or in the whole file where none is named."""

    path: str
    function: str
    old: str
    new: str


class Corner(NamedTuple):
    """A source of Debian, changed; `release` is what its Makefile then says, or None for its own."""

    slug: str
    version: str
    architecture: str
    edits: tuple[Edit, ...]
    release: tuple[int, int] | None = None


_OLDEST, _TRIXIE, _NEWEST = "5.10.262-1", "6.12.117-1", "7.3.4-1~bpo13+1"
_OLD_KEY = """range = tnum_range(0, max - 1);
	if (!is_reg_const(reg, false) || !tnum_in(range, reg->var_off)) {"""
_WRITE_BACK = "EMIT(PPC_RAW_STD(bpf_to_ppc(TMP_REG_1), _R1, bpf_jit_stack_tailcallcnt(ctx)));"
_PPC_ADD = "EMIT(PPC_RAW_ADDI(bpf_to_ppc(TMP_REG_1), bpf_to_ppc(TMP_REG_1), 1));"
_PPC_TAIL_CALL, _S390_TRAMPOLINE = "bpf_jit_emit_tail_call", "__arch_prepare_bpf_trampoline"

UNDONE: tuple[Corner, ...] = (
    Corner(
        "tailcall-compat-race",
        _TRIXIE,
        "x86_64",
        (
            Edit(CORE, OWNER_CHECK, "spin_lock(&map->owner_lock);", ""),
            Edit(CORE, OWNER_CHECK, "spin_unlock(&map->owner_lock);", ""),
        ),
    ),
    Corner(
        "poke-desc-tnum-oob",
        _TRIXIE,
        "x86_64",
        (Edit(VERIFIER, "record_func_key", "if (!(is_reg_const(reg, false) && val < max)) {", _OLD_KEY),),
    ),
    Corner(
        "subprog-poke-uaf",
        _TRIXIE,
        "x86_64",
        (
            Edit("include/linux/bpf.h", "struct bpf_jit_poke_descriptor", "void *aux;", ""),
            Edit(VERIFIER, "jit_subprogs", "poke->aux = func[i]->aux;", ""),
            Edit(CORE, "bpf_prog_free_deferred", "aux->func[i]->aux->poke_tab = NULL;", ""),
            Edit(
                X86,
                "bpf_tail_call_direct_fixup",
                "if (poke->aux && poke->aux != prog->aux)\n\t\t\tcontinue;",
                "",
            ),
        ),
    ),
    Corner(
        "interp-fallback-tailcall-subprog",
        "6.1.192-2",
        "x86_64",
        (
            Edit(
                VERIFIER,
                "check_max_stack_depth_subprog",
                "if (subprog[0].tail_call_reachable)\n\t\tenv->prog->aux->tail_call_reachable = true;",
                "",
            ),
            Edit(VERIFIER, "fixup_call_args", "env->subprog_cnt > 1 && env->prog->aux->tail_call_reachable", "0"),
        ),
    ),
    Corner(
        "mixed-tailcall-subprog-null-deref",
        "6.1.192-2",
        "x86_64",
        (Edit(VERIFIER, "bpf_patch_insn_data", "adjust_poke_descs(new_prog, off, len);", ""),),
    ),
    Corner(
        "tailcall-locks-rcu-preempt",
        _NEWEST,
        "x86_64",
        (
            Edit(
                VERIFIER,
                "check_helper_call",
                'err = check_resource_leak(env, false, true, "tail_call");',
                'err = check_reference_leak(env, false);\nverbose(env, "tail_call would lead to reference leak\\n");',
            ),
        ),
    ),
    Corner(
        "tailcall-stack-liveness",
        _NEWEST,
        "x86_64",
        (
            Edit(VERIFIER, "check_subprogs", "subprog[cur_subprog].exit_idx = i;", ""),
            Edit(
                "kernel/bpf/cfg.c",
                "visit_insn",
                "if (insn->imm == BPF_FUNC_tail_call) {\n\t\t\t\tret = visit_abnormal_return_insn(env, t);"
                "\n\t\t\t\tif (ret)\n\t\t\t\t\treturn ret;\n\t\t\t}",
                "",
            ),
        ),
    ),
    Corner(
        "tailcall-direct-in-callback",
        _NEWEST,
        "x86_64",
        (
            Edit(VERIFIER, "check_helper_call", "cur_func(env)->in_callback_fn", "0"),
            Edit(VERIFIER, "check_helper_call", 'verbose(env, "cannot tail call within callback\\n");', ""),
        ),
    ),
    Corner(
        "s390-tailcall-hierarchy",
        _TRIXIE,
        "s390x",
        (Edit(S390, "bpf_jit_insn", "_EMIT6(0xd203f000 | (jit->frame_off +", "_UNUSED((jit->frame_off +"),),
    ),
    Corner("s390-trampoline-tcc", _TRIXIE, "s390x", (Edit(S390, _S390_TRAMPOLINE, "tccnt_off", "backchain_off"),)),
    Corner(
        "s390-trampoline-tcc-writeback",
        _TRIXIE,
        "s390x",
        (
            Edit(
                S390,
                _S390_TRAMPOLINE,
                "_EMIT6(0xd203f000 | tjit->tccnt_off,\n\t\t       0xf000 | offsetof(struct prog_frame, tail_call_cnt));",
                "",
            ),
        ),
    ),
    Corner(
        "loongarch-tailcall-jump-offset",
        _TRIXIE,
        "loongarch64",
        (
            Edit(
                LOONGARCH,
                "emit_bpf_tail_call",
                "ctx->image ? (ctx->offset[insn + 1] - ctx->idx) : 0",
                "out_offset - (ctx->idx - idx0)",
            ),
        ),
    ),
    Corner(
        "loongarch-prologue-off-by-one",
        _TRIXIE,
        "loongarch64",
        (Edit(LOONGARCH, "build_prologue", "\telse\n\t\temit_insn(ctx, nop);\n", ""),),
    ),
    Corner(
        "loongarch-tailcall-index-zext",
        _TRIXIE,
        "loongarch64",
        (Edit(LOONGARCH, "emit_bpf_tail_call", "emit_zext_32(ctx, a2, true);", ""),),
    ),
    Corner(
        "loongarch-arena-count-slot",
        _NEWEST,
        "loongarch64",
        (
            Edit(LOONGARCH, "build_prologue", "prepare_bpf_tail_call_cnt(ctx, &store_offset);\n", ""),
            Edit(
                LOONGARCH,
                "build_prologue",
                "REG_ARENA, LOONGARCH_GPR_SP, store_offset);\n\t}\n",
                "REG_ARENA, LOONGARCH_GPR_SP, store_offset);\n\t}\n\tprepare_bpf_tail_call_cnt(ctx, &store_offset);\n",
            ),
        ),
    ),
    Corner(
        "powerpc64-pcrel-tailcall",
        _TRIXIE,
        "powerpc64",
        (Edit(POWERPC64, _PPC_TAIL_CALL, "!IS_ENABLED(CONFIG_PPC_KERNEL_PCREL) && ", ""),),
    ),
    Corner(
        "powerpc64-empty-slot-count",
        _TRIXIE,
        "powerpc64",
        (
            Edit(POWERPC64, _PPC_TAIL_CALL, _WRITE_BACK, ""),
            Edit(POWERPC64, _PPC_TAIL_CALL, _PPC_ADD, f"{_PPC_ADD}\n{_WRITE_BACK}"),
        ),
    ),
)
"""Fixes that are taken back as a whole: affected. powerpc32's has no known older form and is unknown."""

_NO_SLEEP = Edit("kernel/bpf/syscall.c", "", "BPF_F_SLEEPABLE", "0")
_NO_POKE = Edit(ARRAYMAP, "", "prog_array_map_poke_run", "nothing_pokes")
_BPF_H, _FILTER_H = "include/linux/bpf.h", "include/linux/filter.h"
_NO_HOOK = Edit(_BPF_H, "", "attach_func_proto", "hook_of_no_use")
_NO_ATTACH_TYPE = Edit(_FILTER_H, "", "expected_attach_type", "type_of_no_use")
# Before 7d9c3427894f a storage belonged to one program.
_ONE_PROGRAM = Edit(
    "kernel/bpf/local_storage.c",
    "bpf_cgroup_storage_assign",
    "aux->cgroup_storage[stype] = _map;",
    "if (map->prog && map->prog != prog)\n\t\tgoto unlock;\n\taux->cgroup_storage[stype] = _map;",
)
_NO_GLOBALS = Edit(VERIFIER, "", "do_check_subprogs", "do_check_nothing")
# The prologue of v5.5 to v5.9, before ebf7d1f508a7: every program saves its registers and the count in one form.
_OLD_PROLOGUE = (
    Edit(
        X86,
        "emit_prologue",
        "bool ebpf_from_cbpf,\n\t\t\t  bool tail_call_reachable, bool is_subprog)",
        "bool ebpf_from_cbpf)",
    ),
    Edit(
        X86,
        "emit_prologue",
        "if (tail_call_reachable && !is_subprog)\n\t\t\tEMIT2(0x31, 0xC0); /* xor eax, eax */\n\t\telse\n"
        "\t\t\tEMIT2(0x66, 0x90); /* nop2 */",
        "BUILD_BUG_ON(cnt != PROLOGUE_SIZE);",
    ),
    Edit(X86, "emit_prologue", "if (tail_call_reachable)\n\t\tEMIT1(0x50);         /* push rax */", ""),
)
_NO_KEYS = Edit(VERIFIER, "", "record_func_key", "records_no_key")
# Before a748c6975dea a descriptor was the main program's.
_POKES_OF_MAIN = (
    Edit(_BPF_H, "struct bpf_jit_poke_descriptor", "u32 insn_idx;", ""),
    Edit(VERIFIER, "jit_subprogs", "func[i]->aux->poke_tab = prog->aux->poke_tab;", ""),
    Edit(VERIFIER, "jit_subprogs", "func[i]->aux->size_poke_tab = prog->aux->size_poke_tab;", ""),
    Edit(
        VERIFIER,
        "jit_subprogs",
        "if (poke->insn_idx < subprog_end &&\n\t\t\t    poke->insn_idx >= subprog_start)\n"
        "\t\t\t\tpoke->aux = func[i]->aux;",
        "",
    ),
)
_NO_TAIL_CALLS_IN_SUBPROGRAMS = (
    Edit(VERIFIER, "check_map_func_compatibility", " && !allow_tail_call_in_subprogs(env)", ""),
    Edit(
        VERIFIER,
        "check_map_func_compatibility",
        "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls",
        "tail_calls are not allowed in programs with bpf-to-bpf calls",
    ),
)
_NO_PROG_ARRAY = Edit(ARRAYMAP, "", "prog_fd_array_get_ptr", "no_array_of_programs")
_AS_OLD_AS_TAIL_CALLS = (
    ("tailcall-compat-race", "x86_64"),
    ("x86-empty-slot-count", "x86_64"),
    ("arm64-empty-slot-count", "arm64"),
    ("s390-empty-slot-count", "s390x"),
    ("powerpc64-empty-slot-count", "powerpc64"),
    ("interp-empty-slot-count", "x86_64"),
)
OLDER: tuple[Corner, ...] = (
    Corner("tailcall-compat-attach-func-proto", _OLDEST, "x86_64", (_NO_HOOK,), (5, 4)),
    Corner("tailcall-compat-expected-attach-type", _OLDEST, "x86_64", (_NO_ATTACH_TYPE,), (4, 16)),
    Corner("tailcall-cgroup-storage-oob", _OLDEST, "x86_64", (_ONE_PROGRAM,), (4, 18)),
    Corner("tailcall-pkt-pointers", _OLDEST, "x86_64", (_NO_GLOBALS,), (5, 5)),
    Corner("tailcall-sleepable-callee", _OLDEST, "x86_64", (_NO_SLEEP,), (5, 9)),
    Corner("prog-array-clear-stall", _OLDEST, "x86_64", (_NO_POKE,), (5, 4)),
    Corner("prog-array-poke-run-bug", _OLDEST, "x86_64", _OLD_PROLOGUE, (5, 9)),
    Corner("interp-fallback-tailcall-subprog", _OLDEST, "x86_64", _OLD_PROLOGUE, (5, 9)),
    Corner("poke-desc-tnum-oob", _OLDEST, "x86_64", (_NO_KEYS,), (5, 4)),
    Corner("subprog-poke-uaf", _OLDEST, "x86_64", _POKES_OF_MAIN, (5, 9)),
    Corner("mixed-tailcall-subprog-null-deref", _OLDEST, "x86_64", _POKES_OF_MAIN, (5, 9)),
    Corner("tailcall-verifier-return-model", _OLDEST, "x86_64", _NO_TAIL_CALLS_IN_SUBPROGRAMS, (5, 9)),
    # What came with tail calls themselves: the source before it has no prog array.
    *(Corner(slug, _OLDEST, architecture, (_NO_PROG_ARRAY,), (4, 1)) for slug, architecture in _AS_OLD_AS_TAIL_CALLS),
)
"""Sources that are older than what a defect needs: not affected."""
