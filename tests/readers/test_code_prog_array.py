"""Pitfall 6 in machine code: listings like those of Debian's 6.1.192, changed in one place as a compiler or another
kernel could have it.
"""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.analyzer.readers.code.x86_64.prog_array import ATTACH, PUT, extended_programs
from tests.readers.listing import function, listed, types

OFFSETS = {
    ("bpf_prog", "aux"): 0x38,
    ("bpf_prog", "type"): 4,
    ("bpf_prog_aux", "dst_prog"): 0x48,
    ("bpf_prog_aux", "is_extended"): 0x8F,
    ("bpf_prog_aux", "prog_array_member_cnt"): 0x90,
    ("bpf_trampoline", "extension_prog"): 0x48,
}
TYPES = types(OFFSETS)
PUTS = """
    call __fentry__
    push rbp
    mov rbp, rdi
    mov edi, edx
    push rbx
    call bpf_prog_get
    mov rbx, rax
    cmp rax, -0x1000
    ja out
    cmp dword ptr [rax + 4], 0x1c
    je refuse
    mov rsi, rax
    mov rdi, rbp
    call bpf_prog_map_compatible
    test al, al
    jne enter
    refuse:
    mov rdi, rbx
    mov rbx, -0x16
    call bpf_prog_put
    out:
    mov rax, rbx
    ret
    enter:
    mov rax, qword ptr [rbx + 0x38]
    lea rdi, [rax + 0x98]
    call mutex_lock
    mov rdi, qword ptr [rbx + 0x38]
    cmp byte ptr [rdi + 0x8f], 0
    jne busy
    add qword ptr [rdi + 0x90], 1
    call mutex_unlock
    mov rax, rbx
    ret
    busy:
    call mutex_unlock
    mov rdi, rbx
    mov rbx, -0x10
    call bpf_prog_put
    mov rax, rbx
    ret
"""
ATTACHES = """
    call __fentry__
    push r12
    mov r12, rsi
    mov rbp, rdi
    cmp qword ptr [rbx + 0x48], 0
    jne taken
    cmp qword ptr [r12 + 0x90], 0
    jne taken
    mov byte ptr [r12 + 0x8f], 1
    mov qword ptr [rbx + 0x48], rbp
    call bpf_arch_text_poke
    ret
    taken:
    mov eax, 0xfffffff0
    ret
"""


def claim(put: str = PUTS, attach: str | None = ATTACHES) -> Claim | None:
    code = {PUT: put} | ({} if attach is None else {ATTACH: attach})
    decoded = {name: listed(text) for name, text in code.items()}
    found = list(extended_programs({name: function(name) for name in code}, decoded, TYPES))
    assert len(found) <= 1
    return found[0].claim if found else None


def changed(text: str, before: str, after: str) -> str:
    assert text.count(before) == 1
    return text.replace(before, after)


def test_the_fix_is_seen_in_both_functions() -> None:
    assert claim() is Claim.PRESENT


def test_a_function_that_was_not_found_leaves_it_open() -> None:
    assert claim(attach=None) is Claim.SIMILAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The member is not looked at on the path that takes the program.
        ("cmp byte ptr [rdi + 0x8f], 0\n    jne busy", "nop "),
        ("jne busy", "je busy"),
        # It looks, and does not count what it takes.
        ("add qword ptr [rdi + 0x90], 1", "nop "),
        ("add qword ptr [rdi + 0x90], 1", "sub qword ptr [rdi + 0x90], 1"),
        ("add qword ptr [rdi + 0x90], 1", "add qword ptr [rdi + 0x90], 2"),
        ("add qword ptr [rdi + 0x90], 1", "add qword ptr [rdi + 0x98], 1"),
    ],
)
def test_a_put_that_lacks_a_part_lacks_the_fix(before: str, after: str) -> None:
    expected = Claim.DOUBTFUL if "cmp byte" in before else Claim.ABSENT
    assert claim(changed(PUTS, before, after)) is expected


def test_a_put_that_takes_freplace_programs_is_doubtful() -> None:
    assert claim(changed(PUTS, "je refuse", "nop ")) is Claim.DOUBTFUL
    assert claim(changed(PUTS, "0x1c", "0x1d")) is Claim.DOUBTFUL


