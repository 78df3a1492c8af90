"""The frozen guest of the mutation lab: what it shows is what a guest that boots shows, and nothing is left of a mutant."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mutation.frozen import PatchedError, freeze, translated
from bench.mutation.judges import SLUGS
from bench.mutation.jumps import flips
from bench.mutation.reach import matters
from bench.mutation.remote import packet, unpacked
from bench.mutation.subject import Edit, Mutation
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tests.mutants import IN_6_12, mutation, subject

_PUT = "prog_fd_array_get_ptr"
_LOG = """----------------
IN: bpf_prog_map_compatible
0xffffffff812b99e0:  48 8b 47 38              movq     0x38(%rdi), %rax
0xffffffff812b99e4:  75 02                    jne      0xffffffff812b99e8

IN: another
0xffffffff812b9a00:  c3                       retq
"""
_CODE = Function("f", 0x1000, bytes.fromhex("7402" + "9090" + "c3"))
"""A jump over two instructions, and a return."""


def _flip(word: str, target: int = 2) -> Mutation:
    jump = bytes((0x74, target))
    return Mutation("x", "f", (Edit(0x1000, jump, b"\x90\x90"),), f"je {word}")


@given(st.binary().filter(lambda data: not set(data) & set(b"$#")), st.binary(max_size=3))
def test_a_packet_is_unpacked_once_it_is_complete(data: bytes, rest: bytes) -> None:
    sent = packet(data)
    assert unpacked(b"+" + sent + rest) == (data, rest)
    assert unpacked(sent[:-1]) is None


def test_only_instructions_within_the_functions_are_taken_from_a_log() -> None:
    function = Function("f", 0xFFFFFFFF812B99E0, bytes(0x10))
    assert translated(_LOG, [function]) == {0xFFFFFFFF812B99E0, 0xFFFFFFFF812B99E4}


@pytest.mark.parametrize(
    ("word", "reached", "expected"),
    [
        ("always", {0x1000, 0x1004}, False),  # it always jumped
        ("never", {0x1000, 0x1004}, True),
        ("always", {0x1000, 0x1002, 0x1003}, True),
        ("never", {0x1000, 0x1002, 0x1003}, False),  # it never jumped
        ("always", {0x1004}, False),  # it never ran
        ("never", {0x1000, 0x1002, 0x1004}, True),
    ],
)
def test_a_flip_matters_where_the_other_way_was_ever_taken(word: str, reached: set[int], expected: bool) -> None:
    assert matters(_flip(word), _CODE, reached) is expected


def test_a_jump_out_of_the_function_matters() -> None:
    """Where it leads was not looked at."""
    assert matters(_flip("never", 0x70), _CODE, {0x1000, 0x1002})


def test_a_change_that_is_no_flip_matters() -> None:
    load = Mutation("x", "f", (Edit(0x1000, b"\x48\x8b\x47\x38", b"\x90" * 4),), "a load")
    assert matters(load, _CODE, set())


@pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None or shutil.which("qemu-img") is None,
    reason="no qemu-system-x86_64 and qemu-img on this machine: install qemu-system-x86 and qemu-utils",
)
def test_each_mutant_begins_with_the_same_guest() -> None:
    """6.12.117, the put of an extended program let in: its guest loops; the kernel itself, run behind it, does not."""
    kernel = subject(IN_6_12)
    functions = kernel.functions([_PUT])
    made = mutation(IN_6_12, "put-takes-an-extended-program")
    with freeze(kernel, SLUGS, tuple(functions.values())) as guest:
        before = {slug: result.state for slug, result in guest.run().items()}
        lacking = {slug: result.state for slug, result in guest.run(made.edits).items()}
        alone = guest.run(made.edits, ["freplace-loop"])
        behind = {slug: result.state for slug, result in guest.run().items()}
        reached = guest.reached(functions.values(), ["freplace-loop"], rounds=1)
        with pytest.raises(PatchedError):
            guest.run([Edit(made.address, b"\xcc", b"\x90")])
    assert before == behind == dict.fromkeys(SLUGS, "absent")
    assert lacking == before | {"freplace-loop": "present"}
    assert {slug: result.state for slug, result in alone.items()} == {"freplace-loop": "present"}
    tried = [flip for flip in flips(kernel, functions[_PUT]) if matters(flip, functions[_PUT], reached)]
    assert made.address in {flip.address for flip in tried}
