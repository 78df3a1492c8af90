"""Programs that the probes share. Each counts its entries and stops on its own, long before a loop could hurt.

A healthy kernel lets a chain of tail calls run 33 times, so a program that calls itself is entered 34 times: on every
kernel from 5.10 to 7.3. `LIMIT` is where the programs stop themselves: the kernel's stack overflows between 400 and 500
entries of the trampoline loop (pitfall 3), which is the least of all.
"""

from __future__ import annotations

import errno
import os

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL, R0, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.probe import InconclusiveError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HEALTHY",
    "LIMIT",
    "adjust_head",
    "chain",
    "control",
    "count_chain",
    "count_entry",
    "expect",
    "load_simple",
    "needs_jit",
    "out_of_reach",
    "refusal_of_put",
    "return_value",
    "subprogram",
    "tail_call",
]

HEALTHY = 34
"""Entries: one, and MAX_TAIL_CALL_CNT (33) tail calls."""
LIMIT = 60
_HELPER_XDP_ADJUST_HEAD = 44
INDEX_OFFSET = 8
"""The counters' value holds the index for an indirect tail call: the verifier doesn't know it, so the JIT can't either.
"""


def count_entry(program: Program, counters: int, leave: str, offset: int = 0) -> Program:
    """Counts this entry, and goes to the label `leave` after too many. R6 keeps the context; no stack is used."""
    return (
        program.mov(R6, R1)
        .map_value(R1, counters, offset)
        .load(8, R2, R1, 0)
        .alu(R2, "+", 1)
        .store(8, R1, 0, R2)
        .jump_if(R2, ">", LIMIT, leave)
        .mov(R1, R6)
    )


def tail_call(program: Program, array: int, index: int = 0, unknown_index_in: int | None = None) -> Program:
    """Tail-calls an entry of a prog_array; the context is in R6. With a counters map the index comes from there: an
    indirect jump.
    """
    if unknown_index_in is None:
        program.set(R3, index)
    else:
        program.map_value(R3, unknown_index_in, INDEX_OFFSET).load(4, R3, R3, 0)
    return program.mov(R1, R6).map_fd(R2, array).helper(HELPER_TAIL_CALL)


def subprogram(program: Program, array: int | None, unknown_index_in: int | None = None) -> Program:
    """Adds the subprogram ``sub``, which tail-calls entry 0 of a prog_array (None: makes no tail call), or else returns
    0.
    """
    program.function("sub").mov(R6, R1)
    if array is not None:
        tail_call(program, array, unknown_index_in=unknown_index_in)
    return return_value(program)


def return_value(program: Program, value: int = 0, label: str | None = None) -> Program:
    """Returns a value, at a label if one is named."""
    if label is not None:
        program.label(label)
    return program.set(R0, value).exit()


def adjust_head(program: Program) -> Program:
    """Calls bpf_xdp_adjust_head(ctx, 0): the program changes packet data.

    Since 6.12 a freplace program that does so (every tail call counts) is refused for a target that does not, see Linux
    kernel commit 81f6d0530ba0 ("bpf: check changes_pkt_data property for extension programs") (in v6.13).
    """
    return program.mov(R1, R6).set(R2, 0).helper(_HELPER_XDP_ADJUST_HEAD)


def load_simple(kernel: Bpf, kind: int) -> int:
    """Loads a program that only returns 1, which every type but tracing may."""
    return kernel.load(kind, return_value(Program().function("nothing"), 1), name="nothing")


def chain(counters: int, array: int, *, through_subprogram: bool, calls: int = 1, indirect: bool = False) -> Program:
    """A program that tail-calls entry 0 of a prog_array: itself, or in a subprogram that it calls so many times."""
    index = counters if indirect else None
    program = count_entry(Program().function("entry"), counters, "leave")
    if not through_subprogram:
        return return_value(tail_call(program, array, unknown_index_in=index), label="leave")
    for _ in range(calls):
        program.mov(R1, R6).call("sub")
    return_value(program, label="leave")
    return subprogram(program, array, index)


def count_chain(kernel: Bpf, kind: int, *, through_subprogram: bool, calls: int = 1, indirect: bool = False) -> int:
    """Runs such a chain, which is its own callee, and returns how often it was entered."""
    counters, array = kernel.array(), kernel.prog_array()
    program = chain(counters, array, through_subprogram=through_subprogram, calls=calls, indirect=indirect)
    entry = kernel.load(kind, program, name="chain")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


