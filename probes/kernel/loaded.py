"""Reads what the running kernel has loaded: programs, maps, links, BTF, and what netlink attached. Changes nothing.

Imports only the standard library, because a guest has nothing else.
"""

from __future__ import annotations

import errno
import struct
import sys

from tailcall_audit.probes.kernel.netlink import read_hooks
from tailcall_audit.probes.kernel.objects import read_btfs, read_links, read_maps, read_programs
from tailcall_audit.probes.kernel.records import Loaded
from tailcall_audit.probes.kernel.syscall import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tailcall_audit.probes.kernel.records import LoadedLink, LoadedProgram

__all__ = ["read_kernel", "why_refused"]

_CALL, _LD_IMM64, _TAIL_CALL, _PSEUDO_KFUNC = 0x85, 0x18, 12, 2
_VMLINUX = 1
"""The id of the kernel's own BTF, which is always loaded first."""
_CAP_SYS_ADMIN = 21


def _distances(programs: list[LoadedProgram]) -> tuple[set[int], bool]:
    """Returns the `imm` of every call of a kernel function. Also returns True if one of these is a kfunc, for which
    `imm` is a BTF type number on some architectures.
    """
    found: set[int] = set()
    kfuncs = False
    for program in programs:
        rows = struct.iter_unpack("=BBhi", program.instructions or b"")
        for code, registers, _, imm in rows:
            if code == _LD_IMM64:
                next(rows, None)
            source = registers >> 4 if sys.byteorder == "little" else registers & 15
            if code == _CALL and source != 1 and imm not in (0, _TAIL_CALL):
                found.add(imm)
                kfuncs = kfuncs or source == _PSEUDO_KFUNC
    return found, kfuncs


def _symbols(distances: set[int]) -> dict[int, str] | None:
    """Returns the names of functions by their distance from __bpf_call_base, None if the kernel hides addresses."""
    try:
        with open("/proc/kallsyms", "rb") as file:
            text = b"\n" + file.read()
    except OSError:
        return None
    place = text.find(b" __bpf_call_base\n")
    if place < 0:
        return None
    base = int(text[text.rfind(b"\n", 0, place) + 1 : place].split()[0], 16)
    if not base:
        return None
    found = {}
    for distance in distances:
        at = text.find(b"\n%016x " % ((base + distance) & 0xFFFFFFFFFFFFFFFF))
        if at >= 0:
            words = text[at + 1 : text.find(b"\n", at + 1)].split()
            found[distance] = words[2].decode("utf-8", "replace")
    return found


def read_kernel() -> Loaded:
    """Returns what is loaded. Raises BpfError if the kernel refuses to list programs."""
    notes: list[str] = []
    programs = read_programs(notes)
    hidden = sum(1 for item in programs if item.type and item.instructions is None)
    maps = read_maps(notes)
    links: list[LoadedLink] = []
    try:
        links = read_links(notes)
    except BpfError as error:  # links have no ids before 5.8
        notes.append(f"links cannot be read ({error.words}): what programs are attached to is not known")
    distances, kfuncs = _distances(programs)
    btfs = read_btfs(notes, frozenset((*(item.target_btf for item in programs), *((_VMLINUX,) if kfuncs else ()))))
    symbols = _symbols(distances) if distances else {}
    if hidden:
        notes.append(f"the kernel shows no instructions of {hidden} programs (CAP_BPF and CAP_PERFMON are needed)")
    if symbols is None:
        notes.append("/proc/kallsyms shows no addresses (CAP_SYSLOG, kernel.kptr_restrict): helpers are not known")
    hooks = read_hooks(notes)
    byte_order = sys.byteorder == "big"
    return Loaded(tuple(programs), tuple(maps), tuple(links), tuple(btfs), symbols, byte_order, tuple(notes), hooks)


def why_refused(error: BpfError) -> str:
    """Returns what is missing if the kernel refuses to list what is loaded."""
    if error.errno == errno.ENOSYS:
        return "this kernel has no bpf(2), or seccomp hides it"
    if error.errno not in (errno.EPERM, errno.EACCES):
        return error.words
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        effective = 0
    if not effective >> _CAP_SYS_ADMIN & 1:
        return "CAP_SYS_ADMIN is missing: run it as root (CAP_BPF and CAP_PERFMON alone name no ids)"
    return "CAP_SYS_ADMIN does not count here: a user namespace, seccomp or a security module refuses"
