"""Shared code of the probes of the verifier: a program that should be refused, and its control that must be accepted.

The programs are only loaded, never run: the observation is that the verifier accepts one.
"""

from __future__ import annotations

import errno

from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError, Function
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import out_of_reach
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Result

__all__ = ["judge"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def judge(
    kernel: Bpf,
    kind: int,
    unsafe: Program,
    control: Program,
    refusals: Sequence[str],
    accepted: str,
    functions: Sequence[Function] = (),
) -> Result:
    """Returns PRESENT if the verifier accepts the unsafe program, ABSENT if it refuses it with one of the fix's
    messages.

    Raises InconclusiveError for any other refusal, because a later rule may be the reason, and if the control is
    refused.
    """
    try:
        kernel.load(kind, control, functions=functions, name="control")
    except BpfError as error:
        out_of_reach(kernel, error)
        raise InconclusiveError(
            f"control: the same without the tail call: {refusal_in_words(kernel, error)}"
        ) from error
    try:
        kernel.load(kind, unsafe, functions=functions, name="unsafe")
    except BpfError as error:
        if error.errno in (errno.EACCES, errno.EINVAL) and any(message in error.log for message in refusals):
            return Result(ABSENT, f"the verifier refuses it ({error.words})")
        out_of_reach(kernel, error)
        raise InconclusiveError(
            f"refused, and not for the reason that the fix gives: {refusal_in_words(kernel, error)}"
        ) from error
    return Result(PRESENT, accepted)
