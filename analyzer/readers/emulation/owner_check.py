"""Cases of the owner check of a prog_array: which program may enter an array that another program owns.

The function under test records the owner itself: it is called with the owner's program first, then with the program in
question.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tailcall_audit.analyzer.emulator.calls import Call, End, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind, Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control

__all__ = ["CASES", "SYMBOLS"]

_FUNCTIONS = ("bpf_prog_map_compatible", "__bpf_prog_map_compatible", "bpf_prog_array_compatible")
_XDP, _TC = ProgramKind("XDP"), ProgramKind("SCHED_CLS")
_NULL_PAGE = 4096
_PROTO, _OTHER_PROTO = 0x1000, 0x2000
"""The types of two kernel functions: they are only compared, never followed."""
_ATTACH, _OTHER_ATTACH = 10, 11


def _answer(run: Run) -> Outcome:
    if run.end is End.FAULT and run.touched < _NULL_PAGE:
        return Outcome.NULL_DEREFERENCE
    if run.end is not End.RETURNED:
        raise EmulationError(Why.UNEXPECTED_FAULT, run.describe())
    value = run.value & 0xFF
    if value not in (0, 1):
        raise EmulationError(Why.CONTROL, f"a bool of {value:#x}")
    return Outcome.ACCEPTED if value else Outcome.REFUSED


class _Check:
    """One fresh prog_array with an owner."""

    def __init__(self, stage: Stage, owner: ProgramKind) -> None:
        self.scene: Scene = stage.scene()
        self.function = self.scene.first_of(_FUNCTIONS)
        self.array = self.scene.prog_array()
        run = self.scene.call(self.function, self.array, self.scene.program(owner))
        control(
            _answer(run) is Outcome.ACCEPTED,
            f"{self.function}() refuses the first {owner.type} program: {run.describe()}",
        )

    def enter(self, candidate: ProgramKind) -> tuple[Outcome, Run]:
        """Returns the outcome of the check for another program, and its run."""
        run = self.scene.call(self.function, self.array, self.scene.program(candidate))
        return _answer(run), run


def _controls(stage: Stage, owner: ProgramKind) -> None:
    """Raises EmulationError unless a program like the owner enters and one of another type does not, as on every
    kernel.
    """
    other = _TC if owner.type != _TC.type else _XDP
    same, run = _Check(stage, owner).enter(owner)
    control(same is Outcome.ACCEPTED, f"a program like its {owner.type} owner: {run.describe()}")
    caller, run = _Check(stage, owner).enter(owner._replace(aux={**owner.aux, "tail_call_reachable": 1}))
    control(caller is Outcome.ACCEPTED, f"a program like its {owner.type} owner that tail-calls: {run.describe()}")
    different, run = _Check(stage, owner).enter(other)
    control(different is Outcome.REFUSED, f"a {other.type} program in the array of {owner.type}: {run.describe()}")


def _case(
    stage: Stage, owner: ProgramKind, candidate: ProgramKind, words: str, never: ProgramKind | None = None
) -> Finding:
    """Returns the finding of the check for a candidate. `never` is a candidate that no kernel may accept."""
    _controls(stage, owner)
    check = _Check(stage, owner)
    outcome, run = check.enter(candidate)
    if never is not None and outcome is Outcome.ACCEPTED:
        refused, wrong = _Check(stage, owner).enter(never)
        control(refused is Outcome.REFUSED, f"the same of another type: {wrong.describe()}")
    address = stage.bench.kernel.function(check.function)
    if outcome is Outcome.NULL_DEREFERENCE:
        return Finding(outcome, f"{check.function}() at {address:#x} {run.describe()} when it is asked about {words}")
    did = "lets in" if outcome is Outcome.ACCEPTED else "refuses"
    returned = int(outcome is Outcome.ACCEPTED)
    return Finding(outcome, f"{check.function}() at {address:#x} {did} {words} (it returns {returned})")


def _extension(stage: Stage, words: str, attached: bool) -> Finding:
    """Checks a freplace program. Once it is attached, only the saved type names the type of the program that it
    replaced.
    """

    def of(target: ProgramKind) -> ProgramKind:
        number = stage.bench.number("bpf_prog_type", f"BPF_PROG_TYPE_{target.type}")
        return ProgramKind("EXT", aux={"saved_dst_prog_type": number}, target=None if attached else target)

    return _case(stage, _XDP, of(_XDP), words, never=of(_TC))


def _tracer(stage: Stage) -> Finding:
    """Checks a tracer of a program of the owner's type: it does not have that type itself."""
    number = stage.bench.number("bpf_prog_type", "BPF_PROG_TYPE_XDP")
    tracer = ProgramKind("TRACING", aux={"saved_dst_prog_type": number}, target=_XDP)
    return _case(stage, _XDP, tracer, "an fentry program of an XDP program, where XDP is the owner")


