"""What a refusal says: the words of the verifier that a reader looks for, as each kernel writes its log. What a
program's machine code is.
"""

from __future__ import annotations

import ctypes
import errno
import struct

import pytest

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError

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


@pytest.mark.parametrize(("is_shown", "expected"), [(True, b"\x13\0\0\0"), (False, b"")])
def test_machine_code_is_what_the_kernel_shows_of_it(
    is_shown: bool, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bpf_prog_get_info_by_fd() clears the address of a buffer that it may not fill (bpf_dump_raw_ok())."""

    def call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        assert (command, what) == (15, "program info")
        program, size, address = struct.unpack("=IIQ", attributes)
        assert (program, size) == (7, 64)
        info = (ctypes.c_char * size).from_address(address)
        length, code = struct.unpack_from("=I", info.raw, 16)[0], struct.unpack_from("=Q", info.raw, 24)[0]
        assert info.raw[20:24] == bytes(4)
        assert info.raw[32:] == bytes(32), "no other buffer is offered"
        if length:
            ctypes.memmove(code, b"\x13\0\0\0" if is_shown else bytes(4), min(length, 4))
        struct.pack_into("=I4xQ", info, 16, 4, code if is_shown else 0)
        return 0, b""

    monkeypatch.setattr(bpf, "raw_call", call)
    assert Bpf().machine_code(7) == expected
