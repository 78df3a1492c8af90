"""Half fixes by construction: every part of each fix taken out of a real source, by an edit anchored in one function.

`HALVES` is a table: defect, commit, series of Debian's source that has the fix, and for each part of the fix the file, the
function (or struct) and the text in it that is taken out or put back into its older form.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["HALVES", "Half", "edited"]


class Half(NamedTuple):
    """One part of a fix. `old` is taken out of `function` and `new` stands in its place."""

    slug: str
    series: str
    architecture: str
    part: str
    path: str
    function: str
    old: str
    new: str


_CORE, _VERIFIER, _TRAMPOLINE, _ARRAYMAP = (
    f"kernel/bpf/{name}.c" for name in ("core", "verifier", "trampoline", "arraymap")
)
_X86 = "arch/x86/net/bpf_jit_comp.c"
_S390 = "arch/s390/net/bpf_jit_comp.c"
_ARM64 = "arch/arm64/net/bpf_jit_comp.c"
_LOONGARCH = "arch/loongarch/net/bpf_jit.c"
_OWNER = "__bpf_prog_map_compatible"
_TRAMPOLINE_X86 = "__arch_prepare_bpf_trampoline"


def _x86(slug: str, series: str, rows: list[tuple[str, str, str, str, str]]) -> list[Half]:
    return [Half(slug, series, "x86_64", *row) for row in rows]


HALVES: tuple[Half, ...] = (
    *_x86(
        "freplace-tailcallee",
        "6.12",
        [
            ("the type is resolved", _CORE, _OWNER, "resolve_prog_type(fp)", "fp->type"),
            ("the owner gets it", _CORE, _OWNER, "owner->type  = prog_type", "owner->type  = fp->type"),
            ("it is compared", _CORE, _OWNER, "owner->type  == prog_type", "owner->type  == fp->type"),
        ],
    ),
    *_x86(
        "x86-count-offset",
        "5.10",
        [
            (
                "rounding",
                _X86,
                "do_jit",
                "-round_up(bpf_prog->aux->stack_depth, 8) - 8",
                "-bpf_prog->aux->stack_depth - 8",
            )
        ],
    ),
    *_x86(
        "x86-trampoline-loop",
        "6.12",
        [
            (
                "the verifier's mark",
                _VERIFIER,
                "check_attach_btf_id",
                "bpf_trampoline_set_flags(tr, BPF_TRAMP_F_TAIL_CALL_CTX);",
                ";",
            ),
            ("its condition", _VERIFIER, "check_attach_btf_id", "tgt_prog && tgt_prog->aux->tail_call_reachable", "0"),
            ("it survives", _TRAMPOLINE, "bpf_trampoline_update", " | BPF_TRAMP_F_TAIL_CALL_CTX", ""),
            ("rax is saved", _X86, _TRAMPOLINE_X86, "if (flags & BPF_TRAMP_F_TAIL_CALL_CTX)\n\t\tEMIT1(0x50);", ";"),
            (
                "rax is restored before the call",
                _X86,
                _TRAMPOLINE_X86,
                "if (flags & BPF_TRAMP_F_TAIL_CALL_CTX) {\n\t\t\t/*",
                "if (0) {\n\t\t\t/*",
            ),
            (
                "rax is restored at the end",
                _X86,
                _TRAMPOLINE_X86,
                "else if (flags & BPF_TRAMP_F_TAIL_CALL_CTX)",
                "else if (0)",
            ),
        ],
    ),
    *_x86(
        "x86-hierarchy",
        "6.12",
        [
            ("prologue", _X86, "emit_prologue", "emit_prologue_tail_call(&prog, is_subprog)", "EMIT1(0x50)"),
            ("entry zeroes rax", _X86, "emit_prologue", "EMIT3(0x48, 0x31, 0xC0)", "EMIT2(0x31, 0xC0)"),
            ("the pointer is made", _X86, "emit_prologue_tail_call", "EMIT3(0x48, 0x89, 0xE0);", ";"),
            (
                "the pointer is pushed",
                _X86,
                "emit_prologue_tail_call",
                "\t\tEMIT1(0x50);             /* push rax */\n\t}\n",
                "\t}\n",
            ),
            (
                "indirect",
                _X86,
                "emit_bpf_tail_call_indirect",
                "EMIT4(0x48, 0x83, 0x38, MAX_TAIL_CALL_CNT)",
                "EMIT3(0x83, 0xF8, MAX_TAIL_CALL_CNT)",
            ),
            (
                "direct",
                _X86,
                "emit_bpf_tail_call_direct",
                "EMIT4(0x48, 0x83, 0x38, MAX_TAIL_CALL_CNT)",
                "EMIT3(0x83, 0xF8, MAX_TAIL_CALL_CNT)",
            ),
            ("calls", _X86, "do_jit", "LOAD_TAIL_CALL_CNT_PTR(stack_depth);", ";"),
            ("trampolines", _X86, _TRAMPOLINE_X86, "LOAD_TRAMP_TAIL_CALL_CNT_PTR(stack_size);", ";"),
        ],
    ),
    *_x86(
        "freplace-loop",
        "6.12",
        [
            (
                "the member check reads the mark",
                _ARRAYMAP,
                "prog_fd_array_get_ptr",
                "is_extended = prog->aux->is_extended;",
                "is_extended = false;",
            ),
            ("members are counted", _ARRAYMAP, "prog_fd_array_get_ptr", "prog->aux->prog_array_member_cnt++;", ";"),
            ("an extended one is refused", _ARRAYMAP, "prog_fd_array_get_ptr", "if (is_extended) {", "if (0) {"),
            ("leaving is counted", _ARRAYMAP, "prog_fd_array_put_ptr", "prog->aux->prog_array_member_cnt--;", ""),
            (
                "a member is refused as a target",
                _TRAMPOLINE,
                "bpf_freplace_check_tgt_prog",
                "if (aux->prog_array_member_cnt)",
                "if (0)",
            ),
            ("a target is marked", _TRAMPOLINE, "bpf_freplace_check_tgt_prog", "aux->is_extended = true;", ""),
            (
                "the check is called",
                _TRAMPOLINE,
                "__bpf_trampoline_link_prog",
                "err = bpf_freplace_check_tgt_prog(tgt_prog);",
                "err = 0;",
            ),
            (
                "the mark is taken back",
                _TRAMPOLINE,
                "__bpf_trampoline_unlink_prog",
                "tgt_prog->aux->is_extended = false;",
                "",
            ),
        ],
    ),
    *_x86(
        "freplace-attached-refused",
        "6.12",
        [
            (
                "the saved type",
                "include/linux/bpf_verifier.h",
                "resolve_prog_type",
                "saved_dst_prog_type",
                "dst_prog->type",
            )
        ],
    ),
    *_x86(
        "resolve-prog-type-null-deref-load",
        "6.12",
        [
            ("the test", "include/linux/bpf_verifier.h", "resolve_prog_type", " && prog->aux->saved_dst_prog_type", ""),
            (
                "the type that is tested for",
                "include/linux/bpf_verifier.h",
                "resolve_prog_type",
                "prog->type == BPF_PROG_TYPE_EXT && ",
                "",
            ),
        ],
    ),
    *_x86(
        "prog-array-poke-run-bug",
        "6.12",
        [
            (
                "the map leaves it to the JIT",
                _ARRAYMAP,
                "prog_array_map_poke_run",
                "bpf_arch_poke_desc_update(poke, new, old);",
                "ret = bpf_arch_text_poke(poke->tailcall_target, 0, NULL, NULL);\nBUG_ON(ret < 0 && ret != -EINVAL);",
            ),
            ("the JIT pokes", _X86, "bpf_arch_poke_desc_update", "__bpf_arch_text_poke(", "bpf_arch_text_poke("),
        ],
    ),
    *_x86(
        "tailcall-compat-attach-func-proto",
        "6.12",
        [
            ("the owner gets the hook", _CORE, _OWNER, "map->owner->attach_func_proto = aux->attach_func_proto;", ""),
            ("it is compared", _CORE, _OWNER, "map->owner->attach_func_proto != aux->attach_func_proto", "0"),
            ("extensions are compared", _CORE, _OWNER, "\t\t\tcase BPF_PROG_TYPE_EXT:\n", ""),
            (
                "the answer is no",
                _CORE,
                _OWNER,
                "\t\t\t\tret = false;\n\t\t\t\tbreak;\n\t\t\tdefault:",
                "\t\t\t\tbreak;\n\t\t\tdefault:",
            ),
        ],
    ),
    *_x86(
        "tailcall-compat-expected-attach-type",
        "6.12",
        [
            (
                "the owner gets the type",
                _CORE,
                _OWNER,
                "map->owner->expected_attach_type = fp->expected_attach_type;",
                "",
            ),
            ("it is compared", _CORE, _OWNER, "map->owner->expected_attach_type != fp->expected_attach_type", "false"),
        ],
    ),
    *_x86(
        "tailcall-cgroup-storage-oob",
        "6.12",
        [
            (
                "the owner gets the cookies",
                _CORE,
                _OWNER,
                "map->owner->storage_cookie[i] =\n\t\t\t\taux->cgroup_storage[i] ?\n\t\t\t\taux->cgroup_storage[i]->cookie : 0;",
                ";",
            ),
            (
                "they are compared",
                _CORE,
                _OWNER,
                "ret = map->owner->storage_cookie[i] == cookie ||\n\t\t\t      (!cookie && !aux->tail_call_reachable);",
                "",
            ),
        ],
    ),
    *_x86(
        "tailcall-cgroup-storage-bridge",
        "6.12",
        [
            ("reachable programs are refused", _CORE, _OWNER, "(!cookie && !aux->tail_call_reachable)", "!cookie"),
            (
                "a program's own tail call counts",
                _VERIFIER,
                "check_subprogs",
                "subprog[cur_subprog].tail_call_reachable = true;",
                "",
            ),
        ],
    ),
    *_x86(
        "tailcall-compat-race",
        "6.12",
        [
            ("the lock", _CORE, _OWNER, "spin_lock(&map->owner_lock);", ""),
            ("the unlock", _CORE, _OWNER, "spin_unlock(&map->owner_lock);", ""),
        ],
    ),
    *_x86("poke-desc-tnum-oob", "6.12", [("the comparison", _VERIFIER, "record_func_key", "val < max", "true")]),
    *_x86(
        "subprog-poke-uaf",
        "6.12",
        [
            ("the struct", "include/linux/bpf.h", "struct bpf_jit_poke_descriptor", "void *aux;", ""),
            ("the descriptor's program", _VERIFIER, "jit_subprogs", "poke->aux = func[i]->aux;", ""),
            ("the table is lent", _VERIFIER, "jit_subprogs", "func[i]->aux->poke_tab = prog->aux->poke_tab;", ""),
            ("the table is taken back", _VERIFIER, "jit_subprogs", "func[i]->aux->poke_tab = NULL;", ""),
            (
                "the table is not freed twice",
                _CORE,
                "bpf_prog_free_deferred",
                "aux->func[i]->aux->poke_tab = NULL;",
                "",
            ),
            (
                "the JIT's test",
                _X86,
                "bpf_tail_call_direct_fixup",
                "if (poke->aux && poke->aux != prog->aux)\n\t\t\tcontinue;",
                "",
            ),
        ],
    ),
    *_x86(
        "interp-fallback-tailcall-subprog",
        "6.1",
        [
            (
                "the whole program is marked",
                _VERIFIER,
                "check_max_stack_depth_subprog",
                "if (subprog[0].tail_call_reachable)\n\t\tenv->prog->aux->tail_call_reachable = true;",
                "",
            ),
            (
                "the interpreter is refused",
                _VERIFIER,
                "fixup_call_args",
                "env->subprog_cnt > 1 && env->prog->aux->tail_call_reachable",
                "0",
            ),
        ],
    ),
    *_x86(
        "mixed-tailcall-subprog-null-deref",
        "6.1",
        [
            ("the offset", _VERIFIER, "adjust_poke_descs", "if (desc->insn_idx <= off)\n\t\t\tcontinue;", ""),
            ("the shift", _VERIFIER, "adjust_poke_descs", "desc->insn_idx += len - 1;", ""),
            ("the call", _VERIFIER, "bpf_patch_insn_data", "adjust_poke_descs(new_prog, off, len);", ""),
        ],
    ),
    *_x86(
        "tailcall-pkt-pointers",
        "6.12",
        [("the helper", "net/core/filter.c", "bpf_helper_changes_pkt_data", "case BPF_FUNC_tail_call:", "")],
    ),
    *_x86(
        "tailcall-verifier-return-model",
        "7.3",
        [("the return", _VERIFIER, "check_helper_call", "prepare_func_exit(env, &env->insn_idx)", "0")],
    ),
    *_x86(
        "tailcall-via-callback-subprog",
        "7.3",
        [
            (
                "the refusal",
                _VERIFIER,
                "check_max_stack_depth_subprog",
                '"cannot tail call within callback\\n"',
                '"x\\n"',
            )
        ],
    ),
    *_x86(
        "trampoline-flags-clobber",
        "7.3",
        [
            (
                "the call",
                _VERIFIER,
                "check_attach_btf_id",
                "bpf_trampoline_set_flags(tr, BPF_TRAMP_F_TAIL_CALL_CTX)",
                "tr->flags = BPF_TRAMP_F_TAIL_CALL_CTX",
            ),
            ("the lock", _TRAMPOLINE, "bpf_trampoline_set_flags", "trampoline_lock(tr);", ""),
            ("adding", _TRAMPOLINE, "bpf_trampoline_set_flags", "tr->flags |= flags", "tr->flags = flags"),
        ],
    ),
    *_x86(
        "tailcall-locks-rcu-preempt",
        "7.3",
        [
            (
                "the call",
                _VERIFIER,
                "check_helper_call",
                'check_resource_leak(env, false, true, "tail_call")',
                'check_resource_leak(env, false, false, "tail_call")',
            ),
            ("RCU", _VERIFIER, "check_resource_leak", "check_lock && env->cur_state->active_rcu_locks", "0"),
            ("preemption", _VERIFIER, "check_resource_leak", "check_lock && env->cur_state->active_preempt_locks", "0"),
        ],
    ),
    Half(
        "s390-tailcall-hierarchy",
        "6.12",
        "s390x",
        "the copy back",
        _S390,
        "bpf_jit_insn",
        "_EMIT6(0xd203f000 | (jit->frame_off +",
        "_UNUSED(0xd203f000 | (jit->frame_off +",
    ),
    Half(
        "s390-tailcall-hierarchy",
        "6.12",
        "s390x",
        "the copy there",
        _S390,
        "bpf_jit_insn",
        "_EMIT6(0xd203f000 | offsetof(struct prog_frame, tail_call_cnt),",
        "_UNUSED(offsetof(struct prog_frame, tail_call_cnt),",
    ),
    Half(
        "s390-trampoline-tcc",
        "6.12",
        "s390x",
        "saved at the entry",
        _S390,
        "__arch_prepare_bpf_trampoline",
        "_EMIT6(0xd203f000 | tjit->tccnt_off,\n\t       0xf000 | (tjit->stack_size +",
        "_UNUSED(0, 0xf000 | (tjit->stack_size +",
    ),
    Half(
        "arm64-tailcall-hierarchy",
        "6.12",
        "arm64",
        "counting",
        _ARM64,
        "emit_bpf_tail_call",
        "bpf2a64[TCCNT_PTR]",
        "bpf2a64[TCALL_CNT]",
    ),
    Half(
        "arm64-tailcall-hierarchy",
        "6.12",
        "arm64",
        "the prologue",
        _ARM64,
        "prepare_bpf_tail_call_cnt",
        "bpf2a64[TCCNT_PTR]",
        "bpf2a64[TCALL_CNT]",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "counting",
        _LOONGARCH,
        "emit_bpf_tail_call",
        "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(",
        "BPF_TAIL_CALL_CNT_STACK_OFF(",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "the prologue",
        _LOONGARCH,
        "build_prologue",
        "prepare_bpf_tail_call_cnt(ctx, &store_offset);",
        "",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "calls",
        _LOONGARCH,
        "build_insn",
        "tcc_ptr_off = BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size);",
        "",
    ),
)


def edited(text: str, half: Half) -> str:
    """Returns a file without one part of a fix; raises ValueError where the function does not have it any more."""
    name = re.escape(half.function)
    head = (
        rf"^{name}\s*\{{" if half.function.startswith("struct ") else rf"^[A-Za-z_][\w \t*\n]*\b{name}\([^;{{]*\)\n\{{"
    )
    match = re.search(head, text, re.MULTILINE)
    found = -1 if match is None else text.find(half.old, match.start())
    ends = [] if match is None else list(re.finditer(r"^\}", text[match.start() : found + 1], re.MULTILINE))
    # A macro's "})" at the margin is no end of a function.
    if match is None or found < 0 or len(ends) > 1:
        raise ValueError(f"{half.path}: {half.function} no longer has {half.old!r}")
    end = text.index("\n}", found)
    return text[: match.start()] + text[match.start() : end].replace(half.old, half.new) + text[end:]
