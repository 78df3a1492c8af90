"""Pitfalls 1, 5 and 6: what the owner check of a prog_array and the update of one look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, REGISTERS, Finding, Insn, place_of
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["ARRAY_PUT", "OWNER_CHECK", "array_put", "owner_check"]

OWNER_CHECK = ("__bpf_prog_map_compatible", "bpf_prog_map_compatible", "bpf_prog_array_compatible")
ARRAY_PUT = "prog_fd_array_get_ptr"
_EXT = 0x1C
"""BPF_PROG_TYPE_EXT, the same since 5.6."""

_PROGRAM, _AUX, _DESTINATION = "program", "aux", "dst_prog"
_CLOBBERED = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
"""What a call may change (System V ABI)."""
_READING = frozenset(("cmp", "test", "push", "jmp", "nop", "ret"))


def owner_check(functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf) -> Iterator[Finding]:
    """Pitfalls 1 and 5: which type of a freplace program the owner check takes.

    It is saved_dst_prog_type since Linux kernel commit fdad456cbcca (in v6.11), dst_prog's type after a look since f7866c358733 (in
    v6.11), without one since 4a9c7bbe2ed4 (in v5.18) and 1c123c567fb1 (in v6.2), and EXT itself before.
    """
    places = {name: place_of(btf, "bpf_prog_aux", name) for name in ("dst_prog", "saved_dst_prog_type")}
    type_place, aux_place = place_of(btf, "bpf_prog", "type"), place_of(btf, "bpf_prog", "aux")
    name = next((name for name in OWNER_CHECK if name in decoded), None)
    if name is None or type_place is None or aux_place is None or places["dst_prog"] is None:
        return
    if f"{name}.part" in functions and f"{name}.part" not in decoded:
        return
    pieces = [decoded[name], decoded.get(f"{name}.part", [])]
    seen = _Resolution.of(pieces, type_place, aux_place, places["dst_prog"], places["saved_dst_prog_type"])
    function = functions[name]
    if seen.saved and not seen.destination and seen.compares_ext:
        told = f"{name}() takes saved_dst_prog_type of a freplace program"
        for commit in ("1c123c567fb1", "f7866c358733", "fdad456cbcca", "4a9c7bbe2ed4"):
            yield Finding(commit, True, function, told)
    elif seen.destination and not seen.saved and seen.compares_ext:
        yield Finding("1c123c567fb1", True, function, f"{name}() takes the type of a freplace program's dst_prog")
        yield Finding("4a9c7bbe2ed4", True, function, f"{name}() takes the type of dst_prog for freplace programs only")
        yield Finding("fdad456cbcca", False, function, f"{name}() does not look at saved_dst_prog_type")
        if seen.tested:
            yield Finding("f7866c358733", True, function, f"{name}() looks whether dst_prog is NULL")
        else:
            yield Finding(
                "f7866c358733", False, function, f"{name}() follows dst_prog without a look whether it is NULL"
            )
    elif seen.reads_type and not (seen.saved or seen.destination or seen.compares_ext or seen.hands_on):
        yield Finding(
            "1c123c567fb1",
            False,
            function,
            f"{name}() compares the program's own type, with no eye for freplace programs",
        )
        yield Finding("c04992612ed4", False, function, f"{name}() does not look at dst_prog")


class _Resolution(NamedTuple):
    """What the owner check does with a program: whether it reads its type, compares one with EXT, reads its aux's dst_prog and
    saved_dst_prog_type, looks whether dst_prog is NULL before it follows it, or hands the program to another function."""

    reads_type: bool
    compares_ext: bool
    destination: bool
    saved: bool
    tested: bool
    hands_on: bool

    @classmethod
    def of(
        cls, pieces: list[list[Insn]], type_place: int, aux_place: int, dst_prog: int, saved_type: int | None
    ) -> _Resolution:
        """Follow the program (the second argument), its aux and its dst_prog through the registers, in the order of the code."""
        holds = {"rsi": _PROGRAM}
        leads = {(_PROGRAM, aux_place): _AUX, (_AUX, dst_prog): _DESTINATION}
        reads_type = compares_ext = destination = saved = tested = followed = hands_on = False
        for number, insn in (pair for piece in pieces for pair in enumerate(piece)):
            first, last = insn.parts[0], insn.parts[-1]
            found: str | None = None
            for text in {first, last}:
                memory = MEMORY.fullmatch(text)
                if memory is None:
                    continue
                held, place = holds.get(memory.group(2)), int(memory.group(3) or "0", 0)
                wide = memory.group(1) == "qword"
                reads_type = reads_type or (held == _PROGRAM and place == type_place and not wide)
                saved = saved or (held == _AUX and place == saved_type and not wide)
                destination = destination or (held == _AUX and place == dst_prog and wide)
                tested = tested or (held == _AUX and place == dst_prog and insn.mnemonic == "cmp" and not followed)
                followed = followed or held == _DESTINATION
                found = leads.get((held or "", place)) if wide and text == last else found
            compares_ext = compares_ext or (insn.mnemonic == "cmp" and last == hex(_EXT))
            tested = tested or (
                insn.mnemonic == "test" and first == last and holds.get(first) == _DESTINATION and not followed
            )
            if insn.mnemonic == "call":
                # The call of the tracer, with which every function begins, keeps all registers.
                if number > 0:
                    hands_on = hands_on or holds.get("rdi") == _PROGRAM
                    holds = {register: held for register, held in holds.items() if register not in _CLOBBERED}
            elif insn.mnemonic not in _READING and (written := REGISTERS.get(first)) is not None:
                copied = holds.get(last) if insn.mnemonic == "mov" else None
                holds.pop(written, None)
                kept = found if insn.mnemonic == "mov" else None
                if kept or copied:
                    holds[written] = kept or copied or ""
        return cls(reads_type, compares_ext, destination, saved, tested, hands_on)


def array_put(functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf) -> Iterator[Finding]:
    """Pitfall 6: whether prog_fd_array_get_ptr() looks at is_extended of the program that is put.

    Linux kernel commit d6083f040d5d ("bpf: Prevent tailcall infinite loop caused by freplace") (in v6.13).
    """
    insns = decoded.get(ARRAY_PUT)
    if insns is None:
        return
    place = place_of(btf, "bpf_prog_aux", "is_extended")
    function = functions[ARRAY_PUT]
    if place is None:
        if btf.member("bpf_prog_aux", "dst_prog") is not None:
            yield Finding("d6083f040d5d", False, function, "struct bpf_prog_aux has no is_extended to look at")
        return
    for insn in insns:
        memory = MEMORY.fullmatch(insn.parts[0])
        if (
            insn.mnemonic == "cmp"
            and memory is not None
            and memory.group(1) == "byte"
            and int(memory.group(3) or "0", 0) == place
        ):
            yield Finding("d6083f040d5d", True, function, "prog_fd_array_get_ptr() looks at is_extended")
            return
