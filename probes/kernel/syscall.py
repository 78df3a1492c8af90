"""The system call bpf(2) itself, with ctypes: its number on each architecture, its errors, one call."""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["ENOTSUPP", "LIBC", "BpfError", "buffer_of", "machine_is_known", "number_of_bpf", "raw_call"]

LIBC = ctypes.CDLL(None, use_errno=True)
# syscall(2) takes longs. Architectures treat the upper half of a 32-bit argument differently.
LIBC.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
LIBC.syscall.restype = ctypes.c_long
_SYSCALL = {"x86_64": 321, "aarch64": 280, "loongarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_UNTESTED = {"ppc64": 361, "i686": 357, "armv7l": 386, "mips64": 5315, "sparc64": 349}
"""Numbers of bpf(2) on architectures where no probe has been run yet, taken from their syscall tables."""
_NUMBER = (_SYSCALL | _UNTESTED).get(os.uname().machine)
"""The number of bpf(2) on the machine that runs this; None if it is not known."""

ENOTSUPP = 524
"""A kernel-internal error number, which user space sees if the JIT or the architecture refuses an operation."""


def _named(number: int) -> str:
    return "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))


_REPORT = "\nVerification failed: "


class BpfError(OSError):
    """A bpf(2) call that the kernel refused: `errno`, the call, and the end of the verifier's log if there is one."""

    def __init__(self, number: int, what: str, log: str = "") -> None:
        super().__init__(number, f"{what}: {_named(number)}")
        self.what = what
        self.log = log

    @property
    def words(self) -> str:
        """The error on one line: ``load of entry: EACCES (invalid mem access 'scalar')``."""
        # The verifier's log ends with statistics and, since 7.3, a readable report. The objection is on the line before
        # these.
        objection = self.log.partition(_REPORT)[0]
        lines = [
            line
            for line in objection.split("\n")
            if line.strip() and not line.startswith(("processed ", "verification time", "stack depth"))
        ]
        said = f" ({lines[-1].strip()[:300]})" if lines else ""
        return f"{self.what}: {_named(self.errno or 0)}{said}"


def machine_is_known() -> bool:
    """Returns True if probes have been run on this architecture before, so that its number of bpf(2) is verified."""
    return os.uname().machine in _SYSCALL


def number_of_bpf() -> int:
    """Returns the number of bpf(2) on this architecture; raises BpfError if it is not known."""
    if _NUMBER is None:
        raise BpfError(errno.ENOSYS, f"no number for bpf(2) on {os.uname().machine} is known here")
    return _NUMBER


def raw_call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """Makes one bpf(2) call. Returns its result and the attributes as the kernel left them. Raises BpfError."""
    buffer = buffer_of(attributes)
    result: int = LIBC.syscall(number_of_bpf(), command, buffer, len(attributes))
    if result < 0:
        raise BpfError(ctypes.get_errno(), what)
    return result, buffer.raw


def buffer_of(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Returns a buffer with these bytes, for the kernel to read and write."""
    return ctypes.create_string_buffer(data, len(data))
