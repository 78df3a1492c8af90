"""Half fixes of the other JITs and the interpreter: see the package."""

from __future__ import annotations

from tests.readers.half_fixes.edits import ARM64, CORE, LOONGARCH, POWERPC64, RISCV64, S390, Half, on, on_x86

__all__ = ["HALVES"]

HALVES: tuple[Half, ...] = (
    Half(
        "s390-tailcall-hierarchy",
        "6.12",
        "s390x",
        "the copy back",
        S390,
        "bpf_jit_insn",
        "_EMIT6(0xd203f000 | (jit->frame_off +",
        "_UNUSED(0xd203f000 | (jit->frame_off +",
    ),
    Half(
        "s390-tailcall-hierarchy",
        "6.12",
        "s390x",
        "the copy there",
        S390,
        "bpf_jit_insn",
        "_EMIT6(0xd203f000 | offsetof(struct prog_frame, tail_call_cnt),",
        "_UNUSED(offsetof(struct prog_frame, tail_call_cnt),",
    ),
    Half(
        "s390-trampoline-tcc",
        "6.12",
        "s390x",
        "saved at the entry",
        S390,
        "__arch_prepare_bpf_trampoline",
        "_EMIT6(0xd203f000 | tjit->tccnt_off,\n\t       0xf000 | (tjit->stack_size +",
        "_UNUSED(0, 0xf000 | (tjit->stack_size +",
    ),
    Half(
        "arm64-tailcall-hierarchy",
        "6.12",
        "arm64",
        "counting",
        ARM64,
        "emit_bpf_tail_call",
        "bpf2a64[TCCNT_PTR]",
        "bpf2a64[TCALL_CNT]",
    ),
    Half(
        "arm64-tailcall-hierarchy",
        "6.12",
        "arm64",
        "the prologue",
        ARM64,
        "prepare_bpf_tail_call_cnt",
        "bpf2a64[TCCNT_PTR]",
        "bpf2a64[TCALL_CNT]",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "counting",
        LOONGARCH,
        "emit_bpf_tail_call",
        "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(",
        "BPF_TAIL_CALL_CNT_STACK_OFF(",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "the prologue",
        LOONGARCH,
        "build_prologue",
        "prepare_bpf_tail_call_cnt(ctx, &store_offset);",
        "",
    ),
    Half(
        "loongarch-tailcall-hierarchy",
        "7.3",
        "loongarch64",
        "calls",
        LOONGARCH,
        "build_insn",
        "tcc_ptr_off = BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size);",
        "",
    ),
    *on(
        "arm64",
        "arm64-empty-slot-count",
        "6.12",
        [("the store", ARM64, "emit_bpf_tail_call", "emit(A64_STR64I(tcc, ptr, 0), ctx);", "")],
    ),
    *on(
        "s390x",
        "s390-trampoline-tcc-writeback",
        "6.12",
        [
            (
                "the copy back",
                S390,
                "__arch_prepare_bpf_trampoline",
                "_EMIT6(0xd203f000 | tjit->tccnt_off,\n\t\t       0xf000 | offsetof(struct prog_frame, tail_call_cnt));",
                ";",
            )
        ],
    ),
    *on(
        "s390x",
        "s390-empty-slot-count",
        "7.3",
        [
            ("the increment", S390, "bpf_jit_insn", "EMIT4_IMM(0xa70a0000, REG_W0, 1);", ";"),
            (
                "no counting before",
                S390,
                "bpf_jit_insn",
                "EMIT6_DISP_LH(0xe3000000, 0x0058, REG_W0, REG_0, REG_15, off);",
                "EMIT4_IMM(0xa7080000, REG_W0, 1);\nEMIT6_DISP_LH(0xeb000000, 0x00fa, REG_W1, REG_W0, REG_15, off);",
            ),
        ],
    ),
    *on(
        "powerpc64",
        "powerpc64-pcrel-tailcall",
        "6.12",
        [
            (
                "the option",
                POWERPC64,
                "bpf_jit_emit_tail_call",
                "!IS_ENABLED(CONFIG_PPC_KERNEL_PCREL) && ",
                "",
            )
        ],
    ),
    *on(
        "powerpc64",
        "powerpc64-empty-slot-count",
        "6.12",
        [
            (
                "nothing is written at once",
                POWERPC64,
                "bpf_jit_emit_tail_call",
                "EMIT(PPC_RAW_ADDI(bpf_to_ppc(TMP_REG_1), bpf_to_ppc(TMP_REG_1), 1));",
                "EMIT(PPC_RAW_ADDI(bpf_to_ppc(TMP_REG_1), bpf_to_ppc(TMP_REG_1), 1));\n"
                "EMIT(PPC_RAW_STD(bpf_to_ppc(TMP_REG_1), _R1, bpf_jit_stack_tailcallcnt(ctx)));",
            ),
            (
                "it is written at the end",
                POWERPC64,
                "bpf_jit_emit_tail_call",
                "EMIT(PPC_RAW_STD(bpf_to_ppc(TMP_REG_1), _R1, bpf_jit_stack_tailcallcnt(ctx)));",
                "",
            ),
        ],
    ),
    *on(
        "riscv64",
        "riscv64-empty-slot-count",
        "7.3",
        [
            (
                "the count is loaded",
                RISCV64,
                "emit_bpf_tail_call",
                "emit_ld(RV_REG_TCC, ctx->tcc_offset, RV_REG_SP, ctx);",
                "",
            ),
            (
                "it is stored at the end",
                RISCV64,
                "emit_bpf_tail_call",
                "emit_sd(RV_REG_SP, ctx->tcc_offset, RV_REG_TCC, ctx);",
                "",
            ),
        ],
    ),
    *on(
        "loongarch64",
        "loongarch-empty-slot-count",
        "7.3",
        [
            ("the comparison", LOONGARCH, "emit_bpf_tail_call", "BPF_JSGE, t3, t2", "BPF_JSGT, t3, t2"),
            ("the store", LOONGARCH, "emit_bpf_tail_call", "emit_insn(ctx, std, t3, REG_TCC, 0);", ""),
        ],
    ),
    *on_x86(
        "interp-empty-slot-count",
        "7.3",
        [("counted at the end", CORE, "___bpf_prog_run", "\t\ttail_call_cnt++;\n", "")],
    ),
    *on(
        "loongarch64",
        "loongarch-tailcall-jump-offset",
        "6.12",
        [
            (
                "the distance",
                LOONGARCH,
                "emit_bpf_tail_call",
                "ctx->image ? (ctx->offset[insn + 1] - ctx->idx) : 0",
                "out_offset - (ctx->idx - idx0)",
            )
        ],
    ),
    *on(
        "loongarch64",
        "loongarch-prologue-off-by-one",
        "6.12",
        [("the nop", LOONGARCH, "build_prologue", "\telse\n\t\temit_insn(ctx, nop);\n", "")],
    ),
    *on(
        "loongarch64",
        "loongarch-tailcall-index-zext",
        "6.12",
        [("the extension", LOONGARCH, "emit_bpf_tail_call", "emit_zext_32(ctx, a2, true);", "")],
    ),
    *on(
        "loongarch64",
        "loongarch-arena-count-slot",
        "7.3",
        [
            ("the order", LOONGARCH, "build_prologue", "prepare_bpf_tail_call_cnt(ctx, &store_offset);\n", ""),
            (
                "the count's address",
                LOONGARCH,
                "emit_bpf_tail_call",
                "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size)",
                "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size) - 8",
            ),
            (
                "the address for subprograms",
                LOONGARCH,
                "build_insn",
                "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size)",
                "BPF_TAIL_CALL_CNT_PTR_STACK_OFF(ctx->stack_size) - 8",
            ),
        ],
    ),
    *on(
        "riscv64",
        "riscv-kcfi-tailcall-stack",
        "7.3",
        [
            (
                "the offset",
                RISCV64,
                "__build_epilogue",
                "is_tail_call ? RV_TAILCALL_OFFSET : 0",
                "is_tail_call ? (RV_KCFI_NINSNS + RV_FENTRY_NINSNS + 1) * 4 : 0",
            )
        ],
    ),
    *on(
        "powerpc32",
        "powerpc32-tailcall-oops",
        "6.12",
        [("the register", "arch/powerpc/net/bpf_jit_comp32.c", "bpf_jit_emit_tail_call", "PPC_RAW_MR(_R4, _R0)", "0")],
    ),
)
