"""Half fixes of the owner check of prog arrays: see the package."""

from __future__ import annotations

from tests.readers.half_fixes.edits import CORE, OWNER_CHECK, VERIFIER, Half, on_x86

__all__ = ["HALVES"]

HALVES: tuple[Half, ...] = (
    *on_x86(
        "tailcall-compat-attach-func-proto",
        "6.12",
        [
            (
                "the owner gets the hook",
                CORE,
                OWNER_CHECK,
                "map->owner->attach_func_proto = aux->attach_func_proto;",
                "",
            ),
            ("it is compared", CORE, OWNER_CHECK, "map->owner->attach_func_proto != aux->attach_func_proto", "0"),
            ("extensions are compared", CORE, OWNER_CHECK, "\t\t\tcase BPF_PROG_TYPE_EXT:\n", ""),
            (
                "the answer is no",
                CORE,
                OWNER_CHECK,
                "\t\t\t\tret = false;\n\t\t\t\tbreak;\n\t\t\tdefault:",
                "\t\t\t\tbreak;\n\t\t\tdefault:",
            ),
        ],
    ),
    *on_x86(
        "tailcall-compat-expected-attach-type",
        "6.12",
        [
            (
                "the owner gets the type",
                CORE,
                OWNER_CHECK,
                "map->owner->expected_attach_type = fp->expected_attach_type;",
                "",
            ),
            (
                "it is compared",
                CORE,
                OWNER_CHECK,
                "map->owner->expected_attach_type != fp->expected_attach_type",
                "false",
            ),
        ],
    ),
    *on_x86(
        "tailcall-cgroup-storage-oob",
        "6.12",
        [
            (
                "the owner gets the cookies",
                CORE,
                OWNER_CHECK,
                "map->owner->storage_cookie[i] =\n\t\t\t\taux->cgroup_storage[i] ?\n\t\t\t\taux->cgroup_storage[i]->cookie : 0;",
                ";",
            ),
            (
                "they are compared",
                CORE,
                OWNER_CHECK,
                "ret = map->owner->storage_cookie[i] == cookie ||\n\t\t\t      (!cookie && !aux->tail_call_reachable);",
                "",
            ),
        ],
    ),
    *on_x86(
        "tailcall-cgroup-storage-bridge",
        "6.12",
        [
            ("reachable programs are refused", CORE, OWNER_CHECK, "(!cookie && !aux->tail_call_reachable)", "!cookie"),
            (
                "a program's own tail call counts",
                VERIFIER,
                "check_subprogs",
                "subprog[cur_subprog].tail_call_reachable = true;",
                "",
            ),
        ],
    ),
    *on_x86(
        "tailcall-compat-race",
        "6.12",
        [
            ("the lock", CORE, OWNER_CHECK, "spin_lock(&map->owner_lock);", ""),
            ("the unlock", CORE, OWNER_CHECK, "spin_unlock(&map->owner_lock);", ""),
        ],
    ),
    *on_x86(
        "tailcall-sleepable-callee",
        "7.3",
        [
            ("the owner gets it", CORE, OWNER_CHECK, "map->owner->sleepable = fp->sleepable;", ""),
            ("it is compared", CORE, OWNER_CHECK, " &&\n\t\t      map->owner->sleepable == fp->sleepable", ""),
        ],
    ),
)
