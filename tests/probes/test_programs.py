"""What a refusal of a tail call in a subprogram means. No program is loaded: a stand-in for bpf(2) refuses as kernels
do.
"""

from __future__ import annotations

import errno

import pytest

from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.instructions import Program
from tailcall_audit.probes.kernel.programs import control, out_of_reach
from tailcall_audit.probes.probe import InconclusiveError, UnreachableError

# kernel/bpf/verifier.c of 6.12.118 and of 7.2.13.
OLD = "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls\n"
NEW = "mixing of tail_calls and bpf-to-bpf calls is not supported\n"


class Refusing(Bpf):
    """A kernel that takes programs without subprograms, and refuses others with these words."""

    def __init__(self, words: str, compiled: bool, number: int = errno.EINVAL) -> None:
        self.words, self.compiled, self.number = words, compiled, number

    def array(self, size: int = 64) -> int:
        return 3

    def prog_array(self, entries: int = 1) -> int:
        return 4

    def put(self, array: int, index: int, program: int) -> None:
        pass

    def run(self, program: int) -> int:
        return 0

    def count(self, array: int, offset: int = 0) -> int:
        return 34

    def is_compiled(self, program: int) -> bool:
        return self.compiled

    def load(self, kind: int, program: Program, **_: object) -> int:
        if len(program.functions) > 1:
            raise BpfError(self.number, "load of chain", self.words)
        return 5


@pytest.mark.parametrize("words", [OLD, NEW])
def test_an_architecture_without_tail_calls_in_subprograms_is_out_of_reach(words: str) -> None:
    with pytest.raises(UnreachableError, match="takes no tail calls in subprograms") as raised:
        control(Refusing(words, compiled=True))
    assert raised.value.lacks == "subprog-tailcalls"


@pytest.mark.parametrize(
    ("words", "compiled", "number"),
    [
        # The JIT is off: the verifier says the same, and nothing was compiled.
        (OLD, False, errno.EINVAL),
        ("the call stack of 9 frames is too deep !\n", True, errno.EINVAL),
        (OLD, True, errno.EPERM),
        ("", True, errno.EINVAL),
    ],
)
def test_another_refusal_only_keeps_the_probe_from_running(words: str, compiled: bool, number: int) -> None:
    with pytest.raises(InconclusiveError) as raised:
        control(Refusing(words, compiled, number))
    assert not isinstance(raised.value, UnreachableError)


def test_where_nothing_says_what_was_compiled_nothing_is_concluded() -> None:
    class Silent(Refusing):
        def is_compiled(self, program: int) -> bool:
            raise BpfError(errno.EPERM, "program info")

    out_of_reach(Silent(OLD, compiled=True), BpfError(errno.EINVAL, "load of chain", OLD))
