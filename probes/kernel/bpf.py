"""bpf(2) by ctypes: maps, programs, BTF, links, test runs. Every descriptor of a session is closed with it.

The layouts of ``union bpf_attr`` are those of include/uapi/linux/bpf.h, in the machine's byte order; a kernel takes a
shorter one than it knows, and a longer one as long as what it does not know is zero.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tailcall_audit.probes.kernel.btf import GLOBAL, STATIC
from tailcall_audit.probes.kernel.btf_writer import Writer
from tailcall_audit.probes.kernel.instructions import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["Bpf", "BpfError", "Function", "function_number", "machine_is_known", "raw_call"]

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_UNTESTED = {"loongarch64": 280, "ppc64": 361, "i686": 357, "armv7l": 386, "mips64": 5315, "sparc64": 349}
"""bpf(2) of architectures on which no probe was ever run: the numbers are those of their syscall tables."""

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_PROG_LOAD, _TEST_RUN, _PROG_FD_BY_ID, _MAP_FD_BY_ID = 5, 10, 13, 14
_INFO_BY_FD, _RAW_TRACEPOINT_OPEN, _BTF_LOAD, _LINK_CREATE = 15, 17, 18, 28

ARRAY, PROG_ARRAY, CGROUP_STORAGE = 2, 3, 19
SOCKET_FILTER, KPROBE, SCHED_CLS, XDP, CGROUP_SKB, CGROUP_SOCK_ADDR, TRACING, EXT = 1, 2, 3, 6, 8, 18, 26, 28
SLEEPABLE = 16
"""BPF_F_SLEEPABLE."""
INET4_CONNECT, INET6_CONNECT, FENTRY, FEXIT = 10, 11, 24, 25
"""enum bpf_attach_type."""

CONTEXTS = {SOCKET_FILTER: "__sk_buff", SCHED_CLS: "__sk_buff", CGROUP_SKB: "__sk_buff", XDP: "xdp_md"}
"""The name of a program's context in BTF: btf_get_prog_ctx_type() compares names."""

_LOG_SIZE = 1 << 16
_RECORD_SIZE = 8
"""Bytes of struct bpf_func_info."""
_PACKET = bytes(64)
_RLIMIT_MEMLOCK = 8
_libc = ctypes.CDLL(None, use_errno=True)


ENOTSUPP = 524
"""The kernel's own error, which it leaks to user space where the JIT or the architecture refuses."""


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
        """The error in one line: ``load of entry: EACCES (invalid mem access 'scalar')``."""
        # The verifier's last line has statistics, and since 7.3 a report for people follows. Its objection comes before.
        objection = self.log.partition(_REPORT)[0]
        lines = [
            line
            for line in objection.split("\n")
            if line.strip() and not line.startswith(("processed ", "verification time", "stack depth"))
        ]
        said = f" ({lines[-1].strip()[:300]})" if lines else ""
        return f"{self.what}: {_named(self.errno or 0)}{said}"


class Function:
    """How BTF describes one function of a program: its name, and whether it is global (verified apart, and
    replaceable).
    """

    def __init__(self, name: str, is_global: bool) -> None:
        self.name = name
        self.is_global = is_global


def machine_is_known() -> bool:
    """Returns True if the number of bpf(2) on this machine is one that the probes were run with."""
    return os.uname().machine in _SYSCALL


def _number() -> int:
    machine = os.uname().machine
    number = _SYSCALL.get(machine) or _UNTESTED.get(machine)
    if number is None:
        raise BpfError(errno.ENOSYS, f"no number for bpf(2) on {machine} is known here")
    return number


def raw_call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """Makes one bpf(2) call. Returns its result and the attributes as the kernel left them; raises BpfError."""
    buffer = _buffer(attributes)
    # syscall(2) takes longs, and each architecture treats the upper half of a 32-bit argument in its own way.
    words = (ctypes.c_long(_number()), ctypes.c_long(command), buffer, ctypes.c_long(len(attributes)))
    result: int = _libc.syscall(*words)
    if result < 0:
        raise BpfError(ctypes.get_errno(), what)
    return result, buffer.raw


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


class _Loading:
    """A program to load: its type, its code, and what `Bpf.load` was asked for. `records` has the place and BTF number
    of each function.

    (No named tuple: a guest would load `typing` for it.)
    """

    def __init__(
        self, kind: int, code: bytes, name: str, attach_type: int, target: tuple[int, int] | None, flags: int
    ) -> None:
        self.kind = kind
        self.code = code
        self.name = name
        self.attach_type = attach_type
        self.target = target
        self.flags = flags
        self.btf = 0
        self.records = b""


