"""Pitfalls 1 and 5: which type the owner check of a prog_array takes for a freplace program.

Only the origin of the type is read. The other comparisons of the check and its result are not followed: a check that
takes the right type and refuses a program for another reason looks like pitfall 1 and like the refusal of pitfall 5. So
nothing here proves their fixes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.flow import Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, REGISTERS, flow_of
from tailcall_audit.analyzer.readers.code.claims import Place, PlaceState, Shown, taken_together
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["FUNCTIONS", "owner_check"]

FUNCTIONS = ("__bpf_prog_map_compatible", "bpf_prog_map_compatible", "bpf_prog_array_compatible")
_EXT = 0x1C
"""BPF_PROG_TYPE_EXT, the same since 5.6."""

_PROGRAM, _AUX, _DESTINATION = "program", "aux", "dst_prog"
_CLOBBERED = frozenset(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
"""The registers that a call may change (System V ABI)."""
_ARGUMENTS = frozenset(("rdi", "rsi", "rdx", "rcx", "r8", "r9"))
"""The registers that hand on arguments (System V ABI)."""
_NEAR = 10
"""The most instructions between the branch for type EXT and the type that is then taken."""
_READING = frozenset(("cmp", "test", "push"))


def owner_check(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf | None
) -> Iterator[Shown]:
    """Yields the claims about pitfalls 1 and 5: which type of a freplace program the owner check takes.

    It is saved_dst_prog_type since Linux kernel commit fdad456cbcca (in v6.11), the type of dst_prog with a check for
    NULL since f7866c358733 (in v6.11) and without one since 4a9c7bbe2ed4 (in v5.18) and 1c123c567fb1 (in v6.2), and EXT
    itself before.
    """
    if btf is None:
        return
    places = {name: place_of(btf, "bpf_prog_aux", name) for name in ("dst_prog", "saved_dst_prog_type")}
    type_place, aux_place = place_of(btf, "bpf_prog", "type"), place_of(btf, "bpf_prog", "aux")
    name = next((name for name in FUNCTIONS if name in decoded), None)
    if name is None or type_place is None or aux_place is None or places["dst_prog"] is None:
        return
    if f"{name}.part" in functions and f"{name}.part" not in decoded:
        return
    following = _Following(type_place, aux_place, places["dst_prog"], places["saved_dst_prog_type"])
    for piece in (name, f"{name}.part"):
        following.read(decoded.get(piece, []))
    seen = following.seen()
    if seen.compares_ext and (seen.saved or seen.destination):
        yield from _resolving(functions[name], seen)
    elif seen.reads_type and not (seen.saved or seen.destination or seen.compares_ext or seen.hands_on):
        shown = f"{name}() compares the program's own type, and does not treat freplace programs apart"
        yield from taken_together("target-type", [Place(PlaceState.LACKING, functions[name], shown)])
        shown = f"{name}() does not look at dst_prog"
        yield from taken_together("open-coded-target-type", [Place(PlaceState.LACKING, functions[name], shown)])


def _resolving(function: Function, seen: _Resolution) -> Iterator[Shown]:
    """Yields the claims of a check that looks at EXT and at dst_prog or its saved type."""
    name = function.name
    if seen.ext_leads is not PlaceState.THERE:
        shown = f"{name}() compares with EXT, and does not take the type of the program that is extended then"
        yield from taken_together("target-type", [Place(seen.ext_leads, function, shown)])
        return
    answer = Place(PlaceState.UNSEEN, function, f"what {name}() answers then")
    taken = "saved_dst_prog_type" if seen.saved else "the type of dst_prog"
    type_taken = Place(PlaceState.THERE, function, f"{name}() takes {taken} of a freplace program")
    yield from taken_together("extensions-only", [type_taken])
    yield from taken_together("target-type", [type_taken, answer])
    if seen.saved and not seen.destination:
        yield from taken_together("saved-target-type", [type_taken, answer])
        shown = f"{name}() follows no dst_prog"
        yield from taken_together("target-null-check", [Place(PlaceState.THERE, function, shown)])
    elif seen.destination and not seen.saved:
        shown = f"{name}() does not look at saved_dst_prog_type"
        yield from taken_together("saved-target-type", [Place(PlaceState.LACKING, function, shown)])
        shown = {
            PlaceState.THERE: f"{name}() checks dst_prog for NULL",
            PlaceState.ODD: f"{name}() checks dst_prog for NULL, and follows it anyway",
            PlaceState.UNSEEN: f"what {name}() does with a dst_prog that is NULL",
        }.get(seen.tested, f"{name}() follows dst_prog without checking it for NULL")
        yield from taken_together("target-null-check", [Place(seen.tested, function, shown)])


class _Resolution(NamedTuple):
    """What the owner check does with a program.

    The fields say that it reads the program's type; compares a type with EXT; reaches the type that is then taken from
    there (THERE: always, UNSEEN: perhaps, LACKING: never); reads dst_prog and saved_dst_prog_type of the program's aux;
    checks dst_prog for NULL before it follows it; passes the program on.
    """

    reads_type: bool
    compares_ext: bool
    ext_leads: PlaceState
    destination: bool
    saved: bool
    tested: PlaceState
    hands_on: bool


class _Following:
    """Follows the program (the second argument), its aux and its dst_prog through the registers, in the order of the
    code, and keeps what was seen.
    """

    def __init__(self, type_place: int, aux_place: int, dst_prog: int, saved_type: int | None) -> None:
        self._type, self._dst_prog, self._saved = type_place, dst_prog, saved_type
        self._leads = {(_PROGRAM, aux_place): _AUX, (_AUX, dst_prog): _DESTINATION}
        self._holds = {"rsi": _PROGRAM}
        self._given: set[str] = set()
        """The registers that arguments were moved to. The program itself may still be in its own when another function
        is called.
        """
        self._reads_type = self._destination = self._reads_saved = self._hands_on = False
        self._guard: tuple[list[Insn], int] | None = None
        self._takes: set[int] = set()
        self._follows: set[int] = set()
        self._compares: list[tuple[list[Insn], int]] = []

    def seen(self) -> _Resolution:
        """Returns what was seen of the pieces that were read."""
        leads = {_leads(*compare, self._takes) for compare in self._compares}
        return _Resolution(
            reads_type=self._reads_type,
            compares_ext=bool(self._compares),
            ext_leads=next((state for state in _BY_WEIGHT if state in leads), PlaceState.LACKING),
            destination=self._destination,
            saved=self._reads_saved,
            tested=PlaceState.LACKING if self._guard is None else _guarded(*self._guard, self._follows),
            hands_on=self._hands_on,
        )

    def read(self, piece: list[Insn]) -> None:
        """Reads a piece of the function."""
        for number, insn in enumerate(piece):
            first, last = insn.parts[0], insn.parts[-1]
            loaded = None
            for text in dict.fromkeys((first, last)):
                value = self._operand(text, piece, number)
                loaded = value if text == last else loaded
            if insn.mnemonic == "cmp" and last == hex(_EXT):
                self._compares.append((piece, number))
            if insn.mnemonic == "test" and first == last and self._holds.get(first) == _DESTINATION:
                self._compared_with_null(piece, number)
            self._hands_on = self._hands_on or _gives_away(insn, self._holds)
            if insn.mnemonic == "call":
                # The call of the tracer, with which every function begins, keeps all registers.
                if any(before.mnemonic != "endbr64" for before in piece[:number]):
                    self._call()
            elif insn.mnemonic not in _READING and (written := REGISTERS.get(first)) is not None:
                self._write(written, (loaded or self._holds.get(last)) if insn.mnemonic == "mov" else None)

    def _operand(self, text: str, piece: list[Insn], number: int) -> str | None:
        """Looks at an operand. Returns which object its memory points to, if that is known."""
        memory = MEMORY.fullmatch(text)
        if memory is None:
            return None
        held, place = self._holds.get(memory.group(2)), int(memory.group(3) or "0", 0)
        wide = memory.group(1) == "qword"
        if held == _PROGRAM and place == self._type and not wide:
            self._reads_type = True
        if held == _AUX and place == (self._dst_prog if wide else self._saved):
            self._takes.add(piece[number].address)
            self._reads_saved, self._destination = self._reads_saved or not wide, self._destination or wide
        if held == _AUX and place == self._dst_prog and piece[number].mnemonic == "cmp":
            self._compared_with_null(piece, number)
        if held == _DESTINATION:
            self._follows.add(piece[number].address)
        return self._leads.get((held or "", place)) if wide else None

    def _compared_with_null(self, piece: list[Insn], number: int) -> None:
        if not self._follows:
            self._guard = piece, number

    def _call(self) -> None:
        if any(self._holds.get(register) == _PROGRAM for register in ("rdi", *self._given)):
            self._hands_on = True
        self._holds = {register: held for register, held in self._holds.items() if register not in _CLOBBERED}

    def _write(self, register: str, held: str | None) -> None:
        self._holds.pop(register, None)
        if held is not None:
            self._holds[register] = held
            self._given |= {register} & _ARGUMENTS


def _gives_away(insn: Insn, holds: Mapping[str, str]) -> bool:
    """Returns True if an instruction puts the program, its aux or its dst_prog where it is not followed: into memory,
    onto the stack, or into a register by another instruction than `mov`.
    """
    first, last = insn.parts[0], insn.parts[-1]
    if last not in holds or insn.mnemonic in ("cmp", "test", "pop"):
        return False
    return insn.mnemonic != "mov" or first not in REGISTERS


def _guarded(piece: list[Insn], number: int, follows: set[int]) -> PlaceState:
    """Returns THERE if dst_prog is followed (by the instructions at `follows`) only behind the jump that finds it
    different from NULL.

    It is ODD if no such jump follows the comparison or another way leads there, and UNSEEN if dst_prog is not followed
    in this code, or other code that is not read may lead there.
    """
    flow = flow_of(piece)
    step = flow.when_different(number)
    if step is None:
        return PlaceState.ODD
    places = {index for index, insn in enumerate(piece) if insn.address in follows}
    if len(places) < len(follows) or not places:
        return PlaceState.UNSEEN
    around = flow.reached(without_steps={step})
    if places & around:
        return PlaceState.ODD
    return PlaceState.UNSEEN if _leave(flow, around) else PlaceState.THERE


def _leave(flow: Flow, reached: frozenset[int]) -> bool:
    """Returns True if a conditional jump among some instructions leads out of the function: to code that the compiler
    moved away, which may come back.
    """
    return any(flow.is_conditional(index) and flow.target(index) is None for index in reached)


_BY_WEIGHT = (PlaceState.THERE, PlaceState.UNSEEN)
"""One comparison that leads to the type is enough, and one that may lead there leaves it open."""


def _leads(piece: list[Insn], number: int, takes: set[int]) -> PlaceState:
    """Returns THERE if the branch for type EXT always reaches the type that is then taken (one of `takes`) in a few
    instructions, LACKING if it never does, and UNSEEN if it may: a compiler may put checks of its own (KASAN's) in
    between.
    """
    flow = flow_of(piece)
    start = number + 1
    if flow.decided_by(number) is not None:
        step = flow.when_equal(number)
        if step is None:
            return PlaceState.UNSEEN
        start = step[1]
    if start >= len(piece):
        return PlaceState.LACKING
    index: int | None = start
    for _ in range(_NEAR):
        if index is None:
            break
        if piece[index].address in takes:
            return PlaceState.THERE
        following = flow.steps(index)
        index = following[0] if len(following) == 1 else None
    reached = flow.reached(start)
    may = _leave(flow, reached) or any(piece[index].address in takes for index in reached)
    return PlaceState.UNSEEN if may else PlaceState.LACKING
