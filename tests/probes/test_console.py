"""The console of a guest that ended, and of one that means harm."""

from __future__ import annotations

import pytest

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.console import oops, why_not
from tailcall_audit.probes.probe import COULD_NOT_RUN, PRESENT, Result

PANIC = next(probe for probe in PROBES if probe.slug == "freplace-attached-panic")


def test_the_panic_of_pitfall_5_is_seen_in_its_call_trace() -> None:
    console = (
        "BUG: kernel NULL pointer dereference, address: 0000000000000004\n[    1.0] RIP: 0010:unrelated+0x1c/0x90\n"
        "[    1.0]  ? bpf_prog_map_compatible+0x1c/0x90\n"
    )
    assert oops(PANIC, console, None).state == PRESENT
    assert oops(PANIC, console.replace("bpf_prog_map_compatible", "other"), None).state == COULD_NOT_RUN


OTHERS = {
    "arm64": (
        "[    2.1] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000004\n"
        "[    2.1] Internal error: Oops: 0000000096000006 [#1] SMP\n"
        "[    2.1] pc : bpf_prog_map_compatible+0x24/0x130\n[    2.1] lr : prog_fd_array_get_ptr+0x34/0x78\n"
        "[    2.1] Call trace:\n[    2.1]  bpf_prog_map_compatible+0x24/0x130\n"
    ),
    "riscv64": (
        "[    2.1] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000004\n"
        "[    2.1] Oops [#1]\n[    2.1] epc : bpf_prog_map_compatible+0x1c/0xf6\n[    2.1]  ra : x+0x2/0x3\n"
    ),
    "powerpc64": (
        "[    2.1] BUG: Kernel NULL pointer dereference on read at 0x00000004\n"
        "[    2.1] Oops: Kernel access of bad area, sig: 11 [#1]\n"
        "[    2.1] NIP [c0000000003a1b2c] bpf_prog_map_compatible+0x3c/0x1a0\n"
    ),
    "powerpc64, by the trace": (
        "[    2.1] BUG: Kernel NULL pointer dereference on read at 0x00000004\n[    2.1] Call Trace:\n"
        "[    2.1] [c000000005aa7a10] [c0000000003a1b2c] bpf_prog_map_compatible+0x3c/0x1a0 (unreliable)\n"
    ),
    "s390x": (
        "[    2.1] Unable to handle kernel pointer dereference in virtual kernel address space\n"
        "[    2.1] Oops: 0004 ilc:2 [#1] SMP\n"
        "[    2.1] Krnl PSW : 0704c00180000000 00000000003a2d14 (bpf_prog_map_compatible+0x54/0x1c8)\n"
    ),
    "s390x, by the trace": (
        "[    2.1] Oops: 0004 ilc:2 [#1] SMP\n[    2.1] Call Trace:\n"
        "[    2.1]  [<00000000003a2d14>] bpf_prog_map_compatible+0x54/0x1c8\n"
    ),
    "loongarch64": (
        "[    2.1] CPU 0 Unable to handle kernel paging request at virtual address 0000000000000004, era == 1, ra == 2\n"
        "[    2.1] Oops[#1]:\n[    2.1]   ERA: 9000000000432c10 bpf_prog_map_compatible+0x30/0x150\n"
    ),
}
"""How show_regs() of each architecture writes it: arch/*/kernel/process.c, traps.c and dumpstack.c."""


@pytest.mark.parametrize("console", OTHERS.values(), ids=OTHERS)
def test_an_oops_of_any_architecture_names_its_function(console: str) -> None:
    assert oops(PANIC, console, None).state == PRESENT
    assert oops(PANIC, console.replace("bpf_prog_map_compatible", "other"), None).state == COULD_NOT_RUN


def test_an_oops_in_a_program_of_the_probe_is_seen_by_its_name() -> None:
    arena = next(probe for probe in PROBES if probe.slug == "loongarch-arena-count-slot")
    console = (
        "[    2.1] CPU 0 Unable to handle kernel paging request at virtual address 0000000000000000, era == 1, ra == 2\n"
        "[    2.1] Oops[#1]:\n[    2.1]   ERA: ffff80000211b0a4 bpf_prog_0123456789abcdef_arena+0xa4/0x150\n"
    )
    assert oops(arena, console, None) == Result(
        PRESENT,
        "panicked in bpf_prog_arena: Unable to handle kernel paging request at virtual address 0000000000000000, era == 1, ra == 2",
    )
    assert oops(arena, console.replace("_arena", "_other"), None).state == COULD_NOT_RUN


def test_a_jump_to_the_probe_s_own_address_is_seen_and_no_other() -> None:
    probe = next(probe for probe in PROBES if probe.faults_at)
    address = f"{probe.faults_at:016x}"
    console = (
        f"[    2.1] Unable to handle kernel paging request at virtual address {address}\n[    2.1] Oops [#1]\n"
        f"[    2.1] epc : 0x{address}\n[    2.1]  ra : 0x{address}\n"
    )
    assert oops(probe, console, None).state == PRESENT
    on_loongarch = console.replace("] Unable", "] CPU 0 Unable").replace(f"{address}\n", f"{address}, era == 1\n", 1)
    assert oops(probe, on_loongarch, None).state == PRESENT
    other = console.replace(address, f"{probe.faults_at + 16:016x}", 1)
    assert oops(probe, other, None).state == COULD_NOT_RUN
    assert oops(PANIC, console, None).state == COULD_NOT_RUN, "it is another probe's address"


@pytest.mark.parametrize(
    "filler",
    [
        "\n",
        " ",
        "\t",
        " \n",
        "[ 1.0] ",
        "[" * 3,
        "  ? ",
        "a" * 50,
        "  name+0x",
        "  name+0x1/0x",
        "\r",
        "\x1b[2J",
        "Unable to handle kernel a ",
    ],
)
def test_a_flood_is_read_in_time_that_grows_with_it(filler: str) -> None:
    """4 MiB is all that is kept of a console. A pattern that backtracks over it would need hours: this test would not
    end.
    """
    console = "BUG: x\n" + filler * ((4 << 20) // len(filler))
    assert oops(PANIC, console, 3.0).state == COULD_NOT_RUN
    assert why_not(console, "", 3.0)