def test_a_put_that_takes_nothing_is_doubtful() -> None:
    assert claim(changed(PUTS, "call mutex_unlock\n    mov rax, rbx\n    ret\n    busy:", "busy:")) is Claim.DOUBTFUL


def test_a_path_whose_end_is_not_known_leaves_it_open() -> None:
    """Another way to an end returns what was stored on the stack: it may be a program that is extended."""
    other = changed(PUTS, "busy:\n", "busy:\n    mov rax, qword ptr [rsp + 8]\n    test ecx, ecx\n    je away\n")
    assert claim(other + "    away:\n    mov rax, qword ptr [rsp + 8]\n    ret\n") is Claim.SIMILAR


@pytest.mark.parametrize("jump", ["jne 0xffffffff82000000", "je 0xffffffff82000000"])
def test_code_that_the_compiler_moved_away_leaves_it_open(jump: str) -> None:
    """The part behind the jump (``.cold``) may come back to where the program is taken."""
    put = changed(PUTS, "jne busy", f"jne busy\n    test ecx, ecx\n    {jump}")
    assert claim(put) is Claim.SIMILAR
    attach = changed(ATTACHES, "jne taken\n    mov byte", f"jne taken\n    test ecx, ecx\n    {jump}\n    mov byte")
    assert claim(attach=attach) is Claim.SIMILAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cmp qword ptr [r12 + 0x90], 0\n    jne taken", "cmp qword ptr [r12 + 0x90], 0\n    je taken"),
        ("mov byte ptr [r12 + 0x8f], 1", "mov byte ptr [r12 + 0x8f], 0"),
        ("mov byte ptr [r12 + 0x8f], 1", "mov byte ptr [r12 + 0x8e], 1"),
        ("mov byte ptr [r12 + 0x8f], 1", "cmp byte ptr [r12 + 0x8f], 1"),
        ("mov byte ptr [r12 + 0x8f], 1", "mov dword ptr [r12 + 0x8f], 1"),
    ],
)
def test_attaching_that_lacks_a_part_lacks_the_fix(before: str, after: str) -> None:
    assert claim(attach=changed(ATTACHES, before, after)) is Claim.ABSENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Compared with another number, by a jump of another kind, or in a function of its own.
        ("cmp qword ptr [r12 + 0x90], 0", "cmp qword ptr [r12 + 0x90], 1"),
        ("[r12 + 0x90], 0\n    jne taken", "[r12 + 0x90], 0\n    jb taken"),
        ("cmp qword ptr [r12 + 0x90], 0", "cmp qword ptr [r12 + 0x98], 0"),
        ("cmp qword ptr [r12 + 0x90], 0", "cmp dword ptr [r12 + 0x90], 0"),
        ("mov rbp, rdi", "mov rbp, rdi\n    cmp qword ptr [r13 + 0x90], 0\n    jb taken"),
        # Nothing attaches.
        ("mov qword ptr [rbx + 0x48], rbp", "nop "),
        ("mov qword ptr [rbx + 0x48], rbp", "cmp qword ptr [rbx + 0x48], rbp"),
        ("call bpf_arch_text_poke", "jmp rax"),
    ],
)
def test_attaching_of_another_form_leaves_it_open(before: str, after: str) -> None:
    assert claim(attach=changed(ATTACHES, before, after)) is Claim.SIMILAR


def test_a_comparison_that_no_jump_uses_lets_every_target_through() -> None:
    attach = changed(ATTACHES, "[r12 + 0x90], 0\n    jne taken", "[r12 + 0x90], 0\n    nop ")
    assert claim(attach=attach) is Claim.ABSENT


def test_a_path_that_returns_another_object_leaves_it_open() -> None:
    """It may be a program too, and nothing has looked at that one."""
    other = "call __fentry__\n    call may_put\n    test eax, eax\n    je go\n    ret \n    go:"
    assert claim(changed(PUTS, "call __fentry__", other)) is Claim.SIMILAR
    # An earlier error, or a look at another object, changes nothing.
    error = (
        "call __fentry__\n    call may_put\n    test eax, eax\n    je go\n    mov eax, 0xffffffff\n    ret \n    go:"
    )
    assert claim(changed(PUTS, "call __fentry__", error)) is Claim.PRESENT
    look = "call owner\n    mov rdx, qword ptr [rax + 0x38]\n    cmp byte ptr [rdx + 0x8f], 0\n    jne busy\n    mov rdi, qword"
    assert claim(changed(PUTS, "mov rdi, qword", look)) is Claim.PRESENT


