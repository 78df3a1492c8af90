"""What a guest loads and attaches for bpftool and for the reader of a host, and what both say of it.

The functions of this module run in the guest, beside what `tests/programs/guest.py` imports there.
"""

from __future__ import annotations

import ctypes
import functools
import lzma
import os
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.deb import read_deb_tree
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.assembler import Program as Assembly
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.loaded import read_kernel
from tailcall_audit.probes.kernel.records import Loaded
from tests.kernels import package_file
from tests.mutants import IN_6_1, IN_6_12, debian_image
from tests.programs.bpftool_package import bpftool_files
from tests.programs.compiled import build
from tests.programs.guest import in_guest

__all__ = ["HAS_MODULES", "SOURCE", "Answers", "answers"]

libc = ctypes.CDLL(None)
HAS_MODULES = {
    IN_6_1: ("linux-image-6.1.0-47-cloud-amd64-unsigned", "6.1.170-3"),
    IN_6_12: ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
}
"""By the kernel: the package with the modules that tc needs."""
_MODULES = ("sch_ingress.ko", "cls_bpf.ko", "act_bpf.ko")
SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
int entry(struct __sk_buff *skb);
int leaf(struct __sk_buff *skb);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} steps SEC(".maps") = { .values = { [0] = &entry, [2] = &leaf } };
const volatile int chosen = 1;
int counted;
static __noinline int step(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &steps, 0);
	return skb->len;
}
__noinline int other(struct __sk_buff *skb)
{
	volatile int value = 7;
	bpf_tail_call(skb, &steps, skb->mark);
	return value;
}
SEC("tc") int entry(struct __sk_buff *skb)
{
	int first = step(skb);
	counted++;
	if (!chosen)
		other(skb);
	return first ? step(skb) : 0;
}
SEC("tc") int leaf(struct __sk_buff *skb)
{
	other(skb);
	return bpf_get_prandom_u32();
}
SEC("xdp") int passes(struct xdp_md *ctx) { return XDP_PASS; }
SEC("fentry/bpf_fentry_test1") int trace(void *ctx) { return 0; }
SEC("uprobe.s") int sleepy(void *ctx)
{
	long value = 0;
	return bpf_copy_from_user(&value, sizeof(value), ctx);
}
char _license[] SEC("license") = "GPL";
"""
"""What bpftool loads: a datapath whose prog array libbpf fills, and a program for each way of attaching."""


class Answers(NamedTuple):
    """What was seen in one guest: the files that bpftool's answers make, its complaints, and what the reader saw."""

    files: dict[str, bytes]
    complaints: dict[str, str]
    loaded: Loaded
    has_tc: bool


def ask(*words: str) -> tuple[bytes, str]:
    """Runs bpftool; returns what it printed, and its complaint."""
    child = os.fork()
    if not child:
        try:
            for number, name in ((1, "/answer"), (2, "/complaint")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            loader = "/ld-linux-x86-64.so.2"
            os.chmod(loader, 0o700)
            os.execv(loader, [loader, "--library-path", "/", "/bpftool", *words])
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) in (126, 127):
        raise OSError("bpftool cannot be started in the guest")
    with open("/answer", "rb") as file, open("/complaint", "rb") as other:
        return file.read(), other.read().decode("utf-8", "replace")


