"""Half fixes of x86-64's JIT and trampoline: see the package."""

from __future__ import annotations

from tests.readers.half_fixes.edits import ARRAYMAP, TRAMPOLINE, VERIFIER, X86, X86_TRAMPOLINE, Half, on_x86

__all__ = ["HALVES"]

HALVES: tuple[Half, ...] = (
    *on_x86(
        "x86-count-offset",
        "5.10",
        [
            (
                "rounding",
                X86,
                "do_jit",
                "-round_up(bpf_prog->aux->stack_depth, 8) - 8",
                "-bpf_prog->aux->stack_depth - 8",
            )
        ],
    ),
    *on_x86(
        "x86-trampoline-loop",
        "6.12",
        [
            (
                "the verifier's mark",
                VERIFIER,
                "check_attach_btf_id",
                "bpf_trampoline_set_flags(tr, BPF_TRAMP_F_TAIL_CALL_CTX);",
                ";",
            ),
            ("its condition", VERIFIER, "check_attach_btf_id", "tgt_prog && tgt_prog->aux->tail_call_reachable", "0"),
            ("it survives", TRAMPOLINE, "bpf_trampoline_update", " | BPF_TRAMP_F_TAIL_CALL_CTX", ""),
            ("rax is saved", X86, X86_TRAMPOLINE, "if (flags & BPF_TRAMP_F_TAIL_CALL_CTX)\n\t\tEMIT1(0x50);", ";"),
            (
                "rax is restored before the call",
                X86,
                X86_TRAMPOLINE,
                "if (flags & BPF_TRAMP_F_TAIL_CALL_CTX) {\n\t\t\t/*",
                "if (0) {\n\t\t\t/*",
            ),
            (
                "rax is restored at the end",
                X86,
                X86_TRAMPOLINE,
                "else if (flags & BPF_TRAMP_F_TAIL_CALL_CTX)",
                "else if (0)",
            ),
        ],
    ),
    *on_x86(
        "x86-hierarchy",
        "6.12",
        [
            ("prologue", X86, "emit_prologue", "emit_prologue_tail_call(&prog, is_subprog)", "EMIT1(0x50)"),
            ("entry zeroes rax", X86, "emit_prologue", "EMIT3(0x48, 0x31, 0xC0)", "EMIT2(0x31, 0xC0)"),
            ("the pointer is made", X86, "emit_prologue_tail_call", "EMIT3(0x48, 0x89, 0xE0);", ";"),
            (
                "the pointer is pushed",
                X86,
                "emit_prologue_tail_call",
                "\t\tEMIT1(0x50);             /* push rax */\n\t}\n",
                "\t}\n",
            ),
            (
                "indirect",
                X86,
                "emit_bpf_tail_call_indirect",
                "EMIT4(0x48, 0x83, 0x38, MAX_TAIL_CALL_CNT)",
                "EMIT3(0x83, 0xF8, MAX_TAIL_CALL_CNT)",
            ),
            (
                "direct",
                X86,
                "emit_bpf_tail_call_direct",
                "EMIT4(0x48, 0x83, 0x38, MAX_TAIL_CALL_CNT)",
                "EMIT3(0x83, 0xF8, MAX_TAIL_CALL_CNT)",
            ),
            ("calls", X86, "do_jit", "LOAD_TAIL_CALL_CNT_PTR(stack_depth);", ";"),
            ("trampolines", X86, X86_TRAMPOLINE, "LOAD_TRAMP_TAIL_CALL_CNT_PTR(stack_size);", ";"),
        ],
    ),
    *on_x86(
        "prog-array-poke-run-bug",
        "6.12",
        [
            (
                "the map leaves it to the JIT",
                ARRAYMAP,
                "prog_array_map_poke_run",
                "bpf_arch_poke_desc_update(poke, new, old);",
                "ret = bpf_arch_text_poke(poke->tailcall_target, 0, NULL, NULL);\nBUG_ON(ret < 0 && ret != -EINVAL);",
            ),
            ("the JIT pokes", X86, "bpf_arch_poke_desc_update", "__bpf_arch_text_poke(", "bpf_arch_text_poke("),
        ],
    ),
    *on_x86(
        "x86-empty-slot-count",
        "6.12",
        [
            (
                "indirect",
                X86,
                "emit_bpf_tail_call_indirect",
                "EMIT4(0x48, 0x83, 0x00, 0x01);            /* add qword ptr [rax], 1 */",
                "",
            ),
            (
                "direct",
                X86,
                "emit_bpf_tail_call_direct",
                "EMIT4(0x48, 0x83, 0x00, 0x01);                /* add qword ptr [rax], 1 */",
                "",
            ),
            (
                "before the test",
                X86,
                "emit_bpf_tail_call_indirect",
                "EMIT2(X86_JAE, offset);                   /* jae out */",
                "EMIT2(X86_JAE, offset);\nEMIT4(0x48, 0x83, 0x00, 0x01);",
            ),
        ],
    ),
)