def test_memory_without_an_offset_is_another_member() -> None:
    assert claim(changed(PUTS, "mov rdi, qword", "cmp byte ptr [rdx], 0\n    mov rdi, qword")) is Claim.PRESENT


READS = "movzx eax, byte ptr [rdi + 0x8f]\n    test al, al\n    jne busy"


def test_a_member_that_is_read_first_may_be_tested_in_a_register() -> None:
    put = changed(PUTS, "cmp byte ptr [rdi + 0x8f], 0\n    jne busy", READS)
    assert claim(put) is Claim.PRESENT
    # A path that does not read it may know it from elsewhere.
    around = put.replace("movzx eax", "test r8, r8\n    je known\n    movzx eax").replace(
        "jne busy", "jne busy\n    known:"
    )
    assert claim(around) is Claim.SIMILAR
    # One path compares it in place, and the other may know it from what was read before.
    one = changed(PUTS, "cmp byte", "movzx eax, byte ptr [rdi + 0x8f]\n    test r8, r8\n    je known\n    cmp byte")
    assert claim(one.replace("jne busy", "jne busy\n    known:")) is Claim.SIMILAR
    also = changed(around, "movzx eax", "cmp byte ptr [rdi + 0x8f], 0\n    jb busy\n    movzx eax")
    assert claim(also) is Claim.SIMILAR


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("jne busy", "jne maybe\n    take:", Claim.ABSENT),
        (
            "add qword ptr [rdi + 0x90], 1",
            "test r8, r8\n    je uncounted\n    add qword ptr [rdi + 0x90], 1\n    uncounted:",
            Claim.ABSENT,
        ),
        (
            "cmp dword ptr [rax + 4], 0x1c",
            "test r8, r8\n    je plain\n    cmp dword ptr [rax + 4], 0x1c",
            Claim.DOUBTFUL,
        ),
        ("cmp byte ptr", "test r8, r8\n    je taken\n    cmp byte ptr", Claim.ABSENT),
    ],
    ids=["takes an extended one", "does not count", "any type", "does not look"],
)
def test_one_path_that_takes_a_program_wrongly_is_enough(before: str, after: str, expected: Claim) -> None:
    put = changed(PUTS, before, after).replace("mov rsi, rax\n", "plain:\n    mov rsi, rax\n", int("plain" in after))
    put = put.replace("add qword", "taken:\n    add qword", int("taken" in after))
    assert claim(put + "    maybe:\n    test r8, r8\n    je busy\n    jmp take\n" * ("maybe" in after)) is expected


def test_an_aux_that_comes_from_the_stack_does_not_show_that_the_put_looks_at_nothing() -> None:
    """A debug kernel has more values than registers: whose is_extended is compared is not known then."""
    spilled = changed(PUTS, "mov rdi, qword ptr [rbx + 0x38]\n    cmp", "mov rdi, qword ptr [rsp + 8]\n    cmp")
    assert claim(spilled) is Claim.SIMILAR
    # A path around the comparison looks at nothing, whatever that compares.
    around = changed(spilled, "cmp byte", "test r8, r8\n    je taken\n    cmp byte")
    assert claim(changed(around, "add qword", "taken:\n    add qword")) is Claim.ABSENT


@pytest.mark.parametrize("add", ["inc rcx", "add rcx, 1", "lea rcx, [rcx + 1]"])
def test_a_count_that_is_loaded_added_to_and_stored_leaves_it_open(add: str) -> None:
    """As with CONFIG_KASAN, which looks at each read and each write by itself."""
    counts = f"mov rcx, qword ptr [rdi + 0x90]\n    {add}\n    mov qword ptr [rdi + 0x90], rcx"
    assert claim(changed(PUTS, "add qword ptr [rdi + 0x90], 1", counts)) is Claim.SIMILAR