def _other_function(stage: Stage, kind: str) -> Finding:
    """Checks programs of one type for two functions of the kernel that have different arguments."""
    owner = ProgramKind(kind, aux={"attach_func_proto": _PROTO})
    other = ProgramKind(kind, aux={"attach_func_proto": _OTHER_PROTO})
    return _case(stage, owner, other, f"a {kind} program of another function than the owner's")


def _other_attach_type(stage: Stage) -> Finding:
    owner = ProgramKind("CGROUP_SOCK_ADDR", program={"expected_attach_type": _ATTACH})
    other = ProgramKind("CGROUP_SOCK_ADDR", program={"expected_attach_type": _OTHER_ATTACH})
    return _case(stage, owner, other, "a program of another expected attach type than the owner's")


def _other_storage(stage: Stage, index: int) -> Finding:
    owner = ProgramKind("CGROUP_SKB", cookies=_cookies(index, 5))
    other = ProgramKind("CGROUP_SKB", cookies=_cookies(index, 7))
    return _case(stage, owner, other, f"a program with another {_STORAGES[index]} cgroup storage than the owner's")


def _bridge(stage: Stage, index: int) -> Finding:
    """Checks a program without storage. If it tail-calls, it leads from one storage to another; if it does not, it may
    enter.
    """
    owner = ProgramKind("CGROUP_SKB", cookies=_cookies(index, 5))
    harmless, run = _Check(stage, owner).enter(ProgramKind("CGROUP_SKB"))
    control(harmless is Outcome.ACCEPTED, f"a program without storage and without a tail call: {run.describe()}")
    bridge = ProgramKind("CGROUP_SKB", aux={"tail_call_reachable": 1})
    words = f"a program without storage that tail-calls, where the owner has {_STORAGES[index]} cgroup storage"
    return _case(stage, owner, bridge, words)


def _sleepable(stage: Stage, owner: int) -> Finding:
    """Checks a program that may sleep with an owner that may not, and the other way round."""

    def kind(sleepable: int) -> ProgramKind:
        return ProgramKind("TRACING", program={"sleepable": sleepable}, aux={"sleepable": sleepable})

    words = (
        "a program that may sleep, where the owner may not"
        if not owner
        else "a program that may not sleep, where the owner may"
    )
    return _case(stage, kind(owner), kind(1 - owner), words)


def _locked(stage: Stage) -> Finding:
    """Returns DONE if the owner is recorded under its lock: a function takes it, or inlined code writes to its word."""
    taken: list[tuple[str, int]] = []

    def take(call: Call) -> int:
        taken.append((call.name, call.argument(0)))
        return _FLAGS

    scene = stage.scene(dict.fromkeys(_LOCKS, take))
    function = scene.first_of(_FUNCTIONS)
    array, program = scene.prog_array(), scene.program(_XDP)
    places = list(_locks(scene, array))
    written: list[int] = []
    for place, size in places:
        scene.machine.watch_writes(place, size, lambda where, *_: written.append(where))
    run = scene.call(function, array, program)
    control(_answer(run) is Outcome.ACCEPTED, f"{function}() refuses the first program: {run.describe()}")
    called = [name for name, lock in taken if any(place <= lock < place + size for place, size in places)]
    if taken and not called and not written:
        raise EmulationError(Why.NO_MEMBER, f"the lock of the owner that {taken[0][0]}() takes")
    address = stage.bench.kernel.function(function)
    how = f"calls {called[0]}()" if called else "writes to the owner's lock" if written else "takes no lock"
    outcome = Outcome.DONE if called or written else Outcome.NOT_DONE
    return Finding(outcome, f"{function}() at {address:#x} {how} when it makes a program the owner")


