"""Pitfall 6: a prog array refuses a program that is extended, and an extension a program that is in a prog array.

Linux kernel commit d6083f040d5d ("bpf: Prevent tailcall infinite loop caused by freplace") (in v6.13). It
changes prog_fd_array_get_ptr() and __bpf_trampoline_link_prog(), which are followed here. The other places are
prog_fd_array_put_ptr() and the detaching, which take the marks back, and the initialisation of the lock; a kernel
without those refuses more, never less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.flow import Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, flow_of
from tailcall_audit.analyzer.kernelfiles.isa.x86_64_paths import Fact, Path, Value, paths
from tailcall_audit.analyzer.readers.code.claims import Place, PlaceState, Shown, taken_together
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["ATTACH", "FUNCTIONS", "PUT", "extended_programs"]

PUT, ATTACH = "prog_fd_array_get_ptr", "__bpf_trampoline_link_prog"
FUNCTIONS = (PUT, ATTACH)
_EFFECT = "extended-refused"
_EXT = 0x1C
"""BPF_PROG_TYPE_EXT, the same since 5.6."""
_LAST_ADDRESS = -0x1000 % (1 << 64)
"""IS_ERR(): an address above this is an error."""
_EXTENDED, _COUNTED, _TYPE, _AUX = "is_extended", "prog_array_member_cnt", "type", "aux"


def extended_programs(
    functions: Mapping[str, Function], decoded: Mapping[str, list[Insn]], btf: Btf | None
) -> Iterator[Shown]:
    """Yields the claims about pitfall 6, from the put into a prog array and the attaching of an extension."""
    if PUT not in decoded or btf is None:
        return
    if btf.member("bpf_prog_aux", _EXTENDED) is None:
        if btf.member("bpf_prog_aux", "dst_prog") is not None:
            detail = "struct bpf_prog_aux has no is_extended to look at"
            yield from taken_together(_EFFECT, [Place(PlaceState.LACKING, functions[PUT], detail)])
        return
    places = [_put(functions[PUT], flow_of(decoded[PUT]), btf)]
    if ATTACH in decoded:
        places.append(_attach(functions[ATTACH], flow_of(decoded[ATTACH]), btf))
    else:
        places.append(Place(PlaceState.UNSEEN, functions[PUT], f"{ATTACH}()"))
    yield from taken_together(_EFFECT, places)


def _put(function: Function, flow: Flow, btf: Btf) -> Place:
    """Returns the place in prog_fd_array_get_ptr(), by its return value on each path."""
    places = [place_of(btf, "bpf_prog", name) for name in (_AUX, _TYPE)]
    places += [place_of(btf, "bpf_prog_aux", name) for name in (_EXTENDED, _COUNTED)]
    aux, kind, extended, counted = places
    if aux is None or kind is None or extended is None or counted is None:
        return Place(PlaceState.UNSEEN, function, f"{PUT}(), whose structures have another form")
    members = {
        ("call", "qword", aux): _AUX,
        ("call", "dword", kind): _TYPE,
        (_AUX, "byte", extended): _EXTENDED,
        (_AUX, "qword", counted): _COUNTED,
    }
    reads = [
        index
        for index, insn in enumerate(flow.insns)
        if any(_is_member(operand, "byte", extended) for operand in insn.parts)
    ]
    if not reads:
        return Place(PlaceState.ODD, function, f"{PUT}() looks at no is_extended, which struct bpf_prog_aux has")
    if _leaves(flow):
        return Place(PlaceState.UNSEEN, function, f"{PUT}(), which has code elsewhere")
    found = paths(flow, members)
    if found is None:
        return Place(PlaceState.UNSEEN, function, f"{PUT}(), which has too many paths to follow")
    simple = not any(_decided_otherwise(flow, index) for index in reads)
    looks = frozenset(index for index in reads if flow.decided_by(index) is not None)
    return _judge_put(function, found, looks if simple else None)


def _leaves(flow: Flow) -> bool:
    """Returns True if a conditional jump leads out of a function: to code that the compiler moved away, which may come
    back.
    """
    return any(flow.is_conditional(index) and flow.target(index) is None for index in range(len(flow.insns)))


def _decided_otherwise(flow: Flow, index: int) -> bool:
    """Returns True if an instruction is no comparison, or if another instruction than `je` or `jne` uses its result."""
    if flow.insns[index].mnemonic != "cmp":
        return True
    decider = flow.decided_by(index)
    return decider is not None and flow.insns[decider].mnemonic not in ("je", "jne")


def _judge_put(function: Function, found: list[Path], looks: frozenset[int] | None) -> Place:
    """Returns the place that the paths show. `looks` are the comparisons with is_extended: a path without one has not
    looked at it. It is None if is_extended is not only compared in place.
    """
    # The program is the object whose is_extended some path has looked at; without any, the first that a path returns.
    programs = {fact.value.number for path in found for fact in path.facts if fact.value.kind == _EXTENDED}
    programs = programs or {path.returned.number for path in found if path.returned and path.returned.kind == "call"}
    if not programs:
        return Place(PlaceState.UNSEEN, function, f"{PUT}(), which has another form")
    number = min(programs)
    program, extended = Value("call", number), Value(_EXTENDED, number)
    error = Fact(program, _LAST_ADDRESS, "above", True)
    taken = [path for path in found if path.returned == program and error not in path.facts]
    if not taken:
        known = all(path.returned is not None for path in found)
        state = PlaceState.ODD if known else PlaceState.UNSEEN
        return Place(state, function, f"{PUT}(), which looks at is_extended, and takes no program")
    free, plain = Fact(extended, 0, "equal", True), Fact(Value(_TYPE, number), _EXT, "equal", False)
    if any(Fact(extended, 0, "equal", False) in path.facts for path in taken) or (
        looks is not None and any(looks.isdisjoint(path.passed) for path in taken)
    ):
        return Place(PlaceState.LACKING, function, f"{PUT}() takes a program without regard to its is_extended")
    if any(free not in path.facts for path in taken):
        return Place(PlaceState.UNSEEN, function, f"what {PUT}() does about is_extended")
    uncounted = [path for path in taken if Value(_COUNTED, number) not in path.increased]
    if any(Value(_COUNTED, number) in path.stored for path in uncounted):
        # A compiler may load it, add one and store it.
        return Place(PlaceState.UNSEEN, function, f"how {PUT}() counts a program that it takes")
    if uncounted:
        return Place(PlaceState.LACKING, function, f"{PUT}() does not count a program that it takes")
    if any(plain not in path.facts for path in taken):
        return Place(PlaceState.ODD, function, f"{PUT}() looks at is_extended, and takes freplace programs")
    others = {path.returned for path in found} - {program}
    if any(value is None or value.kind != "constant" for value in others):
        return Place(PlaceState.UNSEEN, function, f"what {PUT}() returns on each of its paths")
    return Place(PlaceState.THERE, function, f"{PUT}() refuses a program that is extended, and counts what it takes")


def _attach(function: Function, flow: Flow, btf: Btf) -> Place:
    """Returns the place in __bpf_trampoline_link_prog(): it attaches an extension only after it has read the target's
    count, and marks the target.
    """
    counted, extended = place_of(btf, "bpf_prog_aux", _COUNTED), place_of(btf, "bpf_prog_aux", _EXTENDED)
    slot = place_of(btf, "bpf_trampoline", "extension_prog")
    unseen = Place(PlaceState.UNSEEN, function, f"{ATTACH}(), which has another form")
    if counted is None or extended is None or slot is None or not flow.is_whole or _leaves(flow):
        return unseen
    if counted == slot:
        return unseen  # a look at the trampoline's extension would pass for one at the target's count
    attached = {
        index for index, insn in enumerate(flow.insns) if _writes(insn, "qword", slot) and insn.mnemonic == "mov"
    }
    compares = [
        index
        for index, insn in enumerate(flow.insns)
        if insn.mnemonic == "cmp" and _writes(insn, "qword", counted) and insn.parts[-1] == "0"
    ]
    if not attached & flow.reached():
        return unseen
    if not compares:
        # The comparison may be in a function of its own.
        return unseen._replace(detail=f"{ATTACH}(), which looks at no prog_array_member_cnt")
    if any(_decided_otherwise(flow, index) for index in compares):
        return unseen
    free = {step for index in compares if (step := flow.when_equal(index)) is not None}
    if attached & flow.reached(without_steps=free):
        return Place(
            PlaceState.LACKING, function, f"{ATTACH}() attaches an extension without regard to prog_array_member_cnt"
        )
    marks = {
        index
        for index, insn in enumerate(flow.insns)
        if _writes(insn, "byte", extended) and insn.mnemonic == "mov" and insn.parts[-1] == "1"
    }
    if attached & flow.reached(without=marks):
        return Place(PlaceState.LACKING, function, f"{ATTACH}() does not mark the program that it extends")
    return Place(PlaceState.THERE, function, f"{ATTACH}() refuses a target that is in a prog array, and marks others")


def _writes(insn: Insn, width: str, place: int) -> bool:
    """Returns True if an instruction's first operand is memory of a width at an offset of some object."""
    return _is_member(insn.parts[0], width, place)


def _is_member(operand: str, width: str, place: int) -> bool:
    memory = MEMORY.fullmatch(operand)
    return memory is not None and memory.group(1) == width and int(memory.group(3) or "0", 0) == place
