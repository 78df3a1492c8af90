"""Reads the console of a guest that ended: an oops in a probe's own functions, or the reason why it never came up."""

from __future__ import annotations

import re

from tailcall_audit.probes.probe import COULD_NOT_RUN, PRESENT, Probe, Result

__all__ = ["ending", "oops", "panicked", "why_not"]

_TIME = r"(?:\[[ 0-9.]{1,20}\])?[ \t]{0,20}"
_PLACE = r"(\w{1,200})\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}"
_WHERE = re.compile(
    rf"{_TIME}(?:RIP: [0-9a-f]{{1,8}}:|(?:pc|epc|ERA) ?: (?:[0-9a-f]{{1,16}} )?|NIP \[[0-9a-f]{{1,16}}\] |"
    rf"Krnl PSW : [0-9a-f]{{1,16}} [0-9a-f]{{1,16}} \(){_PLACE}",
    re.ASCII,
)
"""The line with the instruction pointer: on x86-64, on arm64, riscv64 and LoongArch, on powerpc64, on s390x
(show_regs() of each).
"""
_FRAME = re.compile(rf"{_TIME}(?:\? )?(?:\(?\[<?[0-9a-f]{{1,16}}>?\]\)? ){{0,2}}{_PLACE}", re.ASCII)
"""A line of a backtrace: the function alone, or behind one or two addresses."""
_LONGEST_LINE = 400
"""Characters of a line of the console that are looked at; the kernel's own are shorter."""
_OOPS = re.compile(
    r"(?:BUG: |Oops: |Oops \[#|general protection fault|kernel BUG at|Internal error: |"
    r"Unable to handle kernel |Kernel panic - not syncing: )[^\n]*"
)
"""The first words of an oops, on any architecture."""
_ADDRESS = re.compile(r" at virtual address (?:0x)?([0-9a-f]{1,16})\b", re.ASCII)
"""The address of a fault in those words, on arm64, riscv64 and LoongArch (die_kernel_fault(), no_context())."""
_TAG = re.compile(r"^bpf_prog_[0-9a-f]{16}_", re.ASCII)
"""The beginning of a program's name as bpf_get_prog_name() writes it, with the hash of its instructions."""
_REASONS = (
    (re.compile(r"unpacking failed|Initramfs unpacking"), "the kernel could not unpack its initramfs"),
    (re.compile(r"Unable to mount root fs|Cannot open root device"), "the kernel has no support for an initramfs (CONFIG_BLK_DEV_INITRD)"),
    (re.compile(r"No working init found|Failed to execute /init|Requested init .{0,200} failed"), "the kernel could not run the guest's first process (CONFIG_BINFMT_ELF, CONFIG_BINFMT_SCRIPT)"),
    (re.compile(r"System is deadlocked on memory|Out of memory|not enough memory"), "the guest has too little memory"),
    (re.compile(r"invalid kernel header|not a bzImage|linux kernel too old|Could not load kernel|unsupported kernel|Error loading uncompressed"), "QEMU cannot load this file as a kernel"),
)  # fmt: skip


def oops(probe: Probe, console: str, silent_for: float | None) -> Result:
    """Returns what the end of a guest in the middle of a probe means: an observation where the oops is in the probe's
    own functions, or at its own address.

    `silent_for` is how many seconds it said nothing before it was given up; None if it ended by itself.
    """
    found = _OOPS.search(console)
    if found is None:
        last = [line for line in console.splitlines() if line.strip()][-1:]
        said = f": {last[0].strip()[:200]}" if last else ""
        return Result(COULD_NOT_RUN, f"{ending(console, silent_for)} in the middle of it{said}", False)
    guilty = next((name for name in _functions(console, found) if name in probe.panics_in), None)
    what = found.group().strip()[:160]
    address = _ADDRESS.search(found.group()[:_LONGEST_LINE])
    if probe.faults_at and address is not None and int(address.group(1), 16) == probe.faults_at:
        return Result(PRESENT, f"jumped to the address that the probe had left on its stack: {what}")
    if guilty is None:
        return Result(COULD_NOT_RUN, f"{_place(console, found)}, which does not show this defect: {what}", False)
    return Result(PRESENT, f"panicked in {guilty}: {what}")


def ending(console: str, silent_for: float | None) -> str:
    """Returns how a guest ended, as the start of a sentence: where it oopsed, or that it did not."""
    found = _OOPS.search(console)
    if found is not None:
        return _place(console, found)
    return f"the guest said nothing for {silent_for:g} s" if silent_for is not None else "the guest ended"


def panicked(console: str) -> bool:
    """Returns True if the kernel panicked; a guest's kernel does so on each oops (``oops=panic``)."""
    return "Kernel panic - not syncing: " in console


def _place(console: str, found: re.Match[str]) -> str:
    functions = _functions(console, found)
    return f"the guest oopsed in {functions[0]}" if functions else "the guest oopsed"


def _functions(console: str, found: re.Match[str]) -> list[str]:
    """Returns the function of an oops and those that called it, as far as its backtrace shows them; a program's name
    is without the hash of its instructions.
    """
    # Line by line: a pattern over all of it takes time that grows with the square of what a hostile kernel prints.
    lines = [line[:_LONGEST_LINE] for line in console[found.start() :].split("\n")]
    where = [match.group(1) for match in map(_WHERE.match, lines) if match is not None]
    frames = [match.group(1) for match in map(_FRAME.match, lines) if match is not None]
    return [_TAG.sub("bpf_prog_", name) for name in (*where[:1], *frames[:40])]


def why_not(console: str, stderr: str, silent_for: float | None) -> str:
    """Returns why a guest never came to the probes, from its console and what QEMU said; `silent_for` is set when it
    was given up.
    """
    for pattern, reason in _REASONS:
        if pattern.search(console) or pattern.search(stderr):
            return reason
    if "Attempted to kill init" in console:
        said = console[: console.find("Kernel panic")].strip().splitlines()
        words = [line.strip() for line in said if line.strip() and not line.startswith("[")][:2]
        return f"the guest's first process ended: {'; '.join(words)[:300] or 'without a word'}"
    if "Kernel panic" in console or _OOPS.search(console):
        found = _OOPS.search(console[console.find("Kernel panic") :]) or _OOPS.search(console)
        return f"the kernel panicked before it reached user space: {found.group().strip()[:200] if found else ''}"
    if stderr.strip() and not console.strip():
        return f"QEMU: {stderr.strip().splitlines()[-1][:300]}"
    if not console.strip():
        more = f" within {silent_for:g} s" if silent_for is not None else ""
        return f"nothing on its serial line{more}: the kernel has no console there (CONFIG_SERIAL_8250_CONSOLE on x86-64, CONFIG_SERIAL_AMBA_PL011_CONSOLE on arm64), does not start on this machine, or wants more memory (--guest-memory)"
    last = [line for line in console.splitlines() if line.strip()][-1].strip()[:200]
    how = f"reported nothing for {silent_for:g} s" if silent_for is not None else "ended before it reported anything"
    return f"the guest {how}; its last words: {last}"
