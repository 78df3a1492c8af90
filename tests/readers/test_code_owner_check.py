"""Pitfalls 1 and 5 in machine code: listings of the owner check, as compilers and releases could have it."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.x86_64.owner_check import FUNCTIONS, owner_check
from tests.readers.listing import START, function, listed, types

NAME = "bpf_prog_map_compatible"
OFFSETS = {
    ("bpf_prog", "type"): 4,
    ("bpf_prog", "aux"): 0x38,
    ("bpf_prog_aux", "dst_prog"): 0x48,
    ("bpf_prog_aux", "saved_dst_prog_type"): 0x60,
}
TYPES = types(OFFSETS)
# As in v5.18 to v6.1, before the fixes of pitfall 5.
UNCHECKED = """
    call __fentry__
    push rbx
    mov rbx, rdi
    mov eax, dword ptr [rsi + 4]
    mov rdx, qword ptr [rsi + 0x38]
    cmp eax, 0x1c
    jne plain
    mov rcx, qword ptr [rdx + 0x48]
    mov eax, dword ptr [rcx + 4]
    plain:
    cmp eax, dword ptr [rbx + 0x10]
    sete al
    ret
"""
# As with f7866c358733 alone: the type of dst_prog if there is one.
CHECKED = UNCHECKED.replace(
    "mov eax, dword ptr [rcx + 4]", "test rcx, rcx\n    je plain\n    mov eax, dword ptr [rcx + 4]"
)
# As since fdad456cbcca.
SAVED = UNCHECKED.replace(
    "mov rcx, qword ptr [rdx + 0x48]\n    mov eax, dword ptr [rcx + 4]", "mov eax, dword ptr [rdx + 0x60]"
)
# As before v5.18.
PLAIN = """
    call __fentry__
    mov eax, dword ptr [rsi + 4]
    cmp eax, dword ptr [rdi + 0x10]
    sete al
    ret
"""
# As with 5.15.y's c04992612ed4: the type of dst_prog, if there is one, of any program.
OPEN_CODED = """
    call __fentry__
    mov eax, dword ptr [rsi + 4]
    mov rdx, qword ptr [rsi + 0x38]
    mov rcx, qword ptr [rdx + 0x48]
    test rcx, rcx
    je plain
    mov eax, dword ptr [rcx + 4]
    plain:
    cmp eax, dword ptr [rdi + 0x10]
    sete al
    ret
