"""Brings a defect to a kernel that never had it, in its machine code."""

from __future__ import annotations

from bench.mutation.jumps import never
from bench.mutation.search import constant, first, jump_behind, memory
from bench.mutation.subject import Instruction, Mutation, MutationError, Subject, replace

__all__ = ["type_by_target"]

_EXT = 0x1C
"""BPF_PROG_TYPE_EXT."""
_PROG_ARRAY = 3
"""BPF_MAP_TYPE_PROG_ARRAY."""
_CHECK = "bpf_prog_map_compatible"


def type_by_target(subject: Subject) -> Mutation:
    """Changes the owner check so that every program with a target counts as a program of the target's type, as
    c04992612ed4 ("bpf: Move bpf map owner out of common struct") has it in 5.15.192. That form compares no hook either
    (`expected_attach_type`), which came later. Raises MutationError if the kernel has no such places.
    """
    code = subject.instructions(_CHECK)
    of_extensions = jump_behind(
        code, first(code, "compare with EXT", lambda item: item.mnemonic == "cmp" and constant(item) == _EXT)
    )
    kind = subject.place("bpf_map", "map_type")

    def asks_for_the_kind(item: Instruction) -> bool:
        where = memory(item)
        return (
            item.mnemonic == "cmp"
            and where is not None
            and (where.width, where.displacement) == ("dword", kind)
            and constant(item) == _PROG_ARRAY
        )

    of_hooks = jump_behind(code, first(code, "compare of the map's type", asks_for_the_kind))
    if of_extensions.mnemonic != "jne" or of_hooks.mnemonic != "je":
        raise MutationError("the owner check is not the one that is known")
    return replace(
        subject,
        _CHECK,
        "only an extension program has its target's type, and hooks are compared",
        [(of_extensions, never(of_extensions)), (of_hooks, never(of_hooks))],
    )
