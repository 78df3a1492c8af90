"""Tests of what a refusal says: the words of the verifier that a reader looks for, as each kernel writes its log."""

from __future__ import annotations

import errno

import pytest

from tailcall_audit.probes.kernel.bpf import BpfError

# The ends of two logs as guests showed them: 6.18.5, and 7.3.4 with the report that 7.3 adds.
_UNTIL_7_2 = """8: (71) r0 = *(u8 *)(r7 +0)
R7 invalid mem access 'scalar'
processed 18 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
"""
_SINCE_7_3 = """8: (71) r0 = *(u8 *)(r7 +0)
R7 invalid mem access 'scalar'
Verification failed: Register Type Safety: Invalid dereference
Reason:
  R7 is an integer scalar here, not a pointer to memory.
Suggestion:
  Preserve a pointer-valued register where needed, or reload and revalidate the pointer after scalar
  arithmetic, helper calls, or other operations that can invalidate it.
processed 18 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
"""


@pytest.mark.parametrize("log", [_UNTIL_7_2, _SINCE_7_3], ids=["until 7.2", "since 7.3"])
def test_a_refusal_has_the_verifier_s_objection(log: str) -> None:
    error = BpfError(errno.EACCES, "load of unsafe", log)
    assert error.words == "load of unsafe: EACCES (R7 invalid mem access 'scalar')"


def test_a_refusal_without_a_log_has_its_errno() -> None:
    assert BpfError(errno.EPERM, "load of entry").words == "load of entry: EPERM"