"""
TARGET, EXTENSIONS, NULL, SAVE, OPEN = (
    "target-type", "extensions-only", "target-null-check", "saved-target-type", "open-coded-target-type",
)  # fmt: skip
PRESENT, ABSENT, SIMILAR, DOUBTFUL = Claim.PRESENT, Claim.ABSENT, Claim.SIMILAR, Claim.DOUBTFUL


def claims(text: str, part: str | None = None) -> dict[str, Claim]:
    code = {NAME: text} | ({} if part is None else {f"{NAME}.part": part})
    decoded = {name: listed(body, START + 0x200 * number) for number, (name, body) in enumerate(code.items())}
    found = list(owner_check({name: function(name) for name in code}, decoded, TYPES))
    assert len(found) == len({item.effect for item in found})
    return {item.effect: item.claim for item in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN, {TARGET: ABSENT, OPEN: ABSENT}),
        (UNCHECKED, {EXTENSIONS: PRESENT, TARGET: SIMILAR, SAVE: ABSENT, NULL: ABSENT}),
        (CHECKED, {EXTENSIONS: PRESENT, TARGET: SIMILAR, SAVE: ABSENT, NULL: PRESENT}),
        (SAVED, {EXTENSIONS: PRESENT, TARGET: SIMILAR, SAVE: SIMILAR, NULL: PRESENT}),
    ],
    ids=["5.10", "5.18", "f7866c358733", "fdad456cbcca"],
)
def test_the_releases(text: str, expected: dict[str, Claim]) -> None:
    assert claims(text) == expected


def test_a_check_without_a_comparison_with_ext_says_nothing_if_it_follows_dst_prog() -> None:
    """The type of dst_prog is taken of freplace programs too: neither commit is absent."""
    assert claims(OPEN_CODED) == {}
    assert claims(OPEN_CODED.replace("qword ptr [rdx + 0x48]", "dword ptr [rdx + 0x60]")) == {}


@pytest.mark.parametrize("dst_prog_first", [True, False])
def test_a_check_that_reads_both_shows_neither_fix_of_pitfall_5(dst_prog_first: bool) -> None:
    lines = ["mov eax, dword ptr [rdx + 0x60]", "mov rcx, qword ptr [rdx + 0x48]"]
    both = "\n    ".join(reversed(lines) if dst_prog_first else lines)
    text = UNCHECKED.replace("mov rcx, qword ptr [rdx + 0x48]\n    mov eax, dword ptr [rcx + 4]", both)
    assert claims(text) == {EXTENSIONS: PRESENT, TARGET: SIMILAR}


@pytest.mark.parametrize(
    "line",
    [
        # A number, members of other structures and other members are not what is looked for.
        "mov ecx, 0x1c",
        "mov rcx, qword ptr [rdi + 0x48]",
        "mov ecx, dword ptr [rdi + 0x60]",
        "mov rdx, qword ptr [rsi + 0x38]\n    mov rcx, qword ptr [rdx + 0x50]",
        "mov rdx, qword ptr [rsi + 0x38]\n    mov ecx, dword ptr [rdx + 0x64]",
        "mov rdx, qword ptr [rsi + 0x38]\n    mov ecx, dword ptr [rdx]",
    ],
)
def test_what_resembles_the_members_changes_nothing(line: str) -> None:
    assert claims(PLAIN.replace("cmp eax", f"{line}\n    cmp eax")) == {TARGET: ABSENT, OPEN: ABSENT}


@pytest.mark.parametrize("operand", ["dword ptr [rsi + 8]", "dword ptr [rdi + 4]"])
def test_a_check_that_reads_no_type_says_nothing(operand: str) -> None:
    assert claims(PLAIN.replace("dword ptr [rsi + 4]", operand)) == {}
    assert claims(PLAIN.replace("eax, dword ptr [rsi + 4]", "rax, qword ptr [rsi + 4]")) == {}


def test_a_comparison_with_ext_alone_says_nothing() -> None:
    """What is taken for a freplace program then was not seen."""
    assert claims(PLAIN.replace("cmp eax", "cmp eax, 0x1c\n    je 0xffffffff81000200\n    cmp eax")) == {}


def test_one_of_several_comparisons_with_ext_is_enough() -> None:
    text = SAVED.replace("sete al", "sete al\n    cmp ecx, 0x1c\n    jne plain")
    assert claims(text)[TARGET] is SIMILAR


@pytest.mark.parametrize(
    "look",
    [
        "cmp qword ptr [rdx + 0x50], 0",
        "cmp qword ptr [r9 + 0x48], 0",
        "test r8, r8",
        "test eax, eax",
        "test rcx, rdx",
        "cmp rcx, rcx",
    ],
)
def test_a_look_at_something_else_is_no_look_at_dst_prog(look: str) -> None:
    assert (
        claims(UNCHECKED.replace("mov eax, dword ptr [rcx", f"{look}\n    je plain\n    mov eax, dword ptr [rcx"))[NULL]
        is ABSENT
    )


def test_a_dst_prog_that_is_not_followed_here_is_not_known() -> None:
    """It may be followed behind another read, or in a piece of its own as well."""
    assert NULL not in claims(CHECKED.replace("[rcx + 4]", "[r9 + 4]"))
    assert NULL not in claims(CHECKED, "mov eax, dword ptr [rcx + 4]\n    ret ")


def test_a_comparison_of_dst_prog_in_memory_is_a_look() -> None:
    in_memory = UNCHECKED.replace("mov rcx", "cmp qword ptr [rdx + 0x48], 0\n    je plain\n    mov rcx")
    assert claims(in_memory)[NULL] is PRESENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The jump is turned round: NULL is followed, as in a mutant whose guest panics.
        ("test rcx, rcx\n    je plain", "test rcx, rcx\n    jne plain"),
        # No jump uses the comparison, or one of another kind.
        ("test rcx, rcx\n    je plain", "test rcx, rcx\n    nop "),
        ("test rcx, rcx\n    je plain", "test rcx, rcx\n    js plain"),
        # Another way leads to the same place.
        ("cmp eax, 0x1c", "test r8, r8\n    jne follow\n    cmp eax, 0x1c"),
    ],
)
def test_a_look_for_null_that_does_not_keep_from_following_it_is_doubtful(before: str, after: str) -> None:
    text = CHECKED.replace("mov eax, dword ptr [rcx + 4]", "follow:\n    mov eax, dword ptr [rcx + 4]")
    assert text.count(before) == 1
    assert claims(text.replace(before, after))[NULL] is DOUBTFUL


def test_code_that_the_compiler_moved_away_may_come_back_behind_a_look_for_null() -> None:
    for jump in ("je", "jne"):
        moved = CHECKED.replace("mov rcx, qword", f"test edi, edi\n    {jump} 0xffffffff82000000\n    mov rcx, qword")
        assert NULL not in claims(moved)
    # A return by a thunk is no such jump, and one behind the look changes nothing.
    assert claims(CHECKED.replace("    ret", "    jmp 0xffffffff82000000"))[NULL] is PRESENT


def test_a_look_for_null_behind_the_read_is_none() -> None:
    late = UNCHECKED.replace(
        "mov eax, dword ptr [rcx + 4]", "mov eax, dword ptr [rcx + 4]\n    test rcx, rcx\n    je plain"
    )
    assert claims(late)[NULL] is ABSENT


def test_a_look_for_null_before_a_piece_of_its_own_is_not_followed() -> None:
    text = CHECKED.replace("mov eax, dword ptr [rcx + 4]", "jmp 0xffffffff81000200")
    part = "mov eax, dword ptr [rcx + 4]\n    ret "
    found = claims(text, part)
    assert found[EXTENSIONS] is PRESENT
    assert NULL not in found


def test_a_branch_for_extensions_that_does_not_come_to_the_type_lacks_it() -> None:
    for before, after in (("jne plain", "je plain"), ("jne plain", "jmp plain")):
        assert claims(SAVED.replace(before, after)) == {TARGET: ABSENT}


def test_the_branch_for_extensions_may_do_something_else_first() -> None:
    text = SAVED.replace("jne plain", "jne plain\n    mov r8, r9\n    mov r9, r10")
    assert claims(text)[TARGET] is SIMILAR
    # Another branch in between may lead elsewhere, and does not show that the fix is missing.
    assert claims(text.replace("mov r9, r10", "js plain")) == {}
    assert claims(SAVED.replace("jne plain", "jne plain\n    " + "nop \n    " * 10)) == {}


KASAN = """
    jne plain
    mov r8, rdx
    shr r8, 3
    cmp byte ptr [r8 + 0x7fff8000], 0
    jne report
    back:
