"""Half fixes of extension programs: see the package."""

from __future__ import annotations

from tests.readers.half_fixes.edits import ARRAYMAP, CORE, OWNER_CHECK, TRAMPOLINE, Half, on_x86

__all__ = ["HALVES"]

HEADER = "include/linux/bpf_verifier.h"
_SAVED_TYPE = ("the saved type", HEADER, "resolve_prog_type", "saved_dst_prog_type", "dst_prog->type")

HALVES: tuple[Half, ...] = (
    *on_x86(
        "freplace-tailcallee",
        "6.12",
        [
            ("the type is resolved", CORE, OWNER_CHECK, "resolve_prog_type(fp)", "fp->type"),
            ("the owner gets it", CORE, OWNER_CHECK, "owner->type  = prog_type", "owner->type  = fp->type"),
            ("it is compared", CORE, OWNER_CHECK, "owner->type  == prog_type", "owner->type  == fp->type"),
        ],
    ),
    *on_x86(
        "freplace-loop",
        "6.12",
        [
            (
                "the member check reads the mark",
                ARRAYMAP,
                "prog_fd_array_get_ptr",
                "is_extended = prog->aux->is_extended;",
                "is_extended = false;",
            ),
            ("members are counted", ARRAYMAP, "prog_fd_array_get_ptr", "prog->aux->prog_array_member_cnt++;", ";"),
            ("an extended one is refused", ARRAYMAP, "prog_fd_array_get_ptr", "if (is_extended) {", "if (0) {"),
            ("leaving is counted", ARRAYMAP, "prog_fd_array_put_ptr", "prog->aux->prog_array_member_cnt--;", ""),
            (
                "a member is refused as a target",
                TRAMPOLINE,
                "bpf_freplace_check_tgt_prog",
                "if (aux->prog_array_member_cnt)",
                "if (0)",
            ),
            ("a target is marked", TRAMPOLINE, "bpf_freplace_check_tgt_prog", "aux->is_extended = true;", ""),
            (
                "the check is called",
                TRAMPOLINE,
                "__bpf_trampoline_link_prog",
                "err = bpf_freplace_check_tgt_prog(tgt_prog);",
                "err = 0;",
            ),
            (
                "the mark is taken back",
                TRAMPOLINE,
                "__bpf_trampoline_unlink_prog",
                "tgt_prog->aux->is_extended = false;",
                "",
            ),
        ],
    ),
    *on_x86(
        "freplace-attached-refused",
        "6.12",
        [_SAVED_TYPE],
    ),
    *on_x86(
        "resolve-prog-type-null-deref-load",
        "6.12",
        [
            ("the test", HEADER, "resolve_prog_type", " && prog->aux->saved_dst_prog_type", ""),
            (
                "the type that is tested for",
                HEADER,
                "resolve_prog_type",
                "prog->type == BPF_PROG_TYPE_EXT && ",
                "",
            ),
        ],
    ),
    *on_x86(
        "freplace-attached-panic",
        "6.12",
        [_SAVED_TYPE],
    ),
)
