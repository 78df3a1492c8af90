"""What the machine code of a kernel's functions shows, on x86-64: fixes that change what the JIT emits, or one function's body.

Each signature says on which builds it was seen, answers present, absent or nothing, and never guesses: a function that is not there,
does not decode whole, or has a shape that was not seen gives no answer. Operands are decoded; where a structure's member stands, its
place comes from the kernel's BTF.

All were seen on Debian's gcc builds of 5.10.218, 6.1.170, 6.1.192, 6.12.94, 6.12.117, 6.19.6, 7.0.4, 7.1.3, 7.2.13 and 7.3.4, and on two
gcc builds of a small configuration of 5.10.218 and 6.1.170, each with one fix taken out. No clang build was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from analyzer.image.binary import Function
from probes.btf import Btf

__all__ = ["FUNCTIONS", "Finding", "findings"]

_JIT = ("do_jit", "emit_bpf_tail_call_direct", "emit_bpf_tail_call_indirect", "emit_prologue")
_TRAMPOLINE = ("__arch_prepare_bpf_trampoline", "arch_prepare_bpf_trampoline")
_OWNER_CHECK = ("__bpf_prog_map_compatible", "bpf_prog_map_compatible", "bpf_prog_array_compatible")
_ARRAY_PUT = "prog_fd_array_get_ptr"
FUNCTIONS = (*_JIT, *_TRAMPOLINE, *_OWNER_CHECK, _ARRAY_PUT)
"""The functions that are looked at."""

# What EMIT3() and EMIT4() of arch/x86/net/bpf_jit_comp.c store: an instruction's bytes as one little-endian word.
_LOAD_RAX_FROM_STACK = "0x858b48"  # mov rax, [rbp + disp32]
_COMPARE_BEHIND_POINTER = "0x21388348"  # cmp qword ptr [rax], 33
_COMPARE_POINTER = "0x21f88348"  # cmp rax, 33
_COMPARE_COUNT = ("0x21f883", "0x20f883")  # cmp eax, 33; before 5.17 the limit was 32
_SET_FRAME_POINTER = "0xe58948"  # mov rbp, rsp
_EXT = 0x1C
"""BPF_PROG_TYPE_EXT, the same since 5.6."""
_WINDOW = 24

_PROGRAM, _AUX, _DESTINATION = "program", "aux", "dst_prog"
_CLOBBERED = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
"""What a call may change (System V ABI)."""
_READING = frozenset(("cmp", "test", "push", "jmp", "nop", "ret"))

_MEMORY = re.compile(r"(byte|word|dword|qword) ptr \[(\w+)(?: \+ (0x[0-9a-f]+|\d+))?\]")
_REGISTERS = {}
for _wide, _names in {
    "rax": "eax ax al", "rbx": "ebx bx bl", "rcx": "ecx cx cl", "rdx": "edx dx dl", "rsi": "esi si sil", "rdi": "edi di dil",
    "rbp": "ebp bp bpl", "rsp": "esp sp spl",
}.items():  # fmt: skip
    for _name in (_wide, *_names.split()):
        _REGISTERS[_name] = _wide
for _number in range(8, 16):
    for _suffix in ("", "d", "w", "b"):
        _REGISTERS[f"r{_number}{_suffix}"] = f"r{_number}"


class Finding(NamedTuple):
    """What the code shows of a commit: it is there or not, and in which words. `complete` is False where the fix has parts elsewhere."""

    commit: str
    present: bool
    function: Function
    detail: str
    complete: bool = True


class _Insn(NamedTuple):
    mnemonic: str
    operands: str

    @property
    def parts(self) -> list[str]:
        return [part.strip() for part in self.operands.split(",", 1)]


def _decode(function: Function) -> list[_Insn] | None:
    """The instructions of a function; None where its bytes are not all code."""
    from capstone import CS_ARCH_X86, CS_MODE_64, Cs

    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    found = []
    size = 0
    for _, length, mnemonic, operands in decoder.disasm_lite(function.code, function.address):
        found.append(_Insn(mnemonic, operands))
        size += length
    # Up to the next symbol there may be padding that is no instruction.
    return found if size >= len(function.code) - 15 else None


def findings(functions: Mapping[str, Function], btf: Btf | None) -> Iterator[Finding]:
    """Everything that the code shows."""
    decoded = {name: insns for name, function in functions.items() if (insns := _decode(function)) is not None}
    yield from _hierarchy(functions, decoded)
    yield from _trampoline(functions, decoded)
    if btf is not None:
        yield from _count_offset(functions, decoded, btf)
        yield from _owner_check(functions, decoded, btf)
        yield from _array_put(functions, decoded, btf)


def _constants(insns: list[_Insn], wanted: str) -> int:
    """How many instructions store or use a constant as their last operand."""
    return sum(insn.parts[-1] == wanted for insn in insns)


def _hierarchy(functions: Mapping[str, Function], decoded: Mapping[str, list[_Insn]]) -> Iterator[Finding]:
    """Pitfall 4: what emit_bpf_tail_call_*() emits to compare the count, direct and indirect, and what emit_prologue() does.

    Linux kernel commit 116e04ba1459 ("bpf, x64: Fix tailcall hierarchy") (in v6.12).
    """
    if "do_jit" not in decoded:
        return
    insns = [insn for name in _JIT for insn in decoded.get(name, ())]
    behind = _constants(insns, _COMPARE_BEHIND_POINTER)
    pointer = _constants(insns, _COMPARE_POINTER)
    plain = sum(_constants(insns, value) for value in _COMPARE_COUNT)
    function = functions["do_jit"]
    if (behind, plain) == (2, 0) and pointer:
        yield Finding(
            "116e04ba1459", True, function, "the JIT emits `cmp qword ptr [rax], 33`: it counts behind a pointer"
        )
    elif (behind, pointer, plain) == (0, 0, 2):
        yield Finding(
            "116e04ba1459",
            False,
            function,
            "the JIT emits `cmp eax, 33`: it counts in a register that is not handed back",
        )


def _trampoline(functions: Mapping[str, Function], decoded: Mapping[str, list[_Insn]]) -> Iterator[Finding]:
    """Pitfall 3: whether a trampoline loads the count (or its pointer) back into rax, before the call and before it returns.

    Linux kernel commit 2b5dcb31a19a ("bpf, x64: Fix tailcall infinite loop") (in v6.7). Its part in the verifier is not looked for.
    """
    name = next(
        (name for name in _TRAMPOLINE if name in decoded and _constants(decoded[name], _SET_FRAME_POINTER)), None
    )
    if name is None:
        return
    loads = _constants(decoded[name], _LOAD_RAX_FROM_STACK)
    if loads == 2:
        yield Finding(
            "2b5dcb31a19a",
            True,
            functions[name],
            f"{name}() emits `mov rax, [rbp + …]` twice: it restores the count",
            False,
        )
    elif loads == 0:
        yield Finding(
            "2b5dcb31a19a", False, functions[name], f"{name}() emits no `mov rax, [rbp + …]`: it loses the count"
        )


def _offset(btf: Btf, struct: str, member: str) -> int | None:
    found = btf.member(struct, member)
    return None if found is None or found.offset % 8 else found.offset // 8


def _count_offset(functions: Mapping[str, Function], decoded: Mapping[str, list[_Insn]], btf: Btf) -> Iterator[Finding]:
    """Pitfall 2: how the place of the count is made from the program's stack depth before a call: rounded up to eight, or as it is.

    Linux kernel commit ff672c67ee76 ("bpf, x86: Fix tail call count offset calculation on bpf2bpf call") (in v5.19). Since 116e04ba1459 the
    place is made once for all uses, and no answer is given.
    """
    insns = decoded.get("do_jit")
    depth = _offset(btf, "bpf_prog_aux", "stack_depth")
    if insns is None or depth is None or _constants(insns, _COMPARE_BEHIND_POINTER):
        return
    sites = [
        index for index, insn in enumerate(insns) if insn.parts[-1] == _LOAD_RAX_FROM_STACK and insn.mnemonic == "mov"
    ]
    if len(sites) != 1:
        return
    target = _MEMORY.match(insns[sites[0]].parts[0])
    if target is None:
        return
    rounded = False
    reads = False
    for insn in insns[sites[0] + 1 : sites[0] + 1 + _WINDOW]:
        first, last = insn.parts[0], insn.parts[-1]
        stored = _MEMORY.match(first)
        if (
            stored is not None
            and stored.group(2) == target.group(2)
            and int(stored.group(3) or "0", 0) == int(target.group(3) or "0", 0) + 3
        ):
            if not reads:
                return
            if rounded:
                yield Finding(
                    "ff672c67ee76",
                    True,
                    functions["do_jit"],
                    "do_jit() rounds the stack depth up to 8 for the count's place before a call",
                )
            else:
                yield Finding(
                    "ff672c67ee76",
                    False,
                    functions["do_jit"],
                    "do_jit() takes the stack depth as it is for the count's place before a call",
                )
            return
        source = _MEMORY.fullmatch(last)
        if (
            source is not None
            and source.group(1) == "dword"
            and int(source.group(3) or "0", 0) == depth
            and insn.mnemonic in ("mov", "sub")
        ):
            reads = True
        # round_up(x, 8) is ((x - 1) | 7) + 1, or (x + 7) & -8.
        if (insn.mnemonic == "or" and last == "7") or (
            insn.mnemonic == "and" and last in ("0xfffffff8", "-8", "0xfffffffffffffff8")
        ):
            rounded = rounded or reads
        if insn.mnemonic.startswith("j") or insn.mnemonic in ("call", "ret"):
            return


def _owner_check(functions: Mapping[str, Function], decoded: Mapping[str, list[_Insn]], btf: Btf) -> Iterator[Finding]:
    """Pitfalls 1 and 5: which type of a freplace program the owner check takes.

    It is saved_dst_prog_type since Linux kernel commit fdad456cbcca (in v6.11), dst_prog's type after a look since f7866c358733 (in
    v6.11), without one since 4a9c7bbe2ed4 (in v5.18) and 1c123c567fb1 (in v6.2), and EXT itself before.
    """
    places = {name: _offset(btf, "bpf_prog_aux", name) for name in ("dst_prog", "saved_dst_prog_type")}
    type_place, aux_place = _offset(btf, "bpf_prog", "type"), _offset(btf, "bpf_prog", "aux")
    name = next((name for name in _OWNER_CHECK if name in decoded), None)
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
        cls, pieces: list[list[_Insn]], type_place: int, aux_place: int, dst_prog: int, saved_type: int | None
    ) -> _Resolution:
        """Follow the program (the second argument), its aux and its dst_prog through the registers, in the order of the code."""
        holds = {"rsi": _PROGRAM}
        leads = {(_PROGRAM, aux_place): _AUX, (_AUX, dst_prog): _DESTINATION}
        reads_type = compares_ext = destination = saved = tested = followed = hands_on = False
        for number, insn in (pair for piece in pieces for pair in enumerate(piece)):
            first, last = insn.parts[0], insn.parts[-1]
            found: str | None = None
            for text in {first, last}:
                memory = _MEMORY.fullmatch(text)
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
            elif insn.mnemonic not in _READING and (written := _REGISTERS.get(first)) is not None:
                copied = holds.get(last) if insn.mnemonic == "mov" else None
                holds.pop(written, None)
                kept = found if insn.mnemonic == "mov" else None
                if kept or copied:
                    holds[written] = kept or copied or ""
        return cls(reads_type, compares_ext, destination, saved, tested, hands_on)


def _array_put(functions: Mapping[str, Function], decoded: Mapping[str, list[_Insn]], btf: Btf) -> Iterator[Finding]:
    """Pitfall 6: whether prog_fd_array_get_ptr() looks at is_extended of the program that is put.

    Linux kernel commit d6083f040d5d ("bpf: Prevent tailcall infinite loop caused by freplace") (in v6.13).
    """
    insns = decoded.get(_ARRAY_PUT)
    if insns is None:
        return
    place = _offset(btf, "bpf_prog_aux", "is_extended")
    function = functions[_ARRAY_PUT]
    if place is None:
        if btf.member("bpf_prog_aux", "dst_prog") is not None:
            yield Finding("d6083f040d5d", False, function, "struct bpf_prog_aux has no is_extended to look at")
        return
    for insn in insns:
        memory = _MEMORY.fullmatch(insn.parts[0])
        if (
            insn.mnemonic == "cmp"
            and memory is not None
            and memory.group(1) == "byte"
            and int(memory.group(3) or "0", 0) == place
        ):
            yield Finding("d6083f040d5d", True, function, "prog_fd_array_get_ptr() looks at is_extended")
            return