"""


@pytest.mark.parametrize("report", ["0xffffffff82000000", "report"])
def test_a_sanitizer_s_check_before_the_type_leaves_it_open(report: str) -> None:
    """With CONFIG_KASAN_INLINE each read of memory has one before it: such a kernel with the fix does not lack it."""
    checked = SAVED.replace("jne plain", KASAN.strip().replace("jne report", f"jne {report}"))
    found = claims(f"{checked}    report:\n    call __asan_report_load4_noabort\n    jmp back\n")
    assert found.get(TARGET) is not ABSENT
    # The branch for other types leads there, and that for EXT does not.
    wrong = SAVED.replace("jne plain", f"je plain\n    {KASAN.strip().partition('plain')[2]}")
    assert claims(f"{wrong}    report:\n    ret \n".replace("jne report", "nop ")) == {TARGET: ABSENT}


@pytest.mark.parametrize("jump", ["ja plain", "sete cl", "je 0xffffffff82000000"])
def test_a_comparison_with_ext_of_another_form_leaves_it_open(jump: str) -> None:
    """A bound of a jump table, or code that the compiler moved away."""
    assert claims(SAVED.replace("jne plain", jump)) == {}
    assert claims(SAVED.replace("jne plain", "jne 0xffffffff82000000"))[TARGET] is SIMILAR
    away = SAVED.replace("jne plain", "je plain").replace(
        "plain:", "plain:\n    test edi, edi\n    je 0xffffffff82000000"
    )
    assert claims(away) == {}


def test_a_comparison_with_ext_that_nothing_uses_leads_to_what_is_behind_it() -> None:
    assert claims(SAVED.replace("jne plain", "nop "))[TARGET] is SIMILAR
    last = "mov rdx, qword ptr [rsi + 0x38]\n    mov eax, dword ptr [rdx + 0x60]\n    cmp eax, 0x1c"
    assert claims(last) == {TARGET: ABSENT}


@pytest.mark.parametrize(
    "line",
    [
        "mov qword ptr [rsp + 8], rsi",
        "push rsi",
        "cmovne rdx, rsi",
        "xchg rdx, rsi",
        "add rdx, rsi",
        "mov rdi, rsi\n    call resolve",
        "mov r12, rsi\n    mov rsi, r12\n    call resolve",
    ],
)
def test_a_program_that_is_handed_on_is_not_known(line: str) -> None:
    """A check of dst_prog may be where the program went: a wrong `absent` of what introduces a defect is a wrong
    `not-affected`.
    """
    assert claims(PLAIN.replace("cmp eax", f"{line}\n    cmp eax")) == {}


@pytest.mark.parametrize("register", ["rdi", "rdx", "rcx", "r8", "r9"])
def test_a_program_that_is_an_argument_is_handed_on(register: str) -> None:
    for line in (f"mov {register}, rsi", f"mov r10, qword ptr [rsi + 0x38]\n    mov {register}, rsi\n    mov rsi, r10"):
        assert claims(PLAIN.replace("cmp eax", f"{line}\n    call resolve\n    cmp eax")) == {}


@pytest.mark.parametrize(
    "line", ["test rsi, rsi", "cmp rsi, rdi", "mov rdx, rsi", "call _raw_spin_lock", "mov dword ptr [rdi], eax"]
)
def test_a_program_that_stays_in_registers_is_followed(line: str) -> None:
    text = PLAIN.replace("cmp eax", f"{line}\n    cmp eax")
    assert claims(text) == {TARGET: ABSENT, OPEN: ABSENT}


def test_what_a_call_may_change_is_not_followed_behind_it() -> None:
    """rsi is another value then: a read there is no read of the program's type."""
    assert claims(PLAIN.replace("mov eax", "call _raw_spin_lock\n    mov eax")) == {}
    for register in ("rax", "r10", "r11"):
        lost = PLAIN.replace("mov eax", f"mov {register}, rsi\n    call _raw_spin_lock\n    mov eax")
        assert claims(lost.replace("[rsi + 4]", f"[{register} + 4]")) == {}
    kept = PLAIN.replace("mov eax", "mov rbx, rsi\n    call _raw_spin_lock\n    mov eax").replace(
        "[rsi + 4]", "[rbx + 4]"
    )
    assert claims(kept) == {TARGET: ABSENT, OPEN: ABSENT}


