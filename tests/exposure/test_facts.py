"""Each fact on its twins, and the registry against the catalogue."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.answers import not_met
from tailcall_audit.analyzer.exposure.facts.registry import facts, named
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.exposure.world import World
from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet
from tailcall_audit.probes.kernel.assembler import FP, HELPER_TAIL_CALL, R1, R2, R3, R6
from tests.exposure.assembled import JMP, OTHER, VALUES, array, assembled, entry, kfunc, leave, made
from tests.exposure.shapes import caller, extension, filled, plain, replaceable, sub, tracer
from tests.exposure.twins import TWINS

_FOLDER = Path(__file__).parents[2] / "analyzer/exposure"

_LOAD_SIGNED_BYTE = 0x91
"""BPF_LDX | BPF_MEMSX | BPF_B."""


def state(name: str, programs: ProgramSet, *, closed: bool, program: str | None = None) -> State:
    """The state of a fact about a set, or about one program of it."""
    world = World([programs], closed)
    found = [
        facts()[name](world, member).state
        for member in world.members
        if program is None or member.program.key == program
    ]
    return max(found)


def test_the_catalogue_describes_every_fact_and_no_other() -> None:
    assert set(facts()) == set(shipped_catalog().facts)


def test_every_fact_has_twins() -> None:
    assert set(TWINS) == set(facts())


@pytest.mark.parametrize("name", sorted(TWINS))
def test_twins_differ_in_a_closed_world(name: str) -> None:
    twins = TWINS[name]
    assert state(name, twins.met, closed=True) is State.MET, twins.name
    assert state(name, twins.twin, closed=True) is State.NOT_MET, twins.name


@pytest.mark.parametrize("name", sorted(TWINS))
def test_what_is_met_is_met_whatever_others_add(name: str) -> None:
    assert state(name, TWINS[name].met, closed=False) is State.MET


@pytest.mark.parametrize("name", sorted(TWINS))
def test_what_is_met_says_where(name: str) -> None:
    world = World([TWINS[name].met], closed=True)
    found = [facts()[name](world, member) for member in world.members]
    best = max(found, key=lambda item: item.state)
    assert best.where
    assert all(place.object == "made.o" for place in best.where)


def test_an_extension_that_an_object_has_without_its_target_is_possible() -> None:
    name = "extension-without-a-known-target"
    unknown = made(plain("x", kind="ext", attachment=Attachment(None, None, "sub")))
    known = filled(replaceable(), extension())
    refused = made(plain("x", kind="ext", has_target=False))
    assert state(name, unknown, closed=True) is State.POSSIBLE
    assert state(name, refused, closed=True) is State.POSSIBLE
    assert state(name, known, closed=False) is State.NOT_MET


def test_hooks_with_one_prototype_cannot_be_distinguished_from_others() -> None:
    name = "shares-a-prog-array-across-hooks"
    one = plain("entry", tail_calls=True, kind="lsm", attachment=Attachment("file_open", None, None))
    other = plain("other", kind="lsm", attachment=Attachment("file_mprotect", None, None))
    same = plain("other", kind="lsm", attachment=Attachment("file_open", None, None))
    assert state(name, filled(one, other, slots={0: "other"}), closed=True) is State.POSSIBLE
    assert state(name, filled(one, same, slots={0: "other"}), closed=True) is State.NOT_MET


def test_a_call_of_a_tail_caller_is_possible_and_one_of_another_is_not() -> None:
    assert state("call-of-a-tail-caller", filled(caller()), closed=True) is State.POSSIBLE
    assert state("call-of-a-tail-caller", filled(caller(tail_calls=False)), closed=True) is State.NOT_MET


def test_a_subprogram_that_tail_calls_can_be_traced_by_others() -> None:
    name = "traced-subprogram-in-a-tail-call-loop"
    assert state(name, filled(caller()), closed=False) is State.POSSIBLE
    assert state(name, filled(caller()), closed=True) is State.NOT_MET


def test_a_global_function_can_be_replaced_by_others_and_a_static_one_not() -> None:
    name = "extension-that-tail-calls-its-target"
    assert state(name, made(replaceable()), closed=False) is State.POSSIBLE
    assert state(name, made(replaceable(static=True)), closed=False) is State.NOT_MET


def test_a_prog_array_that_its_object_leaves_empty_may_hold_the_programs_of_the_set() -> None:
    name = "sibling-tail-calls-in-a-loop"
    unfilled = made(caller(2), maps=(array({}, complete=False),))
    assert state(name, unfilled, closed=True) is State.POSSIBLE
    assert state(name, filled(caller(2), slots={}), closed=True) is State.NOT_MET


def test_a_tracer_of_the_kernel_traces_no_program() -> None:
    name = "traced-subprogram-in-a-tail-call-loop"
    assert state(name, made(tracer(function=None)), closed=False) is State.NOT_MET
    named_only = tracer(target=None, function="sub")
    assert state(name, made(named_only), closed=False) is State.POSSIBLE


@pytest.mark.parametrize(("early", "expected"), [(False, State.MET), (True, State.NOT_MET)])
def test_a_lock_of_the_caller_is_held_in_its_subprogram(early: bool, expected: State) -> None:
    code = kfunc(entry(), "bpf_rcu_read_lock")
    if early:
        kfunc(code, "bpf_rcu_read_unlock").mov(R1, R6).call("sub")
    else:
        kfunc(code.mov(R1, R6).call("sub"), "bpf_rcu_read_unlock")
    programs = filled(assembled(sub(leave(code))))
    assert state("tail-call-in-an-rcu-section", programs, closed=True) is expected


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        (
            "sibling-tail-calls-in-a-loop",
            "entry: entry() calls sub() and then sub(), which both make tail calls\n"
            "entry: sub() tail-calls jmp[0], which is entry",
        ),
        (
            "extension-that-tail-calls-its-target",
            "entry: entry() calls sub()\n"
            "sub() is replaced by replacement\n"
            "replacement: replacement() tail-calls jmp[0], which is entry",
        ),
        (
            "traced-subprogram-in-a-tail-call-loop",
            "entry: entry() calls sub()\nsub() is traced by tracer\nentry: sub() tail-calls jmp[0], which is entry",
        ),
    ],
)
def test_the_chain_that_makes_the_loop_is_named(name: str, chain: str) -> None:
    world = World([TWINS[name].met], closed=True)
    assert facts()[name](world, world.members[0]).chain == tuple(chain.splitlines())


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        named("tail-call")(lambda world, member: not_met("x"))


def test_no_defect_and_no_commit_is_named_in_the_code() -> None:
    slugs = {defect.slug for defect in shipped_catalog().defects}
    commits = re.compile(r"\b[0-9a-f]{12}\b")
    found = []
    for path in sorted(_FOLDER.rglob("*.py")):
        tree = ast.parse(path.read_text())
        alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in alone:
                continue
            if node.value in slugs or commits.search(node.value):
                found.append(f"{path.name}:{node.lineno}: {node.value}")
    assert found == []


def _cgroup(name: str, storages: tuple[str, ...] = (), **more: Any) -> Program:
    return plain(name, kind="cgroup_skb", storages=storages, tail_calls=True, **more)


@pytest.mark.parametrize(("last", "expected"), [("two", State.MET), ("one", State.NOT_MET)])
def test_a_bridge_may_have_several_programs_without_a_storage(last: str, expected: State) -> None:
    programs = (_cgroup("a", ("one",)), _cgroup("b", array=OTHER), _cgroup("c", array=VALUES))
    end = plain("d", kind="cgroup_skb", storages=(last,))
    maps = (array({0: "b"}), array({0: "c"}, name="other"), array({0: "d"}, name="values"))
    world = World([made(*programs, end, maps=maps)], closed=True)
    found = [facts()["bridge-between-cgroup-storages"](world, member) for member in world.members]
    assert [item.state for item in found] == [expected] * 4
    if expected is State.MET:
        assert "a and d have different cgroup storages, and b, c, which have none, are between them" in found[2].reason


def test_a_load_that_extends_the_sign_reads_no_small_number() -> None:
    code = entry().store_imm(1, FP, -8, 0xFF)
    code._add(_LOAD_SIGNED_BYTE, dst=R3, src=FP, off=-8).mov(R1, R6).map_fd(R2, JMP).helper(HELPER_TAIL_CALL)
    (call,) = assembled(leave(code)).functions[0].tail_calls
    assert (call.key, call.key_may_be_constant) == (None, True)
