"""What a refusal of a tail call in a subprogram means. No program is loaded: a stand-in for bpf(2) refuses as kernels
do.
"""

from __future__ import annotations

import errno

import pytest

from tailcall_audit.probes.defects.freplace import attach_extension
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
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

    refusal = BpfError(errno.EINVAL, "load of chain", OLD)
    out_of_reach(Silent(OLD, compiled=True), refusal)
    with pytest.raises(UnreachableError):
        out_of_reach(Refusing(OLD, compiled=True), refusal)


@pytest.mark.parametrize("words", [OLD, NEW, "callbacks are not allowed in non-JITed programs\n"])
def test_a_kernel_without_a_jit_is_out_of_reach_by_no_capability(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Debian builds s390x: no program is compiled, and there is no setting for it."""
    monkeypatch.setattr("tailcall_audit.probes.kernel.programs.os.path.exists", lambda _: False)
    refusing = Refusing(words, compiled=False)
    with pytest.raises(UnreachableError, match="CONFIG_BPF_JIT") as raised:
        control(refusing)
    assert raised.value.lacks == ""
    with pytest.raises(UnreachableError, match="CONFIG_BPF_JIT"):
        out_of_reach(refusing, BpfError(errno.EINVAL, "load of chain", words))


def test_a_process_that_sees_no_setting_is_judged_by_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """net.core.bpf_jit_enable is not shown in a network namespace of its own."""
    monkeypatch.setattr("tailcall_audit.probes.kernel.programs.os.path.exists", lambda _: False)
    with pytest.raises(UnreachableError) as raised:
        control(Refusing(NEW, compiled=True))
    assert raised.value.lacks == "subprog-tailcalls"


def test_what_needs_no_tail_call_in_a_subprogram_is_judged_without_one() -> None:
    """riscv64 before 7.3 counts empty slots, and takes no tail calls in subprograms."""
    control(Refusing(NEW, compiled=True), subprograms=False)
    with pytest.raises(UnreachableError):
        control(Refusing(NEW, compiled=True), subprograms=True)


@pytest.mark.parametrize(("number", "lacks"), [(524, "freplace-attach"), (errno.EBUSY, None)])
def test_an_architecture_that_attaches_no_freplace_is_out_of_reach(number: int, lacks: str | None) -> None:
    class Attaching(Refusing):
        def attach(self, program: int, attach_type: int = 0) -> int:
            raise BpfError(number, "attach")

    with pytest.raises(UnreachableError if lacks else BpfError) as raised:
        attach_extension(Attaching("", compiled=True), 5)
    assert getattr(raised.value, "lacks", None) == lacks