_NOT_BETWEEN_SUBPROGRAMS = (
    "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls",
    "mixing of tail_calls and bpf-to-bpf calls is not supported",
    "tail_calls are not allowed in programs with bpf-to-bpf calls",
)
"""The words of check_map_func_compatibility() if the JIT is off or cannot pass the count between subprograms: 5.10 to
7.1, from 7.2 on, and before 5.10.
"""


_NOT_WITHOUT_JIT = (
    *_NOT_BETWEEN_SUBPROGRAMS,
    "callbacks are not allowed in non-JITed programs",
    "Can attach to only JITed progs",
)
"""The verifier's words about programs that need the JIT."""


def needs_jit(kernel: Bpf, kind: int = bpf.SOCKET_FILTER) -> None:
    """Raises UnreachableError if this kernel has no JIT: it compiles nothing, and has no setting for it.

    This names no capability of an architecture: it confirms the prediction of a configuration without CONFIG_BPF_JIT,
    and changes nothing else. In its own network namespace a process does not see the setting either.
    """
    if not os.path.exists("/proc/sys/net/core/bpf_jit_enable") and not _compiles(kernel, kind):
        raise UnreachableError(
            "",
            "cannot be reached: this kernel compiles no BPF program, and has no net.core.bpf_jit_enable (CONFIG_BPF_JIT)",
        )


def _compiles(kernel: Bpf, kind: int) -> bool:
    """Returns True if the JIT takes a program without subprograms, or if that cannot be seen."""
    try:
        return kernel.is_compiled(load_simple(kernel, kind))
    except BpfError:
        return True


def out_of_reach(kernel: Bpf, error: BpfError, kind: int = bpf.SOCKET_FILTER) -> None:
    """Raises UnreachableError if a refusal says that this architecture cannot tail-call from subprograms, or that this
    kernel has no JIT.

    The verifier says the same where the JIT is off, so a program without subprograms must have been compiled."""
    if error.errno != errno.EINVAL or not any(words in error.log for words in _NOT_WITHOUT_JIT):
        return
    needs_jit(kernel, kind)
    said = next((words for words in _NOT_BETWEEN_SUBPROGRAMS if words in error.log), None)
    if said is None:
        return
    try:
        compiled = kernel.is_compiled(load_simple(kernel, kind))
    except BpfError:
        return
    if compiled:
        raise UnreachableError(
            "subprog-tailcalls",
            f"cannot be reached: this architecture's JIT takes no tail calls in subprograms ({error.what}: {said}), and it"
            " compiles programs without",
        ) from error


def control(kernel: Bpf, kind: int = bpf.SOCKET_FILTER, *, subprograms: bool = True) -> None:
    """Runs the controls: the plain chains, also that of a subprogram unless `subprograms` is False, must run 34 times,
    direct and indirect. Raises InconclusiveError otherwise.
    """
    needs_jit(kernel, kind)
    for through, name in ((False, "a plain tail call"), (True, "a tail call in a subprogram"))[: 1 + subprograms]:
        for indirect in (False, True):
            try:
                entries = count_chain(kernel, kind, through_subprogram=through, indirect=indirect)
            except BpfError as error:
                out_of_reach(kernel, error)
                raise InconclusiveError(f"control: {name}: {refusal_in_words(kernel, error)}") from error
            if entries != HEALTHY:
                how = "with an index known at run time only" if indirect else "with a constant index"
                raise InconclusiveError(
                    f"control: {name} {how} was entered {entries} times instead of {HEALTHY}, so nothing else can be judged"
                )


def expect(kernel: Bpf, call: Callable[[], int | None], what: str) -> int:
    """Returns the result of a step that must work before anything can be said; raises InconclusiveError."""
    try:
        return call() or 0
    except BpfError as error:
        out_of_reach(kernel, error)
        raise InconclusiveError(f"{what}: {refusal_in_words(kernel, error)}") from error


def refusal_of_put(kernel: Bpf, array: int, program: int, what: str) -> str | None:
    """Puts a program into a prog_array. Returns None if it is taken, else the kernel's words of an EINVAL; raises
    InconclusiveError, which names `what`, on another error.
    """
    try:
        kernel.put(array, 0, program)
    except BpfError as error:
        if error.errno != errno.EINVAL:
            raise InconclusiveError(f"{what}: {refusal_in_words(kernel, error)}") from error
        return error.words
    return None