class Bpf:
    """A session: all that is made in it is gone after it. The methods raise BpfError."""

    def __init__(self) -> None:
        _number()
        self._descriptors: list[int] = []
        self.ids: list[tuple[str, int]] = []
        # Before 5.11 memory of maps and programs counts against RLIMIT_MEMLOCK, whose 64 KiB look like a missing privilege.
        unlimited = struct.pack("=QQ", 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
        self.memlock_raised = _libc.setrlimit(_RLIMIT_MEMLOCK, unlimited) == 0

    def __enter__(self) -> Bpf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every descriptor, the newest first: links go before their programs."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _call(self, command: int, attributes: bytes, what: str) -> int:
        result, self._answer = raw_call(command, attributes, what)
        return result

    def _keep(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def _remember(self, kind: str, descriptor: int) -> None:
        """Notes the kernel's id of an object, by which the runner checks that it is gone afterwards."""
        info = ctypes.create_string_buffer(64)
        attributes = struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info))
        try:
            self._call(_INFO_BY_FD, attributes, "object info")
        except BpfError:
            return
        self.ids.append((kind, struct.unpack_from("=I", info.raw, 4)[0]))

    def is_compiled(self, program: int) -> bool:
        """Returns True if the JIT compiled a program: struct bpf_prog_info.jited_prog_len, which takes CAP_BPF. Raises
        BpfError.
        """
        info = ctypes.create_string_buffer(64)
        self._call(_INFO_BY_FD, struct.pack("=IIQ", program, len(info), ctypes.addressof(info)), "program info")
        return bool(struct.unpack_from("=I", info.raw, 16)[0])

    def exists(self, kind: str, number: int) -> bool:
        """Returns True if the kernel still has a program ("prog") or map ("map"); needs CAP_SYS_ADMIN."""
        command = _PROG_FD_BY_ID if kind == "prog" else _MAP_FD_BY_ID
        try:
            os.close(self._call(command, struct.pack("=III", number, 0, 0), f"{kind} by number"))
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def map(self, kind: int, key: int, value: int, entries: int) -> int:
        """Makes a map: sizes in bytes. Returns its descriptor."""
        attributes = struct.pack("=5I", kind, key, value, entries, 0)
        descriptor = self._keep(self._call(_MAP_CREATE, attributes, f"map of type {kind}"))
        self._remember("map", descriptor)
        return descriptor

    def prog_array(self, entries: int = 1) -> int:
        """Makes an empty prog_array."""
        return self.map(PROG_ARRAY, 4, 4, entries)

    def array(self, size: int = 64) -> int:
        """Makes an array of one value, `size` bytes of zeros."""
        return self.map(ARRAY, 4, size, 1)

    def put(self, array: int, index: int, program: int) -> None:
        """Puts a program into a prog_array."""
        self.write(array, struct.pack("=I", program), index)

    def write(self, array: int, value: bytes, index: int = 0) -> None:
        """Sets a value of an array."""
        key, kept = _buffer(struct.pack("=I", index)), _buffer(value)
        attributes = struct.pack("=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(kept), 0)
        self._call(_MAP_UPDATE, attributes, "update of the map")

    def read(self, array: int, size: int) -> bytes:
        """Returns the first `size` bytes of an array's only value (all of it: the kernel copies a whole value)."""
        key, value = _buffer(struct.pack("=I", 0)), ctypes.create_string_buffer(max(size, 64))
        attributes = struct.pack("=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        self._call(_MAP_LOOKUP, attributes, "lookup in the map")
        return value.raw[:size]

    def count(self, array: int, offset: int = 0) -> int:
        """A counter, 64 bits wide, in an array's only value."""
        return int(struct.unpack_from("=Q", self.read(array, 64), offset)[0])

    def btf(self, functions: Sequence[Function], context: str) -> int:
        """Loads BTF for functions that take a pointer to their context and return an int, numbered as `function_number`
        says.
        """
        writer = Writer()
        number = writer.integer("int", 4)
        pointer = writer.pointer(writer.struct(context, 4, [("x", number, 0)]))
        prototype = writer.prototype(number, [("ctx", pointer)])
        for function in functions:
            writer.function(function.name, prototype, GLOBAL if function.is_global else STATIC)
        data = _buffer(writer.encode())
        log = ctypes.create_string_buffer(_LOG_SIZE)
        attributes = struct.pack("=QQIII", ctypes.addressof(data), ctypes.addressof(log), len(data), len(log), 1)
        try:
            return self._keep(self._call(_BTF_LOAD, attributes, "load of BTF"))
        except BpfError as error:
            raise BpfError(error.errno or 0, error.what, log.value.decode("utf-8", "replace")) from None

    def load(
        self,
        kind: int,
        program: Program,
        *,
        functions: Sequence[Function] = (),
        context: str | None = None,
        target: tuple[int, int] | None = None,
        attach_type: int = 0,
        flags: int = 0,
        name: str = "tca",
    ) -> int:
        """Loads a program of this type. Returns its descriptor.

        `functions` describes each of its functions, in order, for BTF: a program with subprograms that tail-call must
        have it (check_subprogs(), "tail_call is not allowed in subprogs without BTF"), so without it they are taken
        for static. `target` is the descriptor of the program that a freplace or tracing program is for, and the BTF
        number there of the function that it replaces or traces (see `function_number`). `attach_type` is the expected
        attach type, 0 if none is asked for: with BPF_XDP, a loader's default, 6.1 behaves differently. `flags` are
        BPF_F_*.
        """
        if not functions and len(program.functions) > 1:
            functions = [Function(function, number == 0) for number, function in enumerate(program.functions)]
        loading = _Loading(kind, program.encode(), name, attach_type, target, flags)
        if functions:
            loading.btf = self.btf(functions, context or CONTEXTS[kind])
            loading.records = b"".join(
                struct.pack("=II", offset, function_number(index))
                for index, offset in enumerate(program.functions.values())
            )
        log = ctypes.create_string_buffer(_LOG_SIZE)
        try:
            descriptor = self._load(loading, None)
        except BpfError:
            try:
                descriptor = self._load(loading, log)  # once more, for the verifier's words
            except BpfError as error:
                raise BpfError(error.errno or 0, error.what, log.value.decode("utf-8", "replace")) from None
        self._remember("prog", descriptor)
        return descriptor

    def _load(self, loading: _Loading, log: ctypes.Array[ctypes.c_char] | None) -> int:
        """Passes a program to the verifier, which writes its findings into `log`."""
        insns, license_, infos = _buffer(loading.code), _buffer(b"GPL\0"), _buffer(loading.records)
        target, number = loading.target or (0, 0)
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQIIQIII",
            loading.kind,
            len(loading.code) // 8,
            ctypes.addressof(insns),
            ctypes.addressof(license_),
            0 if log is None else 1,
            0 if log is None else len(log),
            0 if log is None else ctypes.addressof(log),
            0,
            loading.flags,
            loading.name.encode()[:15],
            0,
            loading.attach_type,
            loading.btf,
            _RECORD_SIZE if loading.records else 0,
            ctypes.addressof(infos) if loading.records else 0,
            len(loading.records) // _RECORD_SIZE,
            0,
            0,
            0,
            number,
            target,
        )
        return self._keep(self._call(_PROG_LOAD, attributes, f"load of {loading.name}"))

    def attach(self, program: int, attach_type: int = 0) -> int:
        """Attaches a tracing program (of this attach type) or a freplace program (0) to the target that it was loaded
        for. Returns the link.

        Older kernels (5.10) know BPF_LINK_CREATE for neither: link_create() says EINVAL, and BPF_RAW_TRACEPOINT_OPEN
        does both.
        """
        try:
            return self._keep(self._call(_LINK_CREATE, struct.pack("=IIII", program, 0, attach_type, 0), "attach"))
        except BpfError as error:
            if error.errno != errno.EINVAL:
                raise
        return self._keep(self._call(_RAW_TRACEPOINT_OPEN, struct.pack("=QII", 0, program, 0), "attach"))

    def run(self, program: int) -> int:
        """Runs a program once on a packet of zeros. Returns its return value."""
        packet, out = _buffer(_PACKET), ctypes.create_string_buffer(256)
        attributes = struct.pack(
            "=IIIIQQIIIIQQ",
            program,
            0,
            len(packet),
            len(out),
            ctypes.addressof(packet),
            ctypes.addressof(out),
            1,
            0,
            0,
            0,
            0,
            0,
        )
        self._call(_TEST_RUN, attributes, "test run")
        return int(struct.unpack_from("=I", self._answer, 4)[0])


_FIRST_FUNCTION = 5
"""In the BTF of `Bpf.btf`: 1 int, 2 the context, 3 the pointer to it, 4 the prototype, and the functions."""


def function_number(index: int) -> int:
    """Returns the BTF number of a program's function, counted from 0 in their order."""
    return _FIRST_FUNCTION + index