def _locks(scene: Scene, array: int) -> Iterator[tuple[int, int]]:
    """Yields the address of the owner's lock, in the structure in which the release has it, and its size in bytes."""
    places = [("bpf_array", "map.owner_lock", array), ("bpf_array", "map.owner.lock", array)]
    if scene.layout.field("bpf_array", "aux") is not None:
        places.append(("bpf_array_aux", "owner.lock", scene.objects.get(array, "bpf_array", "aux")))
    for struct, path, base in places:
        field = scene.layout.field(struct, path)
        if field is not None:
            yield base + field.offset // 8, max(1, field.size // 8)


_FLAGS = 0x200
"""Interrupts are enabled, for a lock that returns the flags."""
_LOCKS = (
    "_raw_spin_lock",
    "__raw_spin_lock",
    "_raw_spin_lock_nested",
    "_raw_spin_lock_irq",
    "rt_spin_lock",
    "_raw_spin_lock_bh",
    "_raw_spin_lock_irqsave",
    "mutex_lock",
    "mutex_lock_nested",
)


def _loaded_extension(stage: Stage) -> Finding:
    """Looks up a kfunc for a freplace program that is verified without a target. Only a target would give it a type."""
    parameters = stage.bench.layout.parameters(_KFUNC) or []
    if "prog" not in parameters:
        raise EmulationError(Why.NO_FUNCTION, f"{_KFUNC}() of a program")
    scene = stage.scene()

    def call(kind: ProgramKind) -> Run:
        values = {"btf": scene.objects.new("btf", {"kfunc_set_tab": 0}), "kfunc_btf_id": 1, "prog": scene.program(kind)}
        return scene.call(_KFUNC, *(values.get(name, 0) for name in parameters))

    plain = call(_XDP)
    control(plain.end is End.RETURNED, f"{_KFUNC}() for an XDP program: {plain.describe()}")
    number = stage.bench.number("bpf_prog_type", "BPF_PROG_TYPE_XDP")
    run = call(ProgramKind("EXT", aux={"saved_dst_prog_type": number}))
    if run.end is not End.RETURNED:
        _answer(run)  # raises if this is not the fault of a NULL pointer
    outcome = Outcome.DONE if run.end is End.RETURNED else Outcome.NULL_DEREFERENCE
    address = stage.bench.kernel.function(_KFUNC)
    did = "returns" if run.end is End.RETURNED else run.describe()
    return Finding(outcome, f"{_KFUNC}() at {address:#x} {did} for a freplace program whose dst_prog is NULL")


_KFUNC = "btf_kfunc_id_set_contains"
_STORAGES = ("shared", "per-CPU")
"""enum bpf_cgroup_storage_type."""


def _cookies(index: int, cookie: int) -> tuple[int, ...]:
    return tuple(cookie if number == index else 0 for number in range(len(_STORAGES)))


CASES: dict[str, Case] = {
    "owner-check/extension": partial(
        _extension, words="a freplace program of the owner's type, not yet attached", attached=False
    ),
    "owner-check/attached-extension": partial(
        _extension, words="an attached freplace program of the owner's type (dst_prog is NULL)", attached=True
    ),
    "owner-check/tracer": _tracer,
    "owner-check/other-function-tracing": partial(_other_function, kind="TRACING"),
    "owner-check/other-function-lsm": partial(_other_function, kind="LSM"),
    "owner-check/other-function-struct-ops": partial(_other_function, kind="STRUCT_OPS"),
    "owner-check/other-attach-type": _other_attach_type,
    "owner-check/other-storage-shared": partial(_other_storage, index=0),
    "owner-check/other-storage-per-cpu": partial(_other_storage, index=1),
    "owner-check/bridge-shared": partial(_bridge, index=0),
    "owner-check/bridge-per-cpu": partial(_bridge, index=1),
    "owner-check/locked": _locked,
    "owner-check/loaded-extension": _loaded_extension,
    "owner-check/sleepable": partial(_sleepable, owner=0),
    "owner-check/not-sleepable": partial(_sleepable, owner=1),
}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((*_FUNCTIONS, _KFUNC))
