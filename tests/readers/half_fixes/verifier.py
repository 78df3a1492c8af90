"""Half fixes of the verifier and prog arrays: see the package."""

from __future__ import annotations

from tests.readers.half_fixes.edits import ARRAYMAP, CORE, TRAMPOLINE, VERIFIER, X86, Half, on_x86

__all__ = ["HALVES"]

HALVES: tuple[Half, ...] = (
    *on_x86("poke-desc-tnum-oob", "6.12", [("the comparison", VERIFIER, "record_func_key", "val < max", "true")]),
    *on_x86(
        "subprog-poke-uaf",
        "6.12",
        [
            ("the struct", "include/linux/bpf.h", "struct bpf_jit_poke_descriptor", "void *aux;", ""),
            ("the descriptor's program", VERIFIER, "jit_subprogs", "poke->aux = func[i]->aux;", ""),
            ("the table is lent", VERIFIER, "jit_subprogs", "func[i]->aux->poke_tab = prog->aux->poke_tab;", ""),
            ("the table is taken back", VERIFIER, "jit_subprogs", "func[i]->aux->poke_tab = NULL;", ""),
            (
                "the table is not freed twice",
                CORE,
                "bpf_prog_free_deferred",
                "aux->func[i]->aux->poke_tab = NULL;",
                "",
            ),
            (
                "the JIT's test",
                X86,
                "bpf_tail_call_direct_fixup",
                "if (poke->aux && poke->aux != prog->aux)\n\t\t\tcontinue;",
                "",
            ),
        ],
    ),
    *on_x86(
        "interp-fallback-tailcall-subprog",
        "6.1",
        [
            (
                "the whole program is marked",
                VERIFIER,
                "check_max_stack_depth_subprog",
                "if (subprog[0].tail_call_reachable)\n\t\tenv->prog->aux->tail_call_reachable = true;",
                "",
            ),
            (
                "the interpreter is refused",
                VERIFIER,
                "fixup_call_args",
                "env->subprog_cnt > 1 && env->prog->aux->tail_call_reachable",
                "0",
            ),
        ],
    ),
    *on_x86(
        "mixed-tailcall-subprog-null-deref",
        "6.1",
        [
            ("the offset", VERIFIER, "adjust_poke_descs", "if (desc->insn_idx <= off)\n\t\t\tcontinue;", ""),
            ("the shift", VERIFIER, "adjust_poke_descs", "desc->insn_idx += len - 1;", ""),
            ("the call", VERIFIER, "bpf_patch_insn_data", "adjust_poke_descs(new_prog, off, len);", ""),
        ],
    ),
    *on_x86(
        "tailcall-pkt-pointers",
        "6.12",
        [("the helper", "net/core/filter.c", "bpf_helper_changes_pkt_data", "case BPF_FUNC_tail_call:", "")],
    ),
    *on_x86(
        "tailcall-verifier-return-model",
        "7.3",
        [("the return", VERIFIER, "check_helper_call", "prepare_func_exit(env, &env->insn_idx)", "0")],
    ),
    *on_x86(
        "tailcall-via-callback-subprog",
        "7.3",
        [
            (
                "the refusal",
                VERIFIER,
                "check_max_stack_depth_subprog",
                '"cannot tail call within callback\\n"',
                '"x\\n"',
            )
        ],
    ),
    *on_x86(
        "trampoline-flags-clobber",
        "7.3",
        [
            (
                "the call",
                VERIFIER,
                "check_attach_btf_id",
                "bpf_trampoline_set_flags(tr, BPF_TRAMP_F_TAIL_CALL_CTX)",
                "tr->flags = BPF_TRAMP_F_TAIL_CALL_CTX",
            ),
            ("the lock", TRAMPOLINE, "bpf_trampoline_set_flags", "trampoline_lock(tr);", ""),
            ("adding", TRAMPOLINE, "bpf_trampoline_set_flags", "tr->flags |= flags", "tr->flags = flags"),
        ],
    ),
    *on_x86(
        "tailcall-locks-rcu-preempt",
        "7.3",
        [
            (
                "the call",
                VERIFIER,
                "check_helper_call",
                'check_resource_leak(env, false, true, "tail_call")',
                'check_resource_leak(env, false, false, "tail_call")',
            ),
            ("RCU", VERIFIER, "check_resource_leak", "check_lock && env->cur_state->active_rcu_locks", "0"),
            ("preemption", VERIFIER, "check_resource_leak", "check_lock && env->cur_state->active_preempt_locks", "0"),
        ],
    ),
    *on_x86(
        "tailcall-failed-pkt-pointers",
        "7.3",
        [
            ("the pointers are kept", VERIFIER, "check_helper_call", "changes_data = false;", ";"),
        ],
    ),
    *on_x86(
        "tailcall-stack-liveness",
        "7.3",
        [
            ("the end is remembered", VERIFIER, "check_subprogs", "subprog[cur_subprog].exit_idx = i;", ";"),
            (
                "it is a successor",
                "kernel/bpf/cfg.c",
                "visit_abnormal_return_insn",
                "jt->items[1] = subprog->exit_idx;",
                "jt->items[1] = t + 1;",
            ),
            (
                "tail calls are visited so",
                "kernel/bpf/cfg.c",
                "visit_insn",
                "if (insn->imm == BPF_FUNC_tail_call) {",
                "if (0) {",
            ),
            ("the successors are taken", "kernel/bpf/liveness.c", "bpf_insn_successors", "return jt;", ";"),
        ],
    ),
    *on_x86(
        "tailcall-direct-in-callback",
        "7.3",
        [
            ("the test", VERIFIER, "check_helper_call", "cur_func(env)->in_callback_fn", "0"),
            (
                "the refusal",
                VERIFIER,
                "check_helper_call",
                'verbose(env, "cannot tail call within callback\\n");\n\t\t\t\treturn -EINVAL;',
                'verbose(env, "cannot tail call within callback\\n");',
            ),
        ],
    ),
    *on_x86(
        "prog-array-clear-stall",
        "6.12",
        [("it gives way", ARRAYMAP, "bpf_fd_array_map_clear", "cond_resched();", "")],
    ),
)
