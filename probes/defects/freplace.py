"""Shared code of the freplace probes: a target with a function to replace, and a replacement that tail-calls."""

from __future__ import annotations

import errno

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R1, R6, Program
from tailcall_audit.probes.kernel.bpf import ENOTSUPP, Bpf, BpfError, Function, function_number
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import (
    adjust_head,
    count_entry,
    expect,
    load_simple,
    needs_jit,
    refusal_of_put,
    return_value,
    tail_call,
)
from tailcall_audit.probes.probe import ABSENT, InconclusiveError, Result, UnreachableError

__all__ = [
    "attach_extension",
    "claim",
    "extension",
    "extension_is_refused",
    "extension_of",
    "resolves_target_type",
    "target",
]

_REPLACEABLE = 1
"""The number of the function of `target` that can be replaced."""


def target(kernel: Bpf, counters: int | None = None, kind: int = bpf.XDP) -> int:
    """Loads a program whose global subprogram can be replaced; with `counters` it counts its entries."""
    program = Program().function("entry")
    if counters is None:
        program.mov(R6, R1)
    else:
        count_entry(program, counters, "leave")
    return_value(program.mov(R1, R6).call("sub"), label="leave")
    program.function("sub").mov(R6, R1)
    if kind == bpf.XDP:
        adjust_head(program)
    return_value(program)
    functions = (Function("entry", True), Function("sub", True))
    return kernel.load(kind, program, functions=functions, name="target")


def extension(kernel: Bpf, replaced: int, array: int | None = None) -> int:
    """Loads a freplace program for the subprogram of `target`; with a prog_array it tail-calls entry 0 of it."""
    program = Program().function("replacement").mov(R6, R1)
    if array is not None:
        tail_call(program, array)
    return kernel.load(
        bpf.EXT,
        return_value(program),
        functions=(Function("replacement", True),),
        context=bpf.CONTEXTS[bpf.XDP],
        target=(replaced, function_number(_REPLACEABLE)),
        name="extension",
    )


def extension_of(kernel: Bpf, what: str = "a freplace program") -> tuple[int, int]:
    """Loads a target and a freplace program for it that does nothing. Raises InconclusiveError if the kernel refuses
    one.
    """
    needs_jit(kernel, bpf.XDP)
    replaced = expect(kernel, lambda: target(kernel), "a program to replace a function of")
    return replaced, expect(kernel, lambda: extension(kernel, replaced), what)


def attach_extension(kernel: Bpf, program: int) -> int:
    """Attaches a freplace program and returns the link. Raises BpfError, or UnreachableError if the architecture cannot
    attach one: bpf_arch_text_poke() or the trampoline returns ENOTSUPP. A missing JIT is not the reason: without it the
    kernel would not have loaded the freplace program.
    """
    try:
        return kernel.attach(program)
    except BpfError as error:
        if error.errno == ENOTSUPP:
            raise UnreachableError(
                "freplace-attach", f"cannot be reached: this architecture attaches no freplace program ({error.words})"
            ) from error
        raise


def claim(kernel: Bpf, kind: int) -> int:
    """Returns a prog_array that a program of this type owns: the first one to tail-call into it, see
    bpf_prog_map_compatible().
    """
    array = kernel.prog_array()
    program = return_value(tail_call(Program().function("owner").mov(R6, R1), array))
    kernel.load(kind, program, name="owner")
    return array


def resolves_target_type(kernel: Bpf) -> str | None:
    """Returns None if the owner check gives a freplace program the type of its target (pitfall 1 is absent), otherwise
    the kernel's refusal. Raises InconclusiveError if the control, a target of another type than the owner's, is not
    refused.
    """
    replaced, _ = extension_of(kernel)
    same = expect(kernel, lambda: claim(kernel, bpf.XDP), "a prog_array owned by an XDP program")
    other = expect(kernel, lambda: claim(kernel, bpf.SCHED_CLS), "a prog_array owned by a TC program")
    try:
        extension(kernel, replaced, other)
    except BpfError as error:
        if error.errno != errno.EINVAL:
            raise InconclusiveError(
                f"control: a tail call into another type's prog_array: {refusal_in_words(kernel, error)}"
            ) from error
    else:
        raise InconclusiveError(
            "control: a freplace program of an XDP program may tail-call into a TC program's prog_array"
        )
    try:
        extension(kernel, replaced, same)
    except BpfError as error:
        if error.errno != errno.EINVAL or error.log.strip().endswith("not supported"):
            raise InconclusiveError(f"a freplace program that tail-calls: {refusal_in_words(kernel, error)}") from error
        return error.words
    return None


def extension_is_refused(kernel: Bpf) -> str | None:
    """Returns the kernel's error text if no freplace program may enter a prog_array, as with the fix of pitfall 6; None
    if one may enter.

    Linux kernel commit d6083f040d5d ("bpf: Prevent tailcall infinite loop caused by freplace") (in v6.13). Nothing is
    attached, and the prog_array is empty and has no owner, so no other check refuses.
    """
    _, replacement = extension_of(kernel)
    array = kernel.prog_array()
    control = load_simple(kernel, bpf.XDP)
    expect(kernel, lambda: kernel.put(kernel.prog_array(), 0, control), "control: an XDP program in a prog_array")
    return refusal_of_put(kernel, array, replacement, "a freplace program in an empty prog_array")


def look_only(kernel: Bpf) -> Result:
    """Returns the result for pitfall 5 on a host, with nothing attached, if that shows that the defect cannot be
    reached. Raises InconclusiveError if only a guest can show it.
    """
    refusal = extension_is_refused(kernel)
    if refusal is not None:
        return Result(
            ABSENT, f"cannot be reached: no freplace program may enter a prog_array, attached or not ({refusal})"
        )
    if resolves_target_type(kernel) is not None:
        return Result(
            ABSENT,
            "cannot be reached: the owner check does not resolve the type of a freplace program (pitfall 1)",
            False,
        )
    raise InconclusiveError(
        "only a guest can show this: putting an attached freplace program into a prog_array may panic this kernel"
    )
