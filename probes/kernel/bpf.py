"""A session of bpf(2): maps, programs, BTF, links, test runs. Closing it closes all its descriptors.

The layouts of ``union bpf_attr`` are those of include/uapi/linux/bpf.h, in the machine's byte order. A kernel accepts a
union that is shorter than its own. It accepts a longer one if the bytes that it does not know are zero. Programs and
BTF are loaded by `tailcall_audit.probes.kernel.verifier`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.btf_writer import Function, describe_functions, function_number
from tailcall_audit.probes.kernel.syscall import ENOTSUPP, LIBC, BpfError, buffer_of, number_of_bpf, raw_call
from tailcall_audit.probes.kernel.verifier import Loading, load_btf, load_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["ENOTSUPP", "Bpf", "BpfError", "Function", "function_number"]

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_TEST_RUN, _PROG_NEXT_ID, _MAP_NEXT_ID = 10, 11, 12
_INFO_BY_FD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 15, 17, 28

ARRAY, PROG_ARRAY, CGROUP_STORAGE, ARENA = 2, 3, 19, 33
SOCKET_FILTER, KPROBE, SCHED_CLS, XDP, CGROUP_SKB, CGROUP_SOCK_ADDR, TRACING, EXT = 1, 2, 3, 6, 8, 18, 26, 28
_MMAPABLE, _ARENA_ADDRESS = 1 << 10, 1 << 44
"""BPF_F_MMAPABLE, which an arena requires, and an address that the kernel accepts for one (map_extra)."""
SLEEPABLE = 16
"""BPF_F_SLEEPABLE."""
INET4_CONNECT, INET6_CONNECT, FENTRY, FEXIT = 10, 11, 24, 25
"""Values of enum bpf_attach_type."""

CONTEXTS = {SOCKET_FILTER: "__sk_buff", SCHED_CLS: "__sk_buff", CGROUP_SKB: "__sk_buff", XDP: "xdp_md"}
"""The BTF name of a program's context struct. btf_get_prog_ctx_type() compares names."""

_PACKET = bytes(64)
_RLIMIT_MEMLOCK = 8


