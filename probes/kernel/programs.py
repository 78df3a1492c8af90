"""Programs that several probes use. Each counts its entries and stops on its own, long before a loop could do harm.

On every kernel from 5.10 to 7.3, a correct chain makes 33 tail calls, so that a program that tail-calls itself is
entered 34 times. `LIMIT` is the number of entries at which the programs stop. In the worst case, the trampoline loop
(pitfall 3), the kernel's stack overflows between 400 and 500 entries.
"""

from __future__ import annotations

import errno
import os

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, R0, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.probe import InconclusiveError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = [
    "HEALTHY",
    "LIMIT",
    "adjust_head",
    "bound",
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
"""Entries of a correct chain: the first one, and one for each of MAX_TAIL_CALL_CNT (33) tail calls."""
LIMIT = 60
_HELPER_XDP_ADJUST_HEAD = 44
INDEX_OFFSET = 8
"""The offset in the counters' value of the index for an indirect tail call. The verifier does not know the index, so
the JIT cannot use it either.
"""


def count_entry(program: Program, counters: int, leave: str, offset: int = 0) -> Program:
    """Counts an entry, and jumps to the label `leave` above the limit. Keeps the context in R6 and uses no stack."""
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
    """Tail-calls an entry of a prog_array, with the context from R6. With a counters map, the index is read from there,
    so that the call is indirect.
    """
    if unknown_index_in is None:
        program.set(R3, index)
    else:
        program.map_value(R3, unknown_index_in, INDEX_OFFSET).load(4, R3, R3, 0)
    return program.mov(R1, R6).map_fd(R2, array).helper(HELPER_TAIL_CALL)


def subprogram(program: Program, array: int | None, unknown_index_in: int | None = None) -> Program:
    """Adds the subprogram ``sub``, which tail-calls entry 0 of a prog_array. With None, or if the tail call fails, it
    returns 0.
    """
    program.function("sub").mov(R6, R1)
    if array is not None:
        tail_call(program, array, unknown_index_in=unknown_index_in)
    return return_value(program)


def return_value(program: Program, value: int = 0, label: str | None = None) -> Program:
    """Returns a value. Sets a label first if one is given."""
    if label is not None:
        program.label(label)
    return program.set(R0, value).exit()


def adjust_head(program: Program) -> Program:
    """Calls bpf_xdp_adjust_head(ctx, 0), so that the program changes packet data.

    Since 6.12, the kernel refuses a freplace program that changes packet data (as every tail call does) for a target
    that does not; see Linux kernel commit 81f6d0530ba0 ("bpf: check changes_pkt_data property for extension programs")
    (in v6.13).
    """
    return program.mov(R1, R6).set(R2, 0).helper(_HELPER_XDP_ADJUST_HEAD)


def load_simple(kernel: Bpf, kind: int) -> int:
    """Loads a program that only returns 1, which all types except tracing accept."""
    return kernel.load(kind, return_value(Program().function("nothing"), 1), name="nothing")


def chain(counters: int, array: int, *, through_subprogram: bool, calls: int = 1, indirect: bool = False) -> Program:
    """Returns a program that tail-calls entry 0 of a prog_array, directly or in a subprogram that it calls `calls`
    times.
    """
    index = counters if indirect else None
    program = count_entry(Program().function("entry"), counters, "leave")
    if not through_subprogram:
        return return_value(tail_call(program, array, unknown_index_in=index), label="leave")
    for _ in range(calls):
        program.mov(R1, R6).call("sub")
    return_value(program, label="leave")
    return subprogram(program, array, index)


def count_chain(kernel: Bpf, kind: int, *, through_subprogram: bool, calls: int = 1, indirect: bool = False) -> int:
    """Runs a program from `chain` that tail-calls itself, and returns how many times it was entered."""
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
"""Messages of check_map_func_compatibility() if the JIT is off or cannot pass the count between subprograms: in 5.10 to
7.1, from 7.2 on, and before 5.10.
"""


_NOT_WITHOUT_JIT = (
    *_NOT_BETWEEN_SUBPROGRAMS,
    "callbacks are not allowed in non-JITed programs",
    "Can attach to only JITed progs",
)
"""Messages of the verifier about programs that require the JIT."""


def needs_jit(kernel: Bpf, kind: int = bpf.SOCKET_FILTER) -> None:
    """Raises UnreachableError if this kernel has no JIT, that is, if it compiles nothing and has no setting for the
    JIT.

    The error names no architecture capability. It confirms a prediction that rests on a configuration without
    CONFIG_BPF_JIT, and has no other effect. The setting is also invisible to a process in its own network namespace.
    """
    if not os.path.exists("/proc/sys/net/core/bpf_jit_enable") and not _compiles(kernel, kind):
        raise UnreachableError(
            "",
            "cannot be reached: this kernel compiles no BPF program, and has no net.core.bpf_jit_enable (CONFIG_BPF_JIT)",
        )


def _compiles(kernel: Bpf, kind: int) -> bool:
    """Returns True if the JIT compiles a program without subprograms, or if that cannot be determined."""
    try:
        return kernel.is_compiled(load_simple(kernel, kind))
    except BpfError:
        return True


def out_of_reach(kernel: Bpf, error: BpfError, kind: int = bpf.SOCKET_FILTER) -> None:
    """Raises UnreachableError if the kernel's refusal means that this architecture has no tail calls in subprograms, or
    that this kernel has no JIT.

    The verifier gives the same message if the JIT is off. The first conclusion is therefore drawn only if a program
    without subprograms was compiled.
    """
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


_healthy: set[tuple[int, bool, bool]] = set()
"""The control chains that this process has seen to be entered 34 times: type, in a subprogram, indirect."""


def control(kernel: Bpf, kind: int = bpf.SOCKET_FILTER, *, subprograms: bool = True) -> None:
    """Runs the control chains, direct and indirect, plain and (unless `subprograms` is False) in a subprogram. Each
    must be entered 34 times. Raises InconclusiveError otherwise. A chain that passed is not run again in the process.
    """
    needs_jit(kernel, kind)
    for through, name in ((False, "a plain tail call"), (True, "a tail call in a subprogram"))[: 1 + subprograms]:
        for indirect in (False, True):
            if (kind, through, indirect) in _healthy:
                continue
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
            _healthy.add((kind, through, indirect))


def bound(call: Callable[P, R], *values: P.args, **named: P.kwargs) -> Callable[[], R]:
    """Returns a call with these arguments, for `expect`. A guest would have to load functools for functools.partial."""
    return lambda: call(*values, **named)


def expect(kernel: Bpf, call: Callable[[], int | None], what: str) -> int:
    """Returns the result of a step that must succeed before the probe can decide anything. Raises InconclusiveError if
    it fails.
    """
    try:
        return call() or 0
    except BpfError as error:
        out_of_reach(kernel, error)
        raise InconclusiveError(f"{what}: {refusal_in_words(kernel, error)}") from error


def refusal_of_put(kernel: Bpf, array: int, program: int, what: str) -> str | None:
    """Puts a program into a prog_array. Returns None if the kernel accepts it, and its message if it fails with EINVAL.
    Raises InconclusiveError, with `what` in the message, for any other error.
    """
    try:
        kernel.put(array, 0, program)
    except BpfError as error:
        if error.errno != errno.EINVAL:
            raise InconclusiveError(f"{what}: {refusal_in_words(kernel, error)}") from error
        return error.words
    return None
