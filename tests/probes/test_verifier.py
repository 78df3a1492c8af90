"""How programs and BTF are handed to the kernel: a log is asked for only of what was refused."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable

import pytest

from tailcall_audit.probes.kernel import verifier
from tailcall_audit.probes.kernel.syscall import BpfError
from tailcall_audit.probes.kernel.verifier import Loading, load_btf, load_program

PROGRAM = struct.Struct("=IIQQIIQII16sIIIIQIIQIII")
BTF = struct.Struct("=QQIII")


class Kernel:
    """Answers bpf(2) calls, and refuses the first ones; it writes its objection into the log, if it is given one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
        self.calls: list[tuple[int, bytes]] = []
        self._refusals = refusals
        monkeypatch.setattr(verifier, "raw_call", self._call)

    def _call(self, command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        self.calls.append((command, attributes))
        if command == 5:
            level, size, log = PROGRAM.unpack(attributes)[4:7]
        else:
            _, log, _, size, level = BTF.unpack(attributes)
        assert bool(level) == bool(size) == bool(log)
        if log:
            assert ctypes.string_at(log) == b""
            ctypes.memmove(log, b"R1 invalid mem access\n\0", 24)
        if len(self.calls) <= self._refusals:
            raise BpfError(errno.EACCES, what)
        return 7, attributes


def _program() -> Loading:
    loading = Loading(6, b"\x95" + bytes(7), "a name of more than 15 bytes", 24, (9, 3), 16)
    loading.btf, loading.records = 5, struct.pack("=4I", 0, 1, 4, 2)
    return loading


def test_a_program_that_loads_is_loaded_once_and_without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, 0)
    assert load_program(_program()) == 7
    ((command, attributes),) = kernel.calls
    values = PROGRAM.unpack(attributes)
    assert (command, values[0], values[1]) == (5, 6, 1)
    assert (values[8], values[9], values[11], values[12]) == (16, b"a name of more \0", 24, 5)
    # Two records of struct bpf_func_info, and the target of a freplace program.
    assert (values[13], values[15], values[19], values[20]) == (8, 2, 3, 9)


def _load_program() -> int:
    return load_program(_program())


def _load_btf() -> int:
    return load_btf(b"\x9f\xeb")


@pytest.mark.parametrize("load", [_load_program, _load_btf])
def test_what_is_refused_is_passed_again_for_its_log(monkeypatch: pytest.MonkeyPatch, load: Callable[[], int]) -> None:
    kernel = Kernel(monkeypatch, 2)
    with pytest.raises(BpfError, match="EACCES") as caught:
        load()
    assert len(kernel.calls) == 2
    assert caught.value.words.endswith("EACCES (R1 invalid mem access)")


def test_a_load_that_succeeds_with_a_log_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, 1)
    assert _load_btf() == 7
    assert [command for command, _ in kernel.calls] == [18, 18]