class Bpf:
    """A session. Closing it removes everything that was made in it. The methods raise BpfError."""

    def __init__(self) -> None:
        number_of_bpf()
        self._descriptors: list[int] = []
        self.ids: list[tuple[str, int]] = []
        # Before 5.11, maps and programs count against RLIMIT_MEMLOCK. Exceeding its 64 KiB gives the same error as a
        # missing privilege.
        unlimited = struct.pack("=QQ", 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
        self.memlock_raised = LIBC.setrlimit(_RLIMIT_MEMLOCK, unlimited) == 0

    def __enter__(self) -> Bpf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every descriptor, the newest first, so that links are closed before their programs."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _call(self, command: int, attributes: bytes, what: str) -> int:
        result, self._answer = raw_call(command, attributes, what)
        return result

    def _keep(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def _remember(self, kind: str, descriptor: int) -> None:
        """Records the kernel's id of an object. The runner uses it to check that the object is gone afterwards."""
        info = ctypes.create_string_buffer(64)
        attributes = struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info))
        try:
            self._call(_INFO_BY_FD, attributes, "object info")
        except BpfError:
            return
        self.ids.append((kind, struct.unpack_from("=I", info.raw, 4)[0]))

    def is_compiled(self, program: int) -> bool:
        """Returns True if the JIT compiled a program (jited_prog_len in struct bpf_prog_info). Requires CAP_BPF. Raises
        BpfError.
        """
        info = ctypes.create_string_buffer(64)
        self._call(_INFO_BY_FD, struct.pack("=IIQ", program, len(info), ctypes.addressof(info)), "program info")
        return bool(struct.unpack_from("=I", info.raw, 16)[0])

    def machine_code(self, program: int) -> bytes:
        """Returns the machine code that the JIT made of a program, from prog->bpf_func on. It is empty if there is
        none, and if the kernel does not show it (kernel.kptr_restrict, or a missing CAP_SYSLOG). Raises BpfError.
        """
        info = ctypes.create_string_buffer(64)
        attributes = struct.pack("=IIQ", program, len(info), ctypes.addressof(info))
        self._call(_INFO_BY_FD, attributes, "program info")
        code = ctypes.create_string_buffer(struct.unpack_from("=I", info.raw, 16)[0])
        # jited_prog_len, xlated_prog_len, and the addresses of both; the kernel takes the buffers that are given.
        ctypes.memset(info, 0, len(info))
        struct.pack_into("=IIQQ", info, 16, len(code), 0, ctypes.addressof(code), 0)
        self._call(_INFO_BY_FD, attributes, "program info")
        return code.raw if struct.unpack_from("=Q", info.raw, 24)[0] else b""

    def numbers(self, kind: str, first: int, last: int) -> set[int]:
        """Returns the ids from `first` to `last` of the kernel's programs ("prog") or maps ("map"). Requires
        CAP_SYS_ADMIN.
        """
        command = _PROG_NEXT_ID if kind == "prog" else _MAP_NEXT_ID
        found: set[int] = set()
        number = first - 1
        while number < last:
            try:
                self._call(command, struct.pack("=III", number, 0, 0), f"next {kind}")
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    break
                raise
            number = int(struct.unpack_from("=I", self._answer, 4)[0])
            if number <= last:
                found.add(number)
        return found

    def map(self, kind: int, key: int, value: int, entries: int, flags: int = 0, extra: int = 0) -> int:
        """Creates a map and returns its descriptor. `key` and `value` are sizes in bytes, `flags` are BPF_F_* of maps,
        and `extra` is what the type calls map_extra.
        """
        attributes = struct.pack("=5I", kind, key, value, entries, flags)
        if extra:
            attributes += struct.pack("=44xQ", extra)
        descriptor = self._keep(self._call(_MAP_CREATE, attributes, f"map of type {kind}"))
        self._remember("map", descriptor)
        return descriptor

    def prog_array(self, entries: int = 1) -> int:
        """Creates an empty prog_array."""
        return self.map(PROG_ARRAY, 4, 4, entries)

    def array(self, size: int = 64) -> int:
        """Creates an array with one value of `size` zero bytes."""
        return self.map(ARRAY, 4, size, 1)

    def arena(self) -> int:
        """Creates an arena of one page, at an address of its own in user space that is not mapped."""
        return self.map(ARENA, 0, 0, 1, _MMAPABLE, _ARENA_ADDRESS)

    def put(self, array: int, index: int, program: int) -> None:
        """Puts a program into a slot of a prog_array."""
        self.write(array, struct.pack("=I", program), index)

    def write(self, array: int, value: bytes, index: int = 0) -> None:
        """Sets a value of an array."""
        key, kept = buffer_of(struct.pack("=I", index)), buffer_of(value)
        attributes = struct.pack("=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(kept), 0)
        self._call(_MAP_UPDATE, attributes, "update of the map")

    def read(self, array: int, size: int) -> bytes:
        """Returns the first `size` bytes of an array's only value. The kernel copies the whole value, so `size` must
        cover it if it has more than 64 bytes.
        """
        key, value = buffer_of(struct.pack("=I", 0)), ctypes.create_string_buffer(max(size, 64))
        attributes = struct.pack("=IIQQQ", array, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        self._call(_MAP_LOOKUP, attributes, "lookup in the map")
        return value.raw[:size]

    def count(self, array: int, offset: int = 0) -> int:
        """Returns a 64-bit counter in an array's only value."""
        return int(struct.unpack_from("=Q", self.read(array, 64), offset)[0])

    def btf(self, functions: Sequence[Function], context: str) -> int:
        """Loads BTF for functions that take a pointer to the context and return an int. `function_number` returns their
        numbers.
        """
        return self._keep(load_btf(describe_functions(functions, context)))

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
        """Loads a program of a type and returns its descriptor.

        `functions` describes each of its functions, in order, for BTF. It must be given for a program whose subprograms
        make tail calls (check_subprogs(), "tail_call is not allowed in subprogs without BTF"); if it is not, the
        subprograms are assumed to be static. `target` applies to freplace and tracing programs: the descriptor of the
        target program, and the BTF number in it of the function to replace or trace (see `function_number`).
        `attach_type` is the expected attach type, 0 for none: with BPF_XDP, which loaders pass by default, 6.1 behaves
        differently. `flags` are BPF_F_*.
        """
        if not functions and len(program.functions) > 1:
            functions = [Function(function, number == 0) for number, function in enumerate(program.functions)]
        loading = Loading(kind, program.encode(), name, attach_type, target, flags)
        if functions:
            loading.btf = self.btf(functions, context or CONTEXTS[kind])
            loading.records = b"".join(
                struct.pack("=II", offset, function_number(index))
                for index, offset in enumerate(program.functions.values())
            )
        descriptor = self._keep(load_program(loading))
        self._remember("prog", descriptor)
        return descriptor

    def attach(self, program: int, attach_type: int = 0) -> int:
        """Attaches a tracing program (with this attach type) or a freplace program (0) to the target for which it was
        loaded. Returns the link.

        In older kernels (5.10), BPF_LINK_CREATE supports neither and fails with EINVAL, but BPF_RAW_TRACEPOINT_OPEN
        attaches both.
        """
        try:
            return self._keep(self._call(_LINK_CREATE, struct.pack("=IIII", program, 0, attach_type, 0), "attach"))
        except BpfError as error:
            if error.errno != errno.EINVAL:
                raise
        return self._keep(self._call(_RAW_TRACEPOINT_OPEN, struct.pack("=QII", 0, program, 0), "attach"))

    def run(self, program: int) -> int:
        """Runs a program once on a packet of zero bytes and returns its return value."""
        packet, out = buffer_of(_PACKET), ctypes.create_string_buffer(256)
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
