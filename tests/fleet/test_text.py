"""Logs in which kernels name themselves, and traces in them: those of catalogued defects, and twenty that are not."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.logs.names import kernel_named_in
from tailcall_audit.analyzer.kernelfiles.logs.traces import Trace, TraceKind, TraceReader
from tailcall_audit.analyzer.model import AuditError, Report
from tailcall_audit.analyzer.subjects.subject import Fleet
from tailcall_audit.analyzer.subjects.text import defects_like
from tests.debs import tar

BOOT = (
    "[    0.000000] Linux version 6.1.0-47-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0,"
    " GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)"
)
UBUNTU = "6.8.0-31-generic #31-Ubuntu"


def oops(
    head: str = "BUG: kernel NULL pointer dereference, address: 0000000000000004",
    at: str = "bpf_prog_map_compatible",
    stack: tuple[str, ...] = ("prog_fd_array_get_ptr", "bpf_fd_array_map_update_elem", "map_update_elem", "__sys_bpf"),
    chance: tuple[str, ...] = ("__die", "page_fault_oops"),
    kernel: str = UBUNTU,
    pointer: str = "RIP: 0010:",
) -> list[str]:
    """An oops as the kernel writes it; `chance` are functions that are on the stack by chance only."""
    return [
        head,
        "#PF: supervisor read access in kernel mode",
        "Oops: 0000 [#1] PREEMPT SMP PTI",
        f"CPU: 1 PID: 1042 Comm: loader Not tainted {kernel}",
        f"{pointer}{at}+0x2a/0x140",
        "Code: 0f 1f 44 00 00 55 48 89 e5 41 56",
        "Call Trace:",
        " <TASK>",
        *(f" ? {name}+0x23/0x70" for name in chance),
        *(f" {name}+0x37/0x130" for name in stack),
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
    ]


def dmesg(lines: list[str]) -> str:
    return "".join(f"[{number + 120:5}.{number:06}] {line}\n" for number, line in enumerate(lines))


def journal(lines: list[str]) -> str:
    return "".join(f"Nov 24 02:11:{number % 60:02} worker-7 kernel: {line}\n" for number, line in enumerate(lines))


def traces(text: str) -> list[Trace]:
    reader = TraceReader()
    found = [reader.take(line, number) for number, line in enumerate(text.splitlines(), 1)]
    return [item for item in (*found, reader.end()) if item is not None]


def like(text: str) -> list[str]:
    catalog = load_catalog()
    return [defect.slug for trace in traces(text) for defect in defects_like(catalog, trace)]


STALL = [
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "rcu: \t3-....: (5249 ticks this GP) idle=5a1c/1/0x4000000000000000 softirq=1234/1234 fqs=2560",
    f"CPU: 3 PID: 77 Comm: kworker/3:1 Not tainted {UBUNTU}",
    "Workqueue: events prog_array_map_clear_deferred",
    "RIP: 0010:text_poke_bp_batch+0xa0/0x2b0",
    "Call Trace:",
    " bpf_arch_text_poke+0x20/0x30",
    " prog_array_map_poke_run+0x1b0/0x210",
    " bpf_fd_array_map_clear+0x5a/0x90",
    " prog_array_map_clear_deferred+0x15/0x20",
    " process_one_work+0x1a1/0x3d0",
]


@pytest.mark.parametrize("form", [dmesg, journal, "\n".join])
@pytest.mark.parametrize(
    ("lines", "slug"),
    [
        (oops(), "freplace-attached-panic"),
        (oops(at="__bpf_prog_map_compatible"), "freplace-attached-panic"),
        (oops(at="bpf_prog_map_compatible.isra.0"), "freplace-attached-panic"),
        (
            oops(
                head="Unable to handle kernel NULL pointer dereference at virtual address 0000000000000004",
                pointer="pc : ",
            ),
            "freplace-attached-panic",
        ),
        (oops(stack=("cpu_map_update_elem", "bpf_map_update_value", "__sys_bpf")), "freplace-attached-panic"),
        (
            oops(
                head="kernel BUG at kernel/bpf/arraymap.c:1094!",
                at="prog_array_map_poke_run",
                stack=("bpf_fd_array_map_update_elem",),
            ),
            "prog-array-poke-run-bug",
        ),
        (
            ["BUG: KASAN: use-after-free in prog_array_map_poke_run+0x1a8/0x400", *oops(at="kasan_report")[3:]],
            "subprog-poke-uaf",
        ),
        (STALL, "prog-array-clear-stall"),
        (["watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [kworker/3:1:77]", *STALL[2:]], "prog-array-clear-stall"),
    ],
)
def test_the_trace_of_a_catalogued_defect(form: object, lines: list[str], slug: str) -> None:
    assert callable(form)
    assert like(form(lines)) == [slug]


STUCK = "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [x:1]"
RCU = "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"
BUG = "kernel BUG at mm/slub.c:4044!"
USED = "BUG: KASAN: use-after-free in {}+0x1a8/0x400"
FOREIGN = [
    oops(at="ext4_find_extent", stack=("ext4_ext_map_blocks", "ext4_map_blocks")),
    oops(at="nfs_readpage_done", stack=("nfs_pgio_result", "rpc_exit_task")),
    oops(at="bpf_map_update_value", stack=("map_update_elem", "__sys_bpf")),
    oops(at="resolve_prog_type", stack=("check_helper_call", "bpf_check", "bpf_prog_load")),
    oops(at="htab_map_update_elem", stack=("bpf_map_update_value", "bpf_fd_array_map_update_elem")),
    oops(at="tcp_v4_rcv", stack=("ip_rcv",), chance=("bpf_prog_map_compatible", "prog_fd_array_get_ptr")),
    oops(at="strlen", stack=("bpf_prog_map_compatible_report", "printk")),
    oops(
        head="general protection fault, probably for non-canonical address 0xdead: 0000", at="bpf_prog_map_compatible"
    ),
    oops(head=BUG, at="kfree", stack=("bpf_map_free_deferred",)),
    oops(head=BUG, at="prog_array_map_alloc", stack=("map_create",)),
    oops(head=BUG, at="__slab_free", stack=("prog_array_map_poke_run", "bpf_fd_array_map_update_elem")),
    [USED.format("htab_map_lookup_elem"), *oops(at="kasan_report")[3:]],
    [USED.format("bpf_tcp_close"), *oops(at="kasan_report", stack=("prog_array_map_poke_run",))[3:]],
    [STUCK, *oops(at="smp_call_function_many_cond", stack=("flush_tlb_mm_range",))[3:]],
    [STUCK, *oops(at="bpf_prog_6deef7357e7b4530_entry", stack=("bpf_trampoline_6442486212", "xdp_test_run"))[3:]],
    [STUCK, *oops(at="native_queued_spin_lock_slowpath", stack=("htab_map_free", "bpf_map_free_deferred"))[3:]],
    [RCU, *oops(at="zap_pte_range", stack=("unmap_vmas", "exit_mmap"))[3:]],
    [RCU, *oops(at="bpf_map_free_id", stack=("bpf_map_put", "bpf_map_release"))[3:]],
    [RCU, *oops(at="array_map_free", stack=("bpf_map_free_deferred", "process_one_work"))[3:]],
    ["WARNING: CPU: 1 PID: 1 at kernel/bpf/arraymap.c:900 prog_array_map_poke_run+0x1b0/0x210", *oops()[3:]],
    ["loader: bpf_prog_map_compatible() and prog_array_map_poke_run() are mentioned: NULL pointer dereference?"],
]


@pytest.mark.parametrize("lines", FOREIGN, ids=[str(number) for number in range(len(FOREIGN))])
def test_a_foreign_trace_of_the_same_kind_is_none(lines: list[str]) -> None:
    assert like(dmesg(lines)) == []


def test_a_trace_has_its_line_and_its_functions() -> None:
    found = traces(dmesg(["usb 1-1: new device", *oops(), *oops(at="other"), "x"]))
    assert [(item.kind, item.line, item.at) for item in found] == [
        (TraceKind.NULL_DEREFERENCE, 2, "bpf_prog_map_compatible"),
        (TraceKind.NULL_DEREFERENCE, 2 + len(oops()), "other"),
    ]
    assert found[0].functions[1:3] == ("prog_fd_array_get_ptr", "bpf_fd_array_map_update_elem")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (BOOT, BOOT[BOOT.index("Linux version") :]),
        ("Linux web-1 6.1.170 #1 SMP x86_64 GNU/Linux", "6.1.170 #1 SMP x86_64 GNU/Linux"),
        (f"CPU: 1 PID: 7 Comm: x Tainted: G           OE      {UBUNTU}", UBUNTU),
        ("Command line: BOOT_IMAGE=/boot/vmlinuz-6.1.0-47-amd64 root=UUID=1 ro", "6.1.0-47-amd64"),
        ("  Kernel Version:             5.15.0-107-generic", "5.15.0-107-generic"),
        ('        "kernelVersion": "6.6.52-talos",', "6.6.52-talos"),
        (" Kernel Version: Linux 6.1.170", "6.1.170"),
        ("kernel_release=5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
        ("ii  linux-image-6.1.0-47-amd64  6.1.170-3  amd64  Linux 6.1 for 64-bit PCs (signed)", None),
        ("Unpacking linux-image-6.1.0-48-amd64 (6.1.171-1) ...", None),
        ("kernel version is unknown", None),
        ("Linux version of the tool", None),
        ("[    1.0] usb 1-1: #2 at 10.0.0.1", None),
        ("BOOT_IMAGE=/vmlinuz root=x", None),
        ("docker version 24.0.5 #1", "24.0.5 #1"),
    ],
)
def test_where_a_kernel_names_itself(line: str, named: str | None) -> None:
    assert kernel_named_in(line) == named


def report_of(path: Path, **more: object) -> Report:
    return audit(fleet=Fleet(texts=(str(path),)), arch="x86_64", **more)  # type: ignore[arg-type]


def test_each_kernel_is_a_target_with_the_line_that_it_came_from(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(
        f"SeaBIOS\n{BOOT}\n[1.0] Command line: BOOT_IMAGE=/boot/vmlinuz-6.1.0-47-cloud-amd64 ro\n{dmesg(oops())}"
    )
    report = report_of(log)
    assert [target.identity["release"] for target in report.targets] == ["6.1.0-47-cloud-amd64", "6.8.0-31-generic"]
    assert report.targets[0].identity["package"] == "6.1.170-3"
    assert report.targets[0].notes[0] == f"named in {log}:2, {log}:3"
    assert report.targets[1].identity["named_in"] == f"{log}:7"


def test_a_hint_stands_beside_the_kernel_and_changes_no_verdict(tmp_path: Path) -> None:
    log = tmp_path / "dmesg"
    log.write_text(dmesg([BOOT, *oops(kernel="6.1.0-47-cloud-amd64 #1 Debian 6.1.170-3")]))
    report = report_of(log)
    (target,) = report.targets
    (hint,) = [note for note in target.notes if note.startswith("hint: ")]
    assert hint == (
        f"hint: {log}:2: this null dereference in bpf_prog_map_compatible() is like the trace of freplace-attached-panic (pitfall 5);"
        " it is no evidence"
    )
    log.write_text(dmesg([BOOT]))
    states = [(item.defect.slug, item.state, item.reason) for item in report_of(log).targets[0].verdicts]
    assert [(item.defect.slug, item.state, item.reason) for item in target.verdicts] == states
    assert {slug: state for slug, state, _ in states}["freplace-attached-panic"] is State.FIXED


def test_live_patches_by_the_taint_of_an_oops(tmp_path: Path) -> None:
    log = tmp_path / "dmesg"
    log.write_text(f"CPU: 1 PID: 7 Comm: x Tainted: G    K      {UBUNTU}\n")
    assert report_of(log).targets[0].identity["live_patches"] == "loaded"
    log.write_text(f"CPU: 1 PID: 7 Comm: KVM Tainted: G    OE     {UBUNTU}\n")
    assert report_of(log).targets[0].identity["live_patches"] == "unknown"


def sosreport(tmp_path: Path) -> Path:
    folder = tmp_path / "sosreport-web-1"
    (folder / "sos_commands/kernel").mkdir(parents=True)
    (folder / "proc").mkdir()
    (folder / "proc/version").write_text(BOOT[15:] + "\n")
    (folder / "sos_commands/kernel/uname_-a").write_text(
        "Linux web-1 5.15.0-107-generic #117-Ubuntu SMP x86_64 GNU/Linux\n"
    )
    (folder / "dmesg.gz").write_bytes(gzip.compress(dmesg(oops()).encode()))
    (folder / "core").write_bytes(b"\x7fELF\0\0" + BOOT.encode())
    (folder / "loop").symlink_to("..")
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize("mode", ["", "w", "w:gz", "w:xz"])
def test_a_sosreport_as_a_folder_and_as_antar(tmp_path: Path, mode: str) -> None:
    folder = sosreport(tmp_path)
    path = folder
    if mode:
        path = tmp_path / "sos.tar"
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            archive.add(folder, "sosreport-web-1")
    report = report_of(path)
    assert {target.identity["release"] for target in report.targets} == {
        "6.1.0-47-cloud-amd64",
        "5.15.0-107-generic",
        "6.8.0-31-generic",
    }
    assert report.skipped == ()


def test_what_is_hostile_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("no kernel\n" * 10)
    (tmp_path / "journal").write_bytes(b"LPKSHHRH" + bytes(5000))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"a line that is long enough\n" * 4_000_000, 9))
    (tmp_path / "broken.tar").write_bytes(tar({"a": b"x" * 2000})[:1500])
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "nothing": "no kernel names itself in it",
        "journal": "a binary journal: journalctl --file",
        "bomb.gz": "unpacks to more than 250 times",
        "broken.tar": "no kernel names itself|broken archive",
        "pipe": "to read from a pipe, say -",
        "missing": "cannot read",
    }.items():
        with pytest.raises(AuditError, match=reason):
            report_of(tmp_path / name)


def test_a_bad_member_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(
        tar({"../up": BOOT.encode(), "cut.gz": gzip.compress(b"x" * 5000)[:20], "in.tar": tar({"a": b"b"})})
    )
    report = report_of(path)
    assert [target.identity["named_in"] for target in report.targets] == [f"{path}:../up:1"]
    assert [item.label for item in report.skipped] == [f"{path}:cut.gz", f"{path}:in.tar"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "dmesg"
    log.write_text(dmesg([BOOT, *oops(kernel="6.1.0-47-cloud-amd64 #1 Debian 6.1.170-3")]))
    assert main(["--text", str(log), "--only", "5"]) == 0
    out = capsys.readouterr().out
    assert f"note: hint: {log}:2: this null dereference" in out
    assert main([str(log), "--only", "6"]) == 1
    assert "freplace-loop  affected" in capsys.readouterr().out
