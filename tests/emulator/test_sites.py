"""The places that a kernel patches, found in its own tables, and their other states."""

from __future__ import annotations

import struct

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import isa_of
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.sites import Sites
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tests.emulator.kernels import tiny_kernel
from tests.kernelfiles.images import kernel
from tests.mutants import IN_5_10, IN_6_1, IN_6_12, debian_image

DEBIAN = (IN_5_10, IN_6_1, IN_6_12)


def opened(name: str) -> tuple[KernelImage, Sites]:
    image = KernelImage(Binary(kernel(debian_image(name))), "x86_64")
    return image, Sites(image, isa_of("x86_64"))


def text(image: KernelImage) -> tuple[int, int]:
    start, end = image.text
    return start, end - start


@pytest.mark.parametrize("name", DEBIAN)
def test_every_site_of_a_kernel_has_another_state_of_its_own_length(name: str) -> None:
    image, sites = opened(name)
    patches = list(sites.on_path([text(image)]))
    kinds = {word: sum(patch.why.startswith(word) for patch in patches) for word in ("static key", "alternative")}
    # Thousands of each in every kernel of a distribution; counts of other tables would not fit together.
    assert min(kinds.values()) > 700
    for patch in patches:
        assert image.read(patch.address, len(patch.code)) != patch.code or "alternative" in patch.why
        assert len(patch.code) in (2, 5) or "alternative" in patch.why


@pytest.mark.parametrize("name", DEBIAN)
def test_static_keys_are_turned_from_a_jump_to_nothing_and_back(name: str) -> None:
    image, sites = opened(name)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    turned = 0
    for patch in sites.on_path([text(image)]):
        if patch.why.startswith("static key"):
            old = next(decoder.disasm_lite(image.read(patch.address, 16), patch.address))
            new = next(decoder.disasm_lite(patch.code, patch.address))
            assert {old[2], new[2]} == {"nop", "jmp"}, (old, new)
            target = int((new if new[2] == "jmp" else old)[3], 16)
            assert image.segment_of(target) is not None
            turned += 1
    assert turned > 700


def test_a_block_has_the_sites_that_begin_in_it_and_no_others() -> None:
    image, sites = opened(DEBIAN[2])
    first = next(iter(sites.on_path([text(image)])))
    assert [patch.address for patch in sites.on_path([(first.address, 1)])][:1] == [first.address]
    assert not list(sites.on_path([(first.address + 1, 1)]))


def test_a_relative_call_works_where_it_is_moved_to() -> None:
    isa = isa_of("x86_64")
    call = bytes.fromhex("e800010000")  # to 0x1105 from 0x1000
    moved = isa.moved(call, 0x1000, 0x1080)
    assert 0x1080 + 5 + int.from_bytes(moved[1:], "little", signed=True) == 0x1105
    assert isa.moved(b"\x90\x90", 0x1000, 0x2000) == b"\x90\x90"


def test_a_branch_of_arm64_works_where_it_is_moved_to() -> None:
    isa = isa_of("arm64")
    outside = (0x14000000 | 0x40).to_bytes(4, "little")  # b +0x100
    moved = int.from_bytes(isa.moved(outside, 0x1000, 0x1080), "little")
    assert 0x1080 + 4 * (moved & 0x3FFFFFF) == 0x1100
    inside = (0x14000001).to_bytes(4, "little") + bytes(4)  # b +4, to the other code's own second word
    assert isa.moved(inside, 0x1000, 0x1080) == inside


DISTANCES = st.integers(min_value=-(1 << 19), max_value=(1 << 19) - 1).map(lambda half: 2 * half)


@given(DISTANCES)
def test_a_jump_of_riscv64_leads_where_it_should(distance: int) -> None:
    isa = isa_of("riscv64")
    start = 0xFFFF_FFFF_8000_0000 + (1 << 21)
    code = isa.jump(start, start + distance, 4)
    assert isa.jump_size(code) == 4
    decoder = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC)
    ((_, size, mnemonic, operands),) = decoder.disasm_lite(code, start)
    assert (size, mnemonic) == (4, "j")
    # The distance of a jump is an operand of it, as it is decoded.
    assert int(operands, 16) == distance


@given(DISTANCES.filter(lambda distance: abs(distance) > 64), st.integers(min_value=-(1 << 15), max_value=1 << 15))
def test_a_jump_of_riscv64_works_where_it_is_moved_to(distance: int, by: int) -> None:
    isa = isa_of("riscv64")
    start = 0xFFFF_FFFF_8040_0000
    moved = isa.moved(isa.jump(start, start + distance // 2 & -2, 4), start, start + 2 * by)
    assert moved == isa.jump(start + 2 * by, start + distance // 2 & -2, 4)
    inside = isa.jump(start, start + 4, 4) + bytes(4)
    assert isa.moved(inside, start, start + 2 * by) == inside


@given(st.integers(min_value=-(1 << 30), max_value=1 << 30), st.integers(min_value=-(1 << 20), max_value=1 << 20))
def test_a_far_call_of_riscv64_works_where_it_is_moved_to(distance: int, by: int) -> None:
    """auipc ra, high; jalr ra, low(ra)."""
    isa = isa_of("riscv64")

    def call(far: int) -> bytes:
        high, low = (far + 0x800) & 0xFFFFF000, far & 0xFFF
        return struct.pack("<II", high | 1 << 7 | 0x17, low << 20 | 1 << 15 | 1 << 7 | 0x67)

    start = 0xFFFF_FFFF_8040_0000
    assert isa.moved(call(distance), start, start + by) == call(distance - by)


def test_a_kernel_without_tables_has_no_sites_and_says_so() -> None:
    sites = Sites(tiny_kernel(b"\xc3"), isa_of("x86_64"))
    assert not sites.are_known
    assert not list(sites.on_path([(0xFFFF_FFFF_8100_0000, 4096)]))


def test_what_is_neither_a_jump_nor_nothing_is_a_reason() -> None:
    image, sites = opened(DEBIAN[2])
    key = next(patch for patch in sites.on_path([text(image)]) if patch.why.startswith("static key"))
    segment = image.segment_of(key.address)
    assert segment is not None
    broken = kernel(debian_image(DEBIAN[2]))
    data = bytearray(broken.data)
    data[segment.offset + key.address - segment.address] = 0xCC
    other = KernelImage(Binary(broken._replace(data=bytes(data))), "x86_64")
    with pytest.raises(EmulationError) as caught:
        list(Sites(other, isa_of("x86_64")).on_path([(key.address, 1)]))
    assert caught.value.why is Why.UNPATCHABLE
