"""Pitfall 3 in machine code: listings like those of Debian's 6.12 of the three places of 2b5dcb31a19a."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.x86_64.trampoline import ATTACH_CHECK, TRAMPOLINE, UPDATE, trampoline
from tests.readers.listing import START, function, listed, types

SET, GET = "bpf_trampoline_set_flags", "bpf_trampoline_get"
TYPES = types({("bpf_trampoline", "flags"): 0xB8, ("bpf_prog_aux", "tail_call_reachable"): 0x89})
EMITS = """
    mov dword ptr [rax], 0xe58948
    test byte ptr [rbp - 0x30], 0x80
    je none
    mov dword ptr [rax], 0x858b48
    none:
    nop
    mov dword ptr [rax], 0x858b48
    ret
"""
# If the place of the trampoline is known, its own address stands for that of bpf_trampoline_get().
SETS = f"""
    call {START:#x}
    mov rdx, rax
    cmp byte ptr [rbx + 0x89], 0
    je plain
    or dword ptr [rdx + 0xb8], 0x80
    plain:
    mov qword ptr [rcx + 0x40], rdx
    ret
"""
KEEPS = """
    mov eax, dword ptr [rbx + 0xb8]
    mov ecx, 1
    and eax, 0xc0
    mov dword ptr [rbx + 0xb8], eax
    ret
"""
ABSENT, SIMILAR, DOUBTFUL = Claim.ABSENT, Claim.SIMILAR, Claim.DOUBTFUL


def claim(
    emits: str = EMITS, sets: str | None = SETS, keeps: str | None = KEEPS, *, attach: str = ATTACH_CHECK[1]
) -> Claim | None:
    code = {TRAMPOLINE[0]: emits}
    code |= {} if sets is None else {attach: sets}
    code |= {} if keeps is None else {UPDATE: keeps}
    functions = {name: function(name) for name in (*code, GET)}
    found = list(trampoline(functions, {name: listed(text) for name, text in code.items()}, TYPES))
    assert len(found) <= 1
    return found[0].claim if found else None


def changed(text: str, before: str, after: str) -> str:
    assert text.count(before) == 1
    return text.replace(before, after)


@pytest.mark.parametrize("attach", ATTACH_CHECK)
def test_all_places_look_like_the_fix(attach: str) -> None:
    assert claim(attach=attach) is SIMILAR


def test_a_trampoline_that_restores_nothing_lacks_the_fix_whatever_sets_the_flag() -> None:
    assert claim(EMITS.replace("0x858b48", "0x858b49")) is ABSENT
    assert claim(EMITS.replace("0x858b48", "0x858b49"), None, None) is ABSENT


def test_a_trampoline_that_restores_it_once_is_not_known() -> None:
    once = changed(EMITS, "nop\n    mov dword ptr [rax], 0x858b48", "nop")
    assert claim(once) is SIMILAR
    # The other places decide then.
    assert claim(once, keeps=changed(KEEPS, "0xc0", "0x40")) is ABSENT


def test_a_third_place_that_never_runs_is_not_known() -> None:
    assert claim(changed(EMITS, "ret\n", "ret\n    mov dword ptr [rax], 0x858b48\n")) is SIMILAR


@pytest.mark.parametrize("before", ["je none", "nop\n    mov dword ptr [rax], 0x858b48"])
def test_code_that_restores_it_and_never_runs_is_doubtful(before: str) -> None:
    assert (
        claim(changed(EMITS, before, before.replace("je", "jmp") if "je" in before else f"ret\n    {before}"))
        is DOUBTFUL
    )


@pytest.mark.parametrize("after", ["test byte ptr [rbp - 0x30], 0x40", "cmp byte ptr [rbp - 0x30], 0x80", "nop "])
def test_a_trampoline_that_looks_at_no_flag_is_doubtful(after: str) -> None:
    assert claim(changed(EMITS, "test byte ptr [rbp - 0x30], 0x80", after)) is DOUBTFUL


@pytest.mark.parametrize("jump", ["js none", "jns none"])
def test_a_look_at_the_sign_of_a_byte_may_be_one_at_the_flag(jump: str) -> None:
    sign = changed(EMITS, "test byte ptr [rbp - 0x30], 0x80\n    je none", f"test r9b, r9b\n    {jump}")
    assert claim(sign) is SIMILAR


@pytest.mark.parametrize("add", ["or eax, 0x80", "or al, 0x80", "or r8d, 0x80"])
def test_a_flag_that_is_added_in_a_register_leaves_it_open(add: str) -> None:
    """As with CONFIG_KASAN, which looks at each read and each write by itself."""
    sets = f"mov eax, dword ptr [rdx + 0xb8]\n    {add}\n    mov dword ptr [rdx + 0xb8], eax"
    assert claim(sets=changed(SETS, "or dword ptr [rdx + 0xb8], 0x80", sets)) is SIMILAR
    # Another flag is not this one, and elsewhere it says nothing of a place that was seen.
    assert claim(sets=changed(SETS, "or dword ptr [rdx + 0xb8], 0x80", sets.replace("0x80", "0x40"))) is ABSENT
    odd = changed(SETS, "je plain", "jne plain").replace("mov rdx, rax", f"mov rdx, rax\n    {add}")
    assert claim(sets=odd) is DOUBTFUL


def test_an_and_is_a_look_at_the_flag_too() -> None:
    assert claim(changed(EMITS, "test byte ptr [rbp - 0x30], 0x80", "and r9d, 0x80")) is SIMILAR


@pytest.mark.parametrize(
    "after",
    ["nop ", "or dword ptr [rdx + 0xb8], 0x40", "or dword ptr [rdx + 0xb0], 0x80", "and dword ptr [rdx + 0xb8], 0x80"],
)
def test_an_attach_that_sets_no_flag_lacks_the_fix(after: str) -> None:
    assert claim(sets=changed(SETS, "or dword ptr [rdx + 0xb8], 0x80", after)) is ABSENT


def test_other_code_between_the_look_and_the_flag_changes_nothing() -> None:
    for line in ("nop ", "mov rsi, qword ptr [rcx]"):
        assert claim(sets=changed(SETS, "or dword", f"{line}\n    or dword")) is SIMILAR
    assert claim(sets=changed(SETS, "cmp byte", "cmp byte ptr [rcx], 0\n    je plain\n    cmp byte")) is SIMILAR


def test_without_the_function_that_gets_a_trampoline_the_place_is_not_known() -> None:
    code = {TRAMPOLINE[0]: EMITS, ATTACH_CHECK[1]: SETS.replace("or dword", "nop "), UPDATE: KEEPS}
    decoded = {name: listed(text) for name, text in code.items()}
    functions = {name: function(name) for name in code}
    assert [item.claim for item in trampoline(functions, decoded, TYPES)] == [SIMILAR]
    assert [item.claim for item in trampoline({**functions, GET: function(GET)}, decoded, TYPES)] == [ABSENT]


def test_the_flag_may_be_stored_instead() -> None:
    assert claim(sets=changed(SETS, "or dword ptr [rdx + 0xb8], 0x80", "mov dword ptr [rdx + 0xb8], 0x80")) is SIMILAR


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("je plain", "jne plain"),
        ("[rbx + 0x89], 0", "[rbx + 0x88], 0"),
        ("[rbx + 0x89], 0", "[rbx + 0x89], 1"),
        ("cmp byte", "test byte"),
        # Another branch or a call comes before the flag.
        ("or dword", "test ecx, ecx\n    je plain\n    or dword"),
        ("or dword", "ret\n    or dword"),
        ("or dword", "nop\n    " * 12 + "or dword"),
    ],
)
def test_a_flag_that_is_not_set_behind_the_look_is_doubtful(before: str, after: str) -> None:
    assert claim(sets=changed(SETS, before, after)) is DOUBTFUL


def test_a_check_that_gets_no_trampoline_is_not_the_place() -> None:
    for after in ("call 0xffffffff82000000", f"jmp {START:#x}"):
        assert claim(sets=changed(SETS, f"call {START:#x}", after).replace("or dword", "nop\n    nop ")) is SIMILAR


def test_the_flag_may_be_set_by_a_function_of_its_own() -> None:
    setter = START + 0x1000
    sets = changed(SETS, "or dword ptr [rdx + 0xb8], 0x80", f"mov esi, 0x80\n    mov rdi, rax\n    call {setter:#x}")
    code = {TRAMPOLINE[0]: EMITS, ATTACH_CHECK[0]: sets, UPDATE: KEEPS}
    functions = {name: function(name) for name in (*code, GET)}
    decoded = {name: listed(text) for name, text in code.items()}

    def said(known: bool) -> list[Claim]:
        more = {SET: function(SET)._replace(address=setter)} if known else {}
        return [item.claim for item in trampoline({**functions, **more}, decoded, TYPES)]

    assert said(known=True) == [SIMILAR]
    # It may be far behind the start of a function that other ones are inlined into.
    decoded[ATTACH_CHECK[0]] = listed("nop \n" * 20 + sets)
    assert said(known=True) == [SIMILAR]
    decoded[ATTACH_CHECK[0]] = listed(sets)
    # Without it no place sets the flag.
    assert said(known=False) == [ABSENT]
    for before, after in (
        ("mov esi", "mov edi"),
        # It is compared, is handed on too late, or to a call before it.
        ("mov esi", "cmp esi"),
        ("mov rdi, rax", "mov rdi, rax\n    " + "nop \n    " * 4),
        (
            f"mov esi, 0x80\n    mov rdi, rax\n    call {setter:#x}",
            f"mov rdi, rax\n    call {setter:#x}\n    mov esi, 0x80",
        ),
        (f"{setter:#x}", f"{setter + 64:#x}"),
        ("call 0xffffffff81001", "jmp 0xffffffff81001"),
    ):
        decoded[ATTACH_CHECK[0]] = listed(changed(sets, before, after))
        assert said(known=True) == [ABSENT]


@pytest.mark.parametrize("mask", ["0xc0", "0x80"])
def test_an_update_keeps_the_flag(mask: str) -> None:
    assert claim(keeps=changed(KEEPS, "0xc0", mask)) is SIMILAR


def test_an_update_that_keeps_another_flag_only_lacks_the_fix() -> None:
    assert claim(keeps=changed(KEEPS, "0xc0", "0x40")) is ABSENT
    # The same, where another member is masked first.
    other = changed(KEEPS, "0xc0", "0x40").replace(
        "mov eax", "mov edx, dword ptr [rbx + 0xb0]\n    and edx, 0xc0\n    mov eax", 1
    )
    assert claim(keeps=other) is ABSENT


def test_a_look_at_the_other_flag_before_the_update_is_none_that_loses_this_one() -> None:
    """`tr->flags & BPF_TRAMP_F_SHARE_IPMODIFY` is read in other places of bpf_trampoline_update() too."""
    look = "mov edx, dword ptr [rbx + 0xb8]\n    and edx, 0x40\n    je 0xffffffff81000200\n    "
    assert claim(keeps=changed(KEEPS, "mov eax", f"{look}mov eax")) is SIMILAR
    assert claim(keeps=changed(KEEPS, "ret", f"{look}ret")) is SIMILAR
    # What loses it is no less so because of a look at another flag behind it.
    lost = changed(KEEPS, "0xc0", "0x40").replace("ret", f"{look.replace('0x40', '2')}ret")
    assert claim(keeps=lost) is ABSENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("and eax, 0xc0", "and edx, 0x40"),
        ("and eax, 0xc0", "or eax, 0x40"),
        ("and eax, 0xc0", "and eax, 0x20"),
        ("mov eax, dword", "cmp eax, dword"),
        ("mov eax, dword ptr [rbx + 0xb8]", "mov eax, dword ptr [rbx + 0xb0]"),
        ("mov ecx, 1", "mov ecx, 1\n    " * 5),
    ],
)
def test_an_update_of_another_form_is_not_known(before: str, after: str) -> None:
    """It shows nothing: neither that the flag is kept, nor that it is lost."""
    keeps = changed(KEEPS, before, after).replace("and eax, 0xc0", "and eax, 0x40")
    assert claim(keeps=keeps) is SIMILAR


def test_places_that_were_not_found_leave_it_open() -> None:
    assert claim(sets=None) is SIMILAR
    assert claim(keeps=None) is SIMILAR
    code = {TRAMPOLINE[1]: EMITS}
    functions, decoded = {TRAMPOLINE[1]: function(TRAMPOLINE[1])}, {name: listed(text) for name, text in code.items()}
    for btf in (None, types({}), types({("bpf_trampoline", "flags"): 0xB8})):
        assert [item.claim for item in trampoline(functions, decoded, btf)] == [SIMILAR]


@pytest.mark.parametrize(
    "known", [{("bpf_trampoline", "flags"): 0xB8}, {("bpf_prog_aux", "tail_call_reachable"): 0x89}]
)
def test_members_that_the_types_do_not_have_leave_it_open(known: dict[tuple[str, str], int]) -> None:
    code = {TRAMPOLINE[0]: EMITS, ATTACH_CHECK[1]: SETS, UPDATE: KEEPS}
    functions = {name: function(name) for name in (*code, GET)}
    decoded = {name: listed(text) for name, text in code.items()}
    assert [item.claim for item in trampoline(functions, decoded, types(known))] == [SIMILAR]


def test_the_function_that_emits_the_frame_is_the_trampoline() -> None:
    """gcc inlines one into the other: the outer one alone emits nothing."""
    outer, inner = listed("ret "), listed(changed(EMITS, "test byte", "nop byte"))
    functions = {name: function(name) for name in TRAMPOLINE}
    (found,) = trampoline(functions, {TRAMPOLINE[0]: outer, TRAMPOLINE[1]: inner}, None)
    assert (found.claim, found.function.name) == (DOUBTFUL, TRAMPOLINE[1])
    assert list(trampoline(functions, {TRAMPOLINE[0]: outer}, None)) == []