def test_a_function_with_too_many_paths_leaves_it_open() -> None:
    many = "".join(f"test r8, r8\n    je l{number}\n    nop \n    l{number}:\n    " for number in range(14))
    assert claim(changed(PUTS, "mov rbp, rdi", f"{many}mov rbp, rdi")) is Claim.SIMILAR


def test_a_function_that_returns_no_object_leaves_it_open() -> None:
    assert claim("cmp byte ptr [rdi + 0x8f], 0\n    mov eax, 0\n    ret ") is Claim.SIMILAR
    # It looks at a program, and where it ends is not known.
    put = PUTS.replace("mov rax, rbx", "mov rax, qword ptr [rsp + 8]")
    assert claim(put) is Claim.SIMILAR


def test_a_comparison_that_no_jump_uses_takes_every_program() -> None:
    put = changed(PUTS, "jne busy", "nop ")
    assert claim(put) is Claim.ABSENT
    # The same if a path returns 0.
    assert claim(changed(put, "mov rbx, -0x16", "mov rbx, 0")) is Claim.ABSENT
    assert claim(changed(put, "mov rbx, -0x16", "mov rbx, qword ptr [rsp + 8]")) is Claim.ABSENT


@pytest.mark.parametrize(
    "lacking",
    [
        ("bpf_prog", "aux"),
        ("bpf_prog", "type"),
        ("bpf_prog_aux", "prog_array_member_cnt"),
        ("bpf_trampoline", "extension_prog"),
    ],
)
def test_a_structure_of_another_form_leaves_it_open(lacking: tuple[str, str]) -> None:
    code = {PUT: PUTS, ATTACH: ATTACHES}
    decoded = {name: listed(text) for name, text in code.items()}
    known = types({name: offset for name, offset in OFFSETS.items() if name != lacking})
    found = [item.claim for item in extended_programs({name: function(name) for name in code}, decoded, known)]
    assert found == ([] if lacking[1] == "prog_array_member_cnt" else [Claim.SIMILAR])


def test_a_place_that_both_members_have_shows_neither() -> None:
    """`if (tr->extension_prog)` would pass for a look at the target's count."""
    attach = changed(ATTACHES, "cmp qword ptr [r12 + 0x90], 0\n    jne taken\n", "").replace(
        "[rbx + 0x48]", "[rbx + 0x90]"
    )
    decoded = {PUT: listed(PUTS), ATTACH: listed(attach)}
    known = types({**OFFSETS, ("bpf_trampoline", "extension_prog"): 0x90})
    found = [item.claim for item in extended_programs({name: function(name) for name in decoded}, decoded, known)]
    assert found == [Claim.SIMILAR]


def test_bit_fields_are_members_of_another_form() -> None:
    """The code reads a byte of several bits then: no comparison here knows which."""
    code = {PUT: PUTS, ATTACH: ATTACHES}
    decoded = {name: listed(text) for name, text in code.items()}
    known = types({**OFFSETS, ("bpf_prog_aux", "is_extended"): 0x8F + 1 / 8})
    assert list(extended_programs({name: function(name) for name in code}, decoded, known)) == []
    assert place_of(known, "bpf_prog_aux", "is_extended") is None
    assert place_of(known, "bpf_prog_aux", "dst_prog") == 0x48


def test_a_count_that_is_set_is_no_comparison() -> None:
    attach = changed(ATTACHES, "mov r12, rsi", "mov r12, rsi\n    mov qword ptr [r13 + 0x90], 0")
    assert claim(attach=attach) is Claim.PRESENT


def test_types_decide_what_can_be_looked_at() -> None:
    """Without is_extended there is nothing to look at; without the structure itself nothing is known."""
    functions, decoded = {PUT: function(PUT)}, {PUT: listed(PUTS)}
    old = types({("bpf_prog_aux", "dst_prog"): 0x48})
    assert [item.claim for item in extended_programs(functions, decoded, old)] == [Claim.ABSENT]
    assert list(extended_programs(functions, decoded, types({}))) == []
    assert list(extended_programs(functions, decoded, None)) == []
    assert list(extended_programs(functions, {}, TYPES)) == []
