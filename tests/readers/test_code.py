"""The machine code of real kernels, against the catalogue; and code that was never seen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.binary import Binary, Function
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.kallsyms import Kallsyms
from tailcall_audit.analyzer.kernelfiles.kallsyms_tables import KallsymsError
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.system_map import read_system_map
from tailcall_audit.analyzer.model import Bootable
from tailcall_audit.analyzer.readers.code.claims import Claim
from tailcall_audit.analyzer.readers.code.isa import isas
from tailcall_audit.analyzer.readers.code.members import place_of
from tailcall_audit.analyzer.readers.code.registry import findings
from tests.kernelfiles.images import kernel
from tests.kernels import package_file
from tests.mutants import debian_image, named_image

X86_64 = isas()["x86_64"]

P1, P2, P3, P4, P5, P5B, P6 = (
    "1c123c567fb1",
    "ff672c67ee76",
    "2b5dcb31a19a",
    "116e04ba1459",
    "f7866c358733",
    "fdad456cbcca",
    "d6083f040d5d",
)
THERE, MISSING, SIMILAR = Claim.PRESENT, Claim.ABSENT, Claim.SIMILAR
# What the source of each says ("Core six in the Debian kernels at hand", "Source signatures over the unpacked trees" of the research);
# a commit that isn't named gets no answer: since fix 4 the count's place says nothing of fix 2, before 1c123c567fb1 the owner check
# nothing of pitfall 5. What the owner check answers is not followed, so that it proves neither fix of what it refuses; nor what the
# JIT and the trampoline emit, so that their shapes never prove a fix.
IN_5_10 = {P1: MISSING, P2: SIMILAR, P3: MISSING, P4: MISSING, P6: MISSING}
IN_6_1_170 = {P1: SIMILAR, P2: SIMILAR, P3: SIMILAR, P4: MISSING, P5: THERE, P5B: SIMILAR, P6: MISSING}
IN_6_12 = {P1: SIMILAR, P3: SIMILAR, P4: SIMILAR, P5: THERE, P5B: SIMILAR, P6: THERE}
SHARED = {
    "vmlinuz-5.10.0-30-cloud-amd64": IN_5_10,
    "vmlinuz-5.10.218-lab-no-ff672c67ee76": IN_5_10 | {P2: MISSING},
    "vmlinuz-6.1.0-47-cloud-amd64": IN_6_1_170,
    "vmlinuz-6.1.170-lab-no-f7866c358733": IN_6_1_170 | {P5: MISSING, P5B: MISSING},
    "vmlinuz-6.12.117+deb13-cloud-amd64": IN_6_12,
}
DEBIAN = {
    "linux-image-6.1.0-47-amd64=6.1.170-3": IN_6_1_170,
    "linux-image-6.1.0-56-cloud-amd64=6.1.192-2": IN_6_1_170 | {P6: THERE},
    "linux-image-6.12.94+deb13-cloud-amd64=6.12.94-1": IN_6_12,
    "linux-binary-7.2.13+deb14-cloud-amd64=7.2.13-1": IN_6_12,
    "linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1": IN_6_12,
}


DIGITS = b"".join(b"%d\0" % digit for digit in range(10))


def without_symbols(found: Kernel) -> Kernel:
    """The same kernel without the mark by which its symbol table is found."""
    return found._replace(data=found.data.replace(DIGITS, b"x" * len(DIGITS)))


def answers(found: Kernel) -> dict[str, Claim]:
    binary = Binary(found)
    said = {item.commit: item.claim for item in findings(X86_64, binary.functions(X86_64.functions), binary.btf)}
    return {commit: claim for commit, claim in said.items() if commit in (P1, P2, P3, P4, P5, P5B, P6)}


@pytest.mark.parametrize("name", SHARED)
def test_the_kernels_of_the_research(name: str) -> None:
    assert answers(kernel(named_image(name))) == SHARED[name]


@pytest.mark.parametrize("name", DEBIAN)
def test_debian_packages(name: str) -> None:
    package, _, version = name.partition("=")
    path = package_file(package, version)
    found = read_package(str(path))
    assert found.image is not None
    assert answers(unpack(read_bootable(Bootable(str(path), found.image)), name)) == DEBIAN[name]


def test_the_kernels_own_symbols_agree_with_each_other() -> None:
    """An address from kallsyms is the start of a function: every one begins with the call of the tracer, which 5.10 to
    6.1 make there.
    """
    binary = Binary(kernel(debian_image("vmlinuz-6.1.0-47-cloud-amd64")))
    functions = binary.functions(X86_64.functions)
    assert {"do_jit", "arch_prepare_bpf_trampoline", "bpf_prog_map_compatible", "prog_fd_array_get_ptr"} <= set(
        functions
    )
    for function in functions.values():
        assert function.code[:1] == b"\xe8"
        assert len(function.code) % 16 == 0


def test_without_symbols_or_types_nothing_is_said(without_rounding: Path) -> None:
    found = kernel(without_rounding)
    blind = without_symbols(found)
    binary = Binary(blind)
    assert binary.functions(X86_64.functions) == {}
    assert any("functions cannot be located" in note for note in binary.notes)
    untyped = Binary(found._replace(data=found.data.replace(b"\x9f\xeb\x01\0", b"\0\0\0\0")))
    assert untyped.btf is None
    said = {item.commit for item in findings(X86_64, untyped.functions(X86_64.functions), None)}
    assert said == {P3, P4}


@pytest.mark.parametrize("seed", range(30))
def test_code_of_an_unknown_shape_gets_no_wrong_answer(seed: int) -> None:
    """What the signatures look at, changed: an answer may go, and must not turn."""
    binary = Binary(kernel(debian_image("vmlinuz-6.1.0-47-cloud-amd64")))
    functions = binary.functions(X86_64.functions)
    truth = {item.commit: item.claim for item in findings(X86_64, functions, binary.btf)}
    generator = random.Random(seed)
    shuffled = {}
    for name, function in functions.items():
        # Whole functions of other code under the name that is looked for.
        other = generator.choice([item for item in functions.values() if item.name != name])
        shuffled[name] = Function(name, function.address, other.code) if generator.random() < 0.5 else function
    for item in findings(X86_64, shuffled, binary.btf):
        assert item.claim is not Claim.PRESENT or truth[item.commit] is Claim.PRESENT, item


@pytest.mark.parametrize("seed", range(10))
def test_random_code_raises_nothing(seed: int) -> None:
    binary = Binary(kernel(debian_image("vmlinuz-6.1.0-47-cloud-amd64")))
    generator = random.Random(seed)
    made = {name: Function(name, 0xFFFFFFFF81000000, generator.randbytes(500)) for name in X86_64.functions}
    for item in findings(X86_64, made, binary.btf):
        assert item.claim is not Claim.PRESENT, item


def test_a_displacement_that_looks_like_is_extended_is_no_hit() -> None:
    """A bare search for the four bytes of the member's place once gave a hit on 6.12.94: only the operand of a
    byte-wide compare counts.
    """
    binary = Binary(kernel(debian_image("vmlinuz-6.12.117+deb13-cloud-amd64")))
    assert binary.btf is not None
    place = place_of(binary.btf, "bpf_prog_aux", "is_extended")
    assert place is not None
    load = b"\x48\x8b\x87" + place.to_bytes(4, "little") + b"\x90" * 9  # mov rax, qword ptr [rdi + place]
    made = {"prog_fd_array_get_ptr": Function("prog_fd_array_get_ptr", 0xFFFFFFFF81000000, load)}
    assert [(item.commit, item.claim) for item in findings(X86_64, made, binary.btf)] == [(P6, Claim.DOUBTFUL)]


def test_a_system_map_serves_where_the_image_has_no_symbols(without_rounding: Path, tmp_path: Path) -> None:
    found = kernel(without_rounding)
    functions = Binary(found).functions(X86_64.functions)
    lines = [f"{item.address:016x} t {name}" for name, item in functions.items()]
    lines += [f"{item.address + len(item.code):016x} T end_of_{name}" for name, item in functions.items()]
    lines += ["0000000000000000 A fixed_percpu_data", "garbage", "ffffffff82000000 t do_jit.cold"]
    path = tmp_path / "System.map"
    path.write_text("\n".join(lines))
    symbols = read_system_map(path)
    assert {name: symbols[name] for name in functions} == {
        name: (item.address, len(item.code)) for name, item in functions.items()
    }
    blind = without_symbols(found)
    assert Binary(blind, symbols).functions(X86_64.functions).keys() == functions.keys()


@pytest.mark.parametrize("seed", range(12))
def test_broken_symbol_tables_are_refused_or_lead_to_the_same_functions(without_rounding: Path, seed: int) -> None:
    found = kernel(without_rounding)
    place = found.data.rfind(DIGITS)
    generator = random.Random(seed)
    broken = bytearray(found.data)
    for _ in range(40):
        broken[place + generator.randrange(-400_000, 2_000)] = generator.randrange(256)
    whole = Binary(found).functions(X86_64.functions)
    left = Binary(found._replace(data=bytes(broken))).functions(X86_64.functions)
    assert left
    for name, item in left.items():
        # A table of names that was changed may hide a function, and never makes other code of it.
        assert item == whole[name]


def test_garbage_has_no_symbols() -> None:
    with pytest.raises(KallsymsError):
        Kallsyms(random.Random(3).randbytes(1 << 20), lambda _: None)
    with pytest.raises(KallsymsError):
        Kallsyms(b"", lambda _: None)