@pytest.mark.parametrize("register", ["rax", "rcx", "rdx", "rdi", "r8", "r9", "r10", "r11"])
def test_what_is_read_behind_a_call_that_changed_the_aux_is_no_dst_prog(register: str) -> None:
    """Another structure is read there then: its members show neither what the check takes nor what it lacks."""
    for text in (UNCHECKED, SAVED):
        moved = text.replace("rdx", register).replace("cmp eax, 0x1c", "cmp dword ptr [rsi + 4], 0x1c")
        assert claims(moved) == claims(text)
        assert claims(moved.replace("jne plain", "jne plain\n    call _raw_spin_lock")) == {}
    kept = SAVED.replace("rdx", "r12").replace("jne plain", "call _raw_spin_lock\n    cmp eax, 0x1c\n    jne plain")
    assert claims(kept)[TARGET] is SIMILAR


def test_a_register_that_is_written_holds_the_program_no_more() -> None:
    assert claims(PLAIN.replace("mov eax", "mov rsi, qword ptr [rdi + 8]\n    mov eax")) == {}
    assert claims(PLAIN.replace("mov eax", "lea rsi, [rdi + 8]\n    mov eax")) == {}


def test_a_piece_that_does_not_decode_is_no_answer() -> None:
    functions = {NAME: function(NAME), f"{NAME}.part": function(f"{NAME}.part")}
    assert list(owner_check(functions, {NAME: listed(PLAIN)}, TYPES)) == []
    assert len(list(owner_check({NAME: function(NAME)}, {NAME: listed(PLAIN)}, TYPES))) == 2


@pytest.mark.parametrize("lacking", [("bpf_prog", "type"), ("bpf_prog", "aux"), ("bpf_prog_aux", "dst_prog")])
def test_without_the_offsets_there_is_no_answer(lacking: tuple[str, str]) -> None:
    functions, decoded = {NAME: function(NAME)}, {NAME: listed(PLAIN)}
    known = types({key: at for key, at in OFFSETS.items() if key != lacking})
    for text in (PLAIN, UNCHECKED, SAVED):
        assert list(owner_check(functions, {NAME: listed(text)}, known)) == []
    assert list(owner_check(functions, decoded, None)) == []
    assert list(owner_check(functions, {}, TYPES)) == []


def test_the_function_with_the_comparisons_is_read_before_the_one_that_calls_it() -> None:
    inner, outer, _ = FUNCTIONS
    functions = {name: function(name) for name in (inner, outer)}
    decoded = {inner: listed(SAVED), outer: listed(PLAIN)}
    assert {item.function.name for item in owner_check(functions, decoded, TYPES)} == {inner}
