"""Guests that never come up, known by what QEMU and the console say. A shell script stands in for QEMU; real ones are
in tests/live.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailcall_audit.probes.guest import boot as vm
from tailcall_audit.probes.guest import qemu as qemu_module
from tailcall_audit.probes.guest.boot import Guest, GuestError, GuestRun, Qemu, find_qemu, run_in_guest
from tailcall_audit.probes.guest.frames import frame, short
from tailcall_audit.probes.guest.machines import MACHINES, Machine
from tailcall_audit.probes.guest.qemu import is_native
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result

PANIC = (
    "BUG: kernel NULL pointer dereference, address: 0000000000000004\n"
    "[    1.0] Oops: 0000 [#1]\n[    1.0] RIP: 0010:bpf_prog_map_compatible+0x1c/0x90\n[    1.0] Call Trace:\n"
    "[    1.0]  prog_fd_array_get_ptr+0x2c/0x70\n"
)


def qemu(tmp_path: Path, script: str) -> str:
    """A program that is started as QEMU is: its second serial line is the file named in its arguments."""
    path = tmp_path / "qemu"
    path.write_text(
        '#!/bin/bash\nfor word in "$@"; do case $word in file:*) results=${word#file:};; tca.only=*) only=$word;; *tca.only=*) only=${word##*tca.only=};; esac; done\n'
        + script
    )
    path.chmod(0o755)
    return str(path)


def run(tmp_path: Path, script: str, patience: float = 120.0, slugs: tuple[str, ...] = ("x86-hierarchy",)) -> GuestRun:
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"")
    return run_in_guest(
        image, image, Guest(patience=patience), slugs, qemu=Qemu(qemu(tmp_path, script)), architecture="x86_64"
    )


def frames_of(*frames: tuple[str, ...]) -> str:
    """Shell commands that send frames."""
    return "".join(
        f"printf '{frame(number, fields).decode().strip()}\\n' >$results\n" for number, fields in enumerate(frames)
    )


HELLO = ("hello", "6.1.0", "#1 SMP", "1", "1", "", "1", "4096")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "nothing on its serial line"),
        ("echo 'qemu: could not load kernel' >&2; echo 'invalid kernel header' >&2; exit 1", "cannot load this file"),
        ("echo 'qemu-system-x86_64: unknown option' >&2; exit 1", "QEMU: qemu-system-x86_64: unknown option"),
        ("echo '[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs'", "no support for an initramfs"),
        ("echo '[ 1.0] Kernel panic - not syncing: No working init found.'", "could not run the guest's first process"),
        ("echo '[ 1.0] Kernel panic - not syncing: System is deadlocked on memory'", "too little memory"),
        (
            "echo 'Fatal Python error: x'; echo '[ 1.0] Kernel panic - not syncing: Attempted to kill init!'",
            "first process ended: Fatal Python error: x",
        ),
        (
            "echo '[ 1.0] Kernel panic - not syncing: ACPI'",
            "panicked before it reached user space: Kernel panic - not syncing: ACPI",
        ),
        ("echo 'Booting...'", "ended before it reported anything; its last words: Booting..."),
        ("echo 'Booting...'; sleep 60", "reported nothing for 4 s; its last words: Booting..."),
    ],
)
def test_a_guest_that_never_comes_up_says_why(tmp_path: Path, script: str, reason: str) -> None:
    found = run(tmp_path, script, patience=4.0 if "sleep" in script else 120.0)
    assert found.failure is not None
    assert reason in found.failure
    assert found.results["x86-hierarchy"] == Result(COULD_NOT_RUN, found.failure, False)


def test_results_come_through_noise(tmp_path: Path) -> None:
    sent = frames_of(
        HELLO,
        ("start", "x86-hierarchy"),
        ("result", "x86-hierarchy", ABSENT, "34 entries", "1", ""),
        ("end", "0.5", ""),
    )
    noise = "printf '[ 1.0] audit: ~TCA 2 deadbeef 6161\\n' >$results\n"
    found = run(tmp_path, noise + sent)
    assert found.results == {"x86-hierarchy": Result(ABSENT, "34 entries", True)}
    assert (found.release, found.failure, found.boots, found.seconds) == ("6.1.0", None, 1, 0.5)


def test_a_guest_that_reports_nonsense_is_not_believed(tmp_path: Path) -> None:
    sent = frames_of(
        HELLO,
        ("start",),
        ("start", "no-such-probe"),
        ("result", "no-such-probe", PRESENT, "", "1", ""),
        ("result", "x86-hierarchy", "on fire", "", "1", ""),
        ("end", "nan", "everything"),
        ("",),
    )
    found = run(tmp_path, sent)
    assert found.results == {"x86-hierarchy": Result(COULD_NOT_RUN, "the guest did not report every probe", False)}
    assert found.seconds is None


def test_a_guest_that_never_stops_sending_is_given_up(tmp_path: Path) -> None:
    lines = "".join(f"{frame(number, ('start', 'x')).decode().strip()}\n" for number in range(2000))
    (tmp_path / "frames").write_text(lines)
    found = run(
        tmp_path, f"cat {tmp_path}/frames >$results; while :; do cat {tmp_path}/frames >$results; sleep 0.1; done", 1.0
    )
    assert found.results["x86-hierarchy"].state == COULD_NOT_RUN


def test_a_panic_in_the_right_function_is_seen_and_the_others_run_in_another_boot(tmp_path: Path) -> None:
    first = frames_of(HELLO, ("start", "freplace-attached-panic")) + f"cat <<'EOF'\n{PANIC}EOF\n"
    second = frames_of(
        HELLO, ("start", "x86-hierarchy"), ("result", "x86-hierarchy", ABSENT, "34", "1", ""), ("end", "0.1", "")
    )
    panic = short("freplace-attached-panic")
    script = f"case ,${{only%% *}}, in *,{panic},*) {first.strip()}\n;; *) {second.strip()}\n;; esac"
    found = run(tmp_path, script, slugs=("freplace-attached-panic", "x86-hierarchy"))
    assert found.results["freplace-attached-panic"].state == PRESENT
    assert found.results["freplace-attached-panic"].detail.startswith(
        "panicked in bpf_prog_map_compatible: BUG: kernel NULL"
    )
    assert found.results["x86-hierarchy"].state == ABSENT
    assert found.boots == 2


def test_a_panic_elsewhere_and_a_silent_end_say_nothing_about_the_defect(tmp_path: Path) -> None:
    started = frames_of(HELLO, ("start", "freplace-attached-panic"))
    elsewhere = PANIC.replace("bpf_prog_map_compatible", "acpi_init").replace("prog_fd_array_get_ptr", "x")
    found = run(tmp_path, started + f"cat <<'EOF'\n{elsewhere}EOF\n", slugs=("freplace-attached-panic",))
    assert found.results["freplace-attached-panic"].state == COULD_NOT_RUN
    assert "oopsed in acpi_init, which does not show this defect" in found.results["freplace-attached-panic"].detail
    found = run(tmp_path, started + "sleep 60", patience=4.0, slugs=("freplace-attached-panic",))
    assert "said nothing for 4 s in the middle of it" in found.results["freplace-attached-panic"].detail


def test_an_oops_that_no_probe_explains_gets_the_earlier_ones_a_second_boot(tmp_path: Path) -> None:
    """What x86-hierarchy made may be freed while x86-count-offset runs. The second boot ends in order."""
    oops = PANIC.replace("bpf_prog_map_compatible", "bpf_prog_free_deferred").replace("prog_fd_array_get_ptr", "x")
    absent = (("start", "x86-hierarchy"), ("result", "x86-hierarchy", ABSENT, "34", "1", ""))
    first = frames_of(HELLO, *absent, ("start", "x86-count-offset")) + f"cat <<'EOF'\n{oops}EOF\n"
    second = frames_of(HELLO, *absent, ("end", "0.1", ""))
    script = (
        f"case ,${{only%% *}}, in *,{short('x86-count-offset')},*) {first.strip()}\n;; *) {second.strip()}\n;; esac"
    )
    found = run(tmp_path, script, slugs=("x86-hierarchy", "x86-count-offset"))
    assert found.results["x86-hierarchy"] == Result(ABSENT, "34", True)
    assert found.results["x86-count-offset"].state == COULD_NOT_RUN
    assert (
        "oopsed in bpf_prog_free_deferred, which does not show this defect" in found.results["x86-count-offset"].detail
    )
    assert (found.boots, found.failure) == (2, None)


def test_no_qemu_and_an_old_one_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(qemu_module, "_PLACES", ())
    with pytest.raises(GuestError, match="apt-get install qemu-system-x86"):
        find_qemu("x86_64")
    with pytest.raises(GuestError, match="no guest of sparc64 can be booted: guests of x86_64, arm64"):
        find_qemu("sparc64")
    old = tmp_path / "qemu-system-x86_64"
    old.write_text("#!/bin/sh\necho QEMU emulator version 4.2.1\n")
    old.chmod(0o755)
    with pytest.raises(GuestError, match=r"version 4\.2; 5\.0 is needed"):
        find_qemu("x86_64")


def test_the_guest_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"")
    program = qemu(tmp_path, f"echo $$ >{tmp_path}/pid\nexec sleep 300")
    script = (
        "from pathlib import Path; from tailcall_audit.probes.guest.boot import *\n"
        f"run_in_guest(Path('{tmp_path}/vmlinuz'), Path('{tmp_path}/vmlinuz'), slugs=['x86-hierarchy'], qemu=Qemu('{program}'))"
    )
    audit = subprocess.Popen([sys.executable, "-c", script], cwd=Path(vm.__file__).parents[3])
    marker = tmp_path / "pid"
    for _ in range(2400):
        if marker.exists() and marker.read_text().strip():
            break
        time.sleep(0.05)
    guest = int(marker.read_text())
    audit.send_signal(signal.SIGKILL)
    audit.wait()
    for _ in range(2400):
        if not os.path.exists(f"/proc/{guest}") or "Z" in Path(f"/proc/{guest}/stat").read_text().split(")")[1][:3]:
            return
        time.sleep(0.05)
    os.kill(guest, signal.SIGKILL)
    pytest.fail("the guest outlived the process that started it")


def test_a_guest_that_never_stops_sending_costs_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new frame starts the patience anew, and a hostile kernel has as many as it likes."""
    monkeypatch.setattr(vm, "_BOOT_TIME", 2)
    monkeypatch.setattr(vm, "_RUN_TIME", 3)
    hello = frame(0, HELLO).decode().strip()
    script = (
        f"printf '{hello}\\n' >$results\nfor n in $(seq 1 1000); do\n"
        + "".join(
            f"printf '{frame(number, ('note', str(number))).decode().strip()}\\n' >$results; sleep 0.2\n"
            for number in range(1, 120)
        )
        + "done\n"
    )
    found = run(tmp_path, script, patience=1.0)
    assert found.boots <= 2
    assert found.results["x86-hierarchy"].state == COULD_NOT_RUN


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.architecture)
def test_each_machine_gets_its_board_processor_and_console(machine: Machine, tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"")
    program = Qemu(qemu(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/arguments'))
    run_in_guest(image, image, Guest(patience=120), ("x86-hierarchy",), qemu=program, architecture=machine.architecture)
    words = (tmp_path / "arguments").read_text().splitlines()
    assert words[words.index("-cpu") + 1] == machine.processor
    assert set(machine.board) <= set(words)
    line = words[words.index("-append") + 1]
    assert line.startswith("console=")
    # 512 bytes are what the shortest command line of a kernel has (riscv64 before 6.4).
    assert len(line) < 512
    assert words.count("-serial") == (2 if machine.results else 1)
    assert ("tca.results=" in line) is bool(machine.results)


def test_a_foreign_guest_has_no_kvm(tmp_path: Path) -> None:
    foreign = next(machine for machine in MACHINES if not is_native(machine))
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"")
    with pytest.raises(GuestError, match=f"--kvm: the image is for {foreign.architecture}"):
        run_in_guest(image, image, Guest(kvm=True), qemu=Qemu("/bin/true"), architecture=foreign.architecture)


def test_qemu_is_confined_and_runs_as_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What QEMU is started with: a sandbox, no devices but those meant, limits, and no privileges where root starts it."""
    script = (
        'echo "$@" >'
        + f"{tmp_path}/arguments; id -u >{tmp_path}/user; ulimit -v >{tmp_path}/memory; ulimit -c >{tmp_path}/core"
    )
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"")
    confined = Qemu(qemu(tmp_path, script), ("-sandbox", "on"))
    run_in_guest(image, image, Guest(memory=300, patience=120), ("x86-hierarchy",), qemu=confined)
    words = (tmp_path / "arguments").read_text().split()
    assert words[words.index("-sandbox") + 1] == "on"
    assert words[words.index("-nic") + 1] == "none"
    assert "-nodefaults" in words
    assert not {"-drive", "-hda", "-netdev", "-virtfs", "-fsdev"} & set(words)
    assert 300 << 10 < int((tmp_path / "memory").read_text()) < 4 << 20
    assert (tmp_path / "core").read_text().strip() == "0"
    if os.geteuid() == 0:
        assert (tmp_path / "user").read_text().strip() == "65534"