def change_network(kind: int, body: bytes) -> None:
    """Sends one rtnetlink request, and takes its acknowledgement."""
    line = libc.socket(16, 3, 0)
    os.write(line, struct.pack("=IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
    (number,) = struct.unpack_from("=i", os.read(line, 65536), 16)
    os.close(line)
    if number:
        raise OSError(-number, f"netlink request {kind}")


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attach_by_netlink(program: int, action: int) -> bool:
    """Attaches a program as a filter of the loopback interface and another as an action, if the guest has the
    modules.
    """
    for name in ("sch_ingress.ko", "cls_bpf.ko", "act_bpf.ko"):
        if not os.path.exists(f"/{name}"):
            return False
        with open(f"/{name}", "rb") as file:
            data = file.read()
        if libc.syscall(ctypes.c_long(175), data, ctypes.c_long(len(data)), b"") != 0:
            raise OSError(f"init_module of {name}")
    change_network(36, struct.pack("=BxxxiIII", 0, 1, 0xFFFF0000, 0xFFFFFFF1, 0) + attribute(1, b"clsact\0"))
    options = attribute(6, struct.pack("=I", program)) + attribute(7, b"leaf\0") + attribute(8, struct.pack("=I", 1))
    message = struct.pack("=BxxxiIII", 0, 1, 0, 0xFFFFFFF3, 1 << 16 | 0x0300)
    change_network(44, message + attribute(1, b"bpf\0") + attribute(2, options))
    parameters = attribute(2, bytes(20)) + attribute(5, struct.pack("=I", action)) + attribute(6, b"acts\0")
    given = attribute(1, b"bpf\0") + attribute(2, parameters)
    change_network(48, bytes(4) + attribute(1, attribute(1, given)))
    return True


def targets(kernel: Bpf) -> None:
    """Loads two programs with one extension for both, and a tracer of the first."""
    from tailcall_audit.probes.kernel.bpf import EXT, FENTRY, SCHED_CLS, TRACING, function_number
    from tailcall_audit.probes.kernel.syscall import raw_call

    array, counters = kernel.prog_array(4), kernel.array()
    found = []
    for name in ("first_of_a_long_name", "second"):
        code = Assembly().function(name).mov(6, 1).store_imm(8, 10, -16, 7).mov(1, 6).call("sub")
        code.mov(1, 6).map_value(7, counters, 8).load(4, 3, 7, 0).map_fd(2, array).mov(1, 6).helper(HELPER_TAIL_CALL)
        code.helper(5).set(0, 0).exit().function("sub").mov(6, 1).store_imm(4, 10, -12, 1).set(3, 2).mov(1, 6)
        code.map_fd(2, array).helper(HELPER_TAIL_CALL).set(0, 0).exit()
        functions = [Function(name, True), Function("sub", True)]
        found.append(kernel.load(SCHED_CLS, code, functions=functions, name=name[:14]))
    plain = kernel.load(SCHED_CLS, Assembly().function("plain").set(0, 1).exit(), name="plain")
    kernel.put(array, 2, plain)
    kernel.put(array, 3, plain)
    whole, part = (found[0], function_number(0)), (found[0], function_number(1))
    other, functions = Assembly().function("other").set(0, 3).exit(), [Function("other", True)]
    extension = kernel.load(EXT, other, functions=functions, context="__sk_buff", target=part, name="other")
    kernel.attach(extension)
    raw_call(28, struct.pack("=IIIII", extension, found[1], 0, 0, function_number(1)), "attach to the second")
    code, functions = Assembly().function("traced").set(0, 0).exit(), [Function("traced", True)]
    tracer = kernel.load(
        TRACING, code, functions=functions, context="ctx", target=whole, attach_type=FENTRY, name="traced"
    )
    kernel.attach(tracer, FENTRY)


def arrange() -> object:
    """Loads and attaches everything; returns bpftool's answers as files, its complaints, and what the reader saw."""
    from tailcall_audit.probes.kernel.bpf import SOCKET_FILTER

    os.makedirs("/sys/fs/bpf", exist_ok=True)
    libc.mount(b"bpf", b"/sys/fs/bpf", b"bpf", 0, None)
    kernel = Bpf()
    # The first ids are those of the kernel's BTF, too, as they are not on a host that runs for a while.
    for _ in range(2):
        kernel.load(SOCKET_FILTER, Assembly().set(0, 0).exit(), name="early")
    targets(kernel)
    # A prog array that no descriptor and no pin holds is emptied (prog_array_map_clear()).
    pins = ("/sys/fs/bpf/obj", "pinmaps", "/sys/fs/bpf/maps")
    complaints, files = {"load": ask("prog", "loadall", "/prog.bpf.o", *pins)[1]}, {}
    complaints["xdp"] = ask("net", "attach", "xdpgeneric", "pinned", "/sys/fs/bpf/obj/passes", "dev", "lo")[1]
    path = ctypes.create_string_buffer(b"/sys/fs/bpf/obj/leaf")
    from tailcall_audit.probes.kernel.syscall import raw_call

    leaf, _ = raw_call(7, struct.pack("=QII", ctypes.addressof(path), 0, 0), "open of the pinned program")
    has_tc = attach_by_netlink(leaf, kernel.load(4, Assembly().set(0, 0).exit(), name="acts"))
    seen = read_kernel()
    # Each start of bpftool takes seconds in an emulated guest: one batch has most answers.
    with open("/commands", "w", encoding="utf-8") as file:
        file.write("prog show\nmap show\nlink show\nbtf show\nnet show\n")
        file.writelines(f"prog dump xlated id {item.id} opcodes\n" for item in seen.programs)
        file.writelines(f"map dump id {item.id}\n" for item in seen.maps if item.type == 3)
        file.writelines(f"btf dump id {number}\n" for number in sorted({item.btf for item in seen.programs} - {0}))
    files["batch"], complaints["batch"] = ask("-j", "batch", "file", "/commands")
    files["progs.json"], complaints["progs"] = ask("-j", "prog", "show")
    (entry,) = [item.id for item in seen.programs if item.name == "entry"]
    files[f"xlated-{entry}.json"], _ = ask("-j", "prog", "dump", "xlated", "id", str(entry), "opcodes", "linum")
    files["plain"], _ = ask("prog", "show")
    # The kernel's own BTF has megabytes, and the answer goes through a serial line.
    seen = seen._replace(btfs=tuple(item._replace(data=None) if item.is_kernel else item for item in seen.btfs))
    return files, complaints, seen, has_tc


def _modules(image: str) -> list[tuple[str, bytes]]:
    if image not in HAS_MODULES:
        return []
    found = []
    for file in read_deb_tree(package_file(*HAS_MODULES[image])):
        name = file.name.rpartition("/")[2].removesuffix(".xz")
        if name in _MODULES:
            data = file.content()
            found.append((name, lzma.decompress(data) if file.name.endswith(".xz") else data))
    return found


@functools.cache
def answers(image: str) -> Answers:
    """Returns what is seen in a guest with this kernel, once for a session. Skips where it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        made = build(SOURCE, Path(folder)).read_bytes()
    files = [*bpftool_files(image), *_modules(image), ("prog.bpf.o", made)]
    beside = (ask, change_network, attribute, attach_by_netlink, targets)
    found = in_guest(debian_image(image), arrange, beside=beside, files=files)
    assert isinstance(found, tuple), found
    assert isinstance(found[0], dict), found
    return Answers(*found)
