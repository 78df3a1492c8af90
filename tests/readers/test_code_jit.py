"""Pitfalls 2 and 4 in machine code: listings of what gcc makes of EMIT3_off32() and EMIT4() in the JIT.

Only the absence of a fix can be shown: `SIMILAR` proves nothing.
"""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.x86_64.jit import FUNCTIONS, count_offset, hierarchy
from tests.readers.listing import function, listed, types

BODY, OTHER_BODY, DIRECT, INDIRECT, PROLOGUE = FUNCTIONS
TYPES = types({("bpf_prog_aux", "stack_depth"): 0x30})
REGISTER = "mov dword ptr [rax], 0x21f883"
POINTER = "mov dword ptr [rax], 0x21f88348"
BEHIND = "mov dword ptr [rax], 0x21388348"
# As in 6.1: the depth is rounded up to eight, and its negative is stored behind the three bytes of `mov rax, [rbp + …]`.
ROUNDED = """
    mov dword ptr [rax + 4], 0x858b48
    mov r10d, dword ptr [rcx + 0x30]
    lea r10d, [r10 - 1]
    or r10d, 7
    neg r10d
    sub r10d, 9
    mov dword ptr [rax + 7], r10d
    ret
"""
ABSENT, SIMILAR = Claim.ABSENT, Claim.SIMILAR


def offset(text: str, body: str = BODY) -> Claim | None:
    found = list(count_offset({body: function(body)}, {body: listed(text)}, TYPES))
    return found[0].claim if found else None


def changed(before: str, after: str) -> str:
    assert ROUNDED.count(before) == 1
    return ROUNDED.replace(before, after)


@pytest.mark.parametrize("body", [BODY, OTHER_BODY])
def test_a_depth_that_is_rounded_looks_like_the_fix(body: str) -> None:
    assert offset(ROUNDED, body) is SIMILAR


@pytest.mark.parametrize("mask", ["0xfffffff8", "-8", "0xfffffffffffffff8"])
def test_a_depth_may_be_rounded_by_a_mask(mask: str) -> None:
    assert offset(changed("or r10d, 7", f"and r10d, {mask}")) is SIMILAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("or r10d, 7", "nop "),
        ("or r10d, 7", "or r10d, 3"),
        ("or r10d, 7", "and r10d, 7"),
        ("or r10d, 7", "or r10d, 0xfffffff8"),
        ("or r10d, 7", "xor r10d, 7"),
    ],
)
def test_a_depth_as_it_is_lacks_the_fix(before: str, after: str) -> None:
    assert offset(changed(before, after)) is ABSENT


def test_what_is_rounded_before_the_depth_is_read_is_something_else() -> None:
    early = changed("or r10d, 7", "nop ").replace("mov r10d, dword", "or r10d, 7\n    mov r10d, dword")
    assert offset(early) is ABSENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Another member than stack_depth, of another width, by another instruction.
        ("[rcx + 0x30]", "[rcx + 0x34]"),
        ("dword ptr [rcx + 0x30]", "qword ptr [rcx + 0x30]"),
        ("mov r10d, dword ptr [rcx + 0x30]", "cmp r10d, dword ptr [rcx + 0x30]"),
        # What is stored is not behind the three bytes.
        ("[rax + 7], r10d", "[rax + 8], r10d"),
        ("[rax + 7], r10d", "[rdx + 7], r10d"),
        # A jump or a call is in between: it may be of another case.
        ("neg r10d", "je 0xffffffff81000000"),
        ("neg r10d", "call memcpy"),
        ("neg r10d", "ret "),
        # There is no such place, or two.
        ("0x858b48", "0x858b49"),
        ("ret\n", "mov dword ptr [rdx], 0x858b48\n    ret\n"),
        # Since 116e04ba1459 the place is computed once.
        ("ret\n", f"{BEHIND}\n    ret\n"),
    ],
)
def test_another_form_has_no_answer(before: str, after: str) -> None:
    assert offset(changed(before, after)) is None


def test_a_depth_that_is_read_before_the_place_has_no_answer() -> None:
    """It may be the depth of something else: what is stored was not computed in between."""
    read = "mov r10d, dword ptr [rcx + 0x30]"
    assert (
        offset(
            changed(f"{read}\n", "nop \n").replace("mov dword ptr [rax + 4]", f"{read}\n    mov dword ptr [rax + 4]")
        )
        is None
    )


def test_the_depth_may_be_subtracted() -> None:
    text = changed("mov r10d, dword ptr [rcx + 0x30]", "mov r10d, 7\n    sub r10d, dword ptr [rcx + 0x30]")
    assert offset(text) is SIMILAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Memory without an offset, a number that is only compared, and a jump before the place.
        ("neg r10d", "mov dword ptr [rax], edx"),
        ("neg r10d", "mov edx, dword ptr [rcx]"),
        ("neg r10d", "cmp eax, 0x858b48"),
        ("mov dword ptr [rax + 4], 0x858b48", "je 0xffffffff81000000\n    mov dword ptr [rax + 4], 0x858b48"),
    ],
)
def test_what_does_not_belong_to_it_changes_nothing(before: str, after: str) -> None:
    assert offset(changed(before, after)) is SIMILAR


def test_the_place_may_be_at_the_start() -> None:
    assert offset(ROUNDED.replace("[rax + 4]", "[rax]").replace("[rax + 7]", "[rax + 3]")) is SIMILAR
    assert offset(ROUNDED.replace("[rax + 4]", "[rax - 4]")) is None


def test_what_is_stored_too_far_away_is_not_taken() -> None:
    far = "nop \n    " * 24
    assert offset(changed("neg r10d", f"{far}neg r10d")) is None


def test_without_types_or_the_function_there_is_no_answer() -> None:
    functions, decoded = {BODY: function(BODY)}, {BODY: listed(ROUNDED)}
    assert list(count_offset(functions, decoded, None)) == []
    assert list(count_offset(functions, decoded, types({}))) == []
    assert list(count_offset(functions, {}, TYPES)) == []


def counts(*, body: str = "ret ", direct: str = "ret ", indirect: str = "ret ", name: str = BODY) -> Claim | None:
    code = {name: body, DIRECT: direct, INDIRECT: indirect}
    decoded = {key: listed(text) for key, text in code.items()}
    found = list(hierarchy({key: function(key) for key in code}, decoded))
    assert len(found) <= 1
    return found[0].claim if found else None


# Before a call of a subprogram: the pointer's slot is 16 below the stack, rounded up; the count's is 8 below.
HANDS_POINTER = "mov dword ptr [rax], 0x858b48\n    sub edx, -0x10\n    ret "
HANDS_COUNT = HANDS_POINTER.replace("sub edx, -0x10", "add edx, 0xfffffff7")


@pytest.mark.parametrize("name", [BODY, OTHER_BODY])
@pytest.mark.parametrize("compare", [REGISTER, REGISTER.replace("0x21f883", "0x20f883")])
def test_a_count_in_a_register_lacks_the_fix(compare: str, name: str) -> None:
    """Both kinds of tail calls compare it: with 33 in 6.1, with 32 in 5.10."""
    assert counts(direct=compare, indirect=compare, name=name) is ABSENT


def test_a_count_behind_a_pointer_looks_like_the_fix() -> None:
    assert counts(body=f"{POINTER}\n{HANDS_POINTER}", direct=BEHIND, indirect=BEHIND) is SIMILAR


def test_a_jit_that_hands_down_the_count_itself_lacks_the_fix() -> None:
    assert counts(body=f"{POINTER}\n{HANDS_COUNT}", direct=BEHIND, indirect=BEHIND) is ABSENT


def test_the_pointer_may_be_compared_in_a_prologue_of_its_own() -> None:
    code = {BODY: HANDS_COUNT, DIRECT: BEHIND, INDIRECT: BEHIND, PROLOGUE: POINTER}
    found = hierarchy({name: function(name) for name in code}, {name: listed(text) for name, text in code.items()})
    assert [item.claim for item in found] == [ABSENT]


@pytest.mark.parametrize("handed", ["ret ", f"{HANDS_COUNT}\n{HANDS_COUNT}", f"{HANDS_POINTER}\n{HANDS_COUNT}"])
def test_a_place_before_a_call_that_is_not_found_claims_nothing(handed: str) -> None:
    assert counts(body=f"{POINTER}\n{handed}", direct=BEHIND, indirect=BEHIND) is SIMILAR


def test_a_load_of_the_count_before_it_is_compared_is_none_before_a_call() -> None:
    """What is loaded from the stack right before the comparison behind it belongs to the tail call."""
    loads = f"mov dword ptr [rax], 0x858b48\n    {BEHIND}\n    ret "
    assert counts(body=f"{POINTER}\n{HANDS_COUNT}", direct=loads, indirect=BEHIND) is ABSENT
    far = "nop \n" * 24
    both = f"{POINTER}\n{HANDS_COUNT}\n{far}mov dword ptr [rax], 0x858b48\n{BEHIND}"
    assert counts(body=both, indirect=BEHIND) is ABSENT


@pytest.mark.parametrize(
    ("direct", "indirect", "body"),
    [
        ("ret ", REGISTER, "ret "),
        (REGISTER, BEHIND, POINTER),
        (BEHIND, BEHIND, "ret "),
        (BEHIND, "ret ", POINTER),
        (REGISTER, REGISTER, POINTER),
        (REGISTER, REGISTER, REGISTER),
    ],
    ids=["one", "mixed", "no pointer", "one behind", "register and pointer", "three"],
)
def test_counts_of_another_number_have_no_answer(direct: str, indirect: str, body: str) -> None:
    assert counts(direct=direct, indirect=indirect, body=body) is None


def test_without_the_jit_s_function_there_is_no_answer() -> None:
    code = {DIRECT: listed(REGISTER), INDIRECT: listed(REGISTER)}
    assert list(hierarchy({name: function(name) for name in code}, code)) == []
