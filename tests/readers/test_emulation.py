"""Functions of real kernels, run: what is known of these kernels from guests and sources must come out, and nothing
else.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import capstone
import pytest

from bench.mutation.jumps import flips
from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.calls import Patch
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.formats.lines import details
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import EvidenceKind, Presence
from tailcall_audit.analyzer.readers.emulation.jit import judge
from tailcall_audit.analyzer.readers.emulation.read import CaseResult, Emulation, emulate, evidence_of, wanted_cases
from tailcall_audit.analyzer.readers.emulation.registry import CASES, SYMBOLS
from tailcall_audit.analyzer.readers.emulation.scene import Bench
from tailcall_audit.analyzer.readers.emulation.stage import Answer, Outcome, Stage, run_case
from tests.emulator.kernels import tiny_kernel
from tests.kernelfiles.images import kernel
from tests.kernels import package_file
from tests.mutants import IN_5_10 as OLD
from tests.mutants import IN_6_1 as MIDDLE
from tests.mutants import IN_6_12 as NEW
from tests.mutants import debian_image, named_image, small_image, subject

PRESENT, ABSENT = Presence.PRESENT, Presence.ABSENT
EXTENSION, PANIC, REFUSED, COUNT, TRAMPOLINE, HIERARCHY, LOOP = (
    "1c123c567fb1", "f7866c358733", "fdad456cbcca", "ff672c67ee76", "2b5dcb31a19a", "116e04ba1459", "d6083f040d5d",
)  # fmt: skip
FUNCTION, ATTACH, STORAGE, BRIDGE, CLOBBER, ARM = (
    "28ead3eaabc1", "4540aed51b12", "abad3d0bad72", "10627ddc0167", "61aaa8782bec", "66ff4d61dc12",
)  # fmt: skip
LOCK, POKE, SLEEPABLE, CLEAR = "54713c85f536", "4b7de801606e", "0f0c332992b8", "4406942e65ca"
COUNTED = {f"trampoline/{name}" for name in ("carries-fentry", "carries-fexit", "carries-both", "one-flag")}
COMMON = (LOCK, EXTENSION, PANIC, REFUSED, LOOP, FUNCTION, ATTACH, STORAGE, BRIDGE, CLOBBER)

# "Verdicts by behaviour" of the research, and the branches of the catalogue for what is no pitfall.
IN_5_10 = {
    LOCK: PRESENT,
    POKE: ABSENT,
    EXTENSION: ABSENT,
    COUNT: PRESENT,
    TRAMPOLINE: ABSENT,
    HIERARCHY: ABSENT,
    LOOP: ABSENT,
    FUNCTION: ABSENT,
    ATTACH: ABSENT,
    STORAGE: ABSENT,
    SLEEPABLE: ABSENT,
    CLEAR: ABSENT,
}
IN_6_1_170 = {
    **dict.fromkeys((EXTENSION, PANIC, REFUSED, COUNT, TRAMPOLINE, FUNCTION, ATTACH, STORAGE, LOCK, POKE), PRESENT),
    **dict.fromkeys((HIERARCHY, LOOP, BRIDGE, CLOBBER, SLEEPABLE), ABSENT),
}  # fmt: skip
IN_7_3 = dict.fromkeys((*COMMON, COUNT, TRAMPOLINE, HIERARCHY, POKE, SLEEPABLE), PRESENT)
IN_6_12 = IN_7_3 | {SLEEPABLE: ABSENT}
LAB = {
    OLD: IN_5_10,
    "vmlinuz-5.10.218-lab-no-ff672c67ee76": IN_5_10 | {COUNT: ABSENT},
    MIDDLE: IN_6_1_170,
    "vmlinuz-6.1.170-lab-no-f7866c358733": IN_6_1_170 | dict.fromkeys((PANIC, REFUSED, CLEAR), ABSENT),
    NEW: IN_6_12,
}
DEBIAN = {
    ("linux-image-6.1.0-56-cloud-arm64", "arm64"): {
        **dict.fromkeys((*COMMON, CLEAR), PRESENT),
        **dict.fromkeys((ARM, SLEEPABLE), ABSENT),
    },
    ("linux-image-6.12.118+deb13-cloud-arm64", "arm64"): dict.fromkeys((*COMMON, ARM, CLEAR), PRESENT) | {SLEEPABLE: ABSENT},
    ("linux-binary-7.3.4+deb13-cloud-amd64", None): IN_7_3,
    # Its JIT has no tail calls in functions before 7.3, so that nothing is asked of it.
    ("linux-binary-7.2.13+deb14-riscv64", "riscv64"): dict.fromkeys((*COMMON, SLEEPABLE), PRESENT),
}  # fmt: skip


def results(found: Kernel, catalog: Catalog) -> Emulation:
    architecture = found.architecture or ""
    return emulate(Binary(found), architecture, wanted_cases(catalog, architecture))


@cache
def lab_results(path: Path) -> Emulation:
    return results(kernel(path), load_catalog())


def decided(emulation: Emulation, architecture: str, catalog: Catalog) -> dict[str, Presence]:
    """The answers about fixes; c04992612ed4 exists on 5.15 only, and is absent on the others."""
    assert emulation.why is None, emulation.why
    return {
        item.commit: item.presence
        for item in evidence_of(catalog, emulation, architecture, "the image")
        if item.presence is not Presence.UNKNOWN and item.commit != "c04992612ed4"
    }


@pytest.mark.parametrize("name", LAB)
def test_the_kernels_of_the_research(catalog: Catalog, name: str) -> None:
    assert decided(lab_results(named_image(name)), "x86_64", catalog) == LAB[name]


def test_debian_kernels_without_a_fix(without_rounding: Path, without_null_check: Path, catalog: Catalog) -> None:
    assert decided(lab_results(without_rounding), "x86_64", catalog) == IN_5_10 | {COUNT: ABSENT}
    expected = IN_6_1_170 | {PANIC: ABSENT, REFUSED: ABSENT}
    assert decided(lab_results(without_null_check), "x86_64", catalog) == expected


@pytest.mark.parametrize(("package", "architecture"), DEBIAN, ids=[name for name, _ in DEBIAN])
def test_debian_kernels_of_two_architectures(catalog: Catalog, package: str, architecture: str | None) -> None:
    path = package_file(package, architecture=architecture)
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    found = unpack(read_bootable(bootable), path.name)
    assert decided(results(found, catalog), architecture or "x86_64", catalog) == DEBIAN[package, architecture]


def alone(found: Kernel, name: str) -> Answer:
    """What one case comes to."""
    return run_case(Bench(KernelImage(Binary(found), found.architecture or ""), symbols=SYMBOLS), name, CASES[name])


def test_a_prog_array_is_cleared_with_or_without_a_pause() -> None:
    """Linux kernel commit 4406942e65ca ("bpf: Fix RCU stall in bpf_fd_array_map_clear()") is in 6.1.192, not in 5.10."""
    old = alone(kernel(debian_image(OLD)), "prog-array/clear-gives-way")
    assert old.finding is not None, old.why
    assert old.finding.outcome is Outcome.NOT_DONE
    path = package_file("linux-image-6.1.0-56-cloud-arm64", "6.1.192-2", "arm64")
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    new = alone(unpack(read_bootable(bootable), path.name), "prog-array/clear-gives-way")
    assert new.finding is not None, new.why
    assert new.finding.outcome is Outcome.DONE
    assert "calls cond_resched() 4 times while it clears 4 entries" in new.finding.story


def test_a_pause_that_the_command_line_may_take_out_is_no_answer() -> None:
    answer = alone(kernel(debian_image(NEW)), "prog-array/clear-gives-way")
    assert answer.why is not None
    assert answer.why.why is Why.UNPATCHABLE
    assert "__SCT__cond_resched" in str(answer.why)


def test_the_panic_is_seen_at_the_address_that_the_oops_of_the_guest_names(without_null_check: Path) -> None:
    emulation = lab_results(without_null_check)
    found = emulation.results["owner-check/attached-extension"]
    assert found.outcome == "null-dereference"
    assert "reads address 0x4 " in found.story


def test_the_counts_are_those_of_the_guests(catalog: Catalog) -> None:
    old = lab_results(debian_image(OLD)).results
    new = lab_results(debian_image(NEW)).results
    assert "entered 89 times" in old["jit/hierarchy"].story
    assert "entered 34 times" in new["jit/hierarchy"].story
    for kind, calls in (("fentry", 60), ("fexit", 60), ("both", 120)):
        assert f" {calls} times (34 where" in old[f"trampoline/carries-{kind}"].story
    for kind, calls in (("fentry", 34), ("fexit", 34), ("both", 68)):
        assert f" {calls} times (34 where" in new[f"trampoline/carries-{kind}"].story


def test_what_lies_on_the_stack_decides_as_in_the_guest(without_rounding: Path) -> None:
    """The guest counts 61 entries above zeros and 2 above ones (docs/images.md)."""
    story = lab_results(without_rounding).results["jit/count-offset"].story
    assert "entered 61 times above a stack of zeros, 2 times above a stack of ones" in story


def mutants(found: Kernel, function: str) -> list[Kernel]:
    """The kernel with one conditional jump of a function turned round, for each."""
    binary = Binary(found)
    (item,) = binary.functions([function]).values()
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    segment = next(part for part in binary.segments if part.address <= item.address < part.address + part.size)
    made = []
    for address, size, mnemonic, _ in decoder.disasm_lite(item.code, item.address):
        if mnemonic.startswith("j") and mnemonic != "jmp":
            place = segment.offset + address - segment.address + (1 if size == 6 else 0)
            data = bytearray(found.data)
            data[place] ^= 1
            made.append(found._replace(data=bytes(data)))
    return made


MUTATED = {
    "prog_fd_array_get_ptr": LOOP,
    "__bpf_prog_map_compatible": EXTENSION,
    "bpf_prog_map_compatible": EXTENSION,
}


@pytest.mark.parametrize("function", MUTATED)
def test_mutants_of_a_function_lose_its_fix_or_give_no_answer(catalog: Catalog, function: str) -> None:
    """No mutant is better than the kernel, which has the fix; in guests some of each function's show the defect."""
    commit = MUTATED[function]
    cases = wanted_cases(catalog, "x86_64", frozenset((commit,)))
    said = []
    for mutant in mutants(kernel(debian_image(NEW)), function)[::3]:
        emulation = emulate(Binary(mutant), "x86_64", cases)
        assert emulation.why is None
        (item,) = evidence_of(catalog, emulation, "x86_64", "it", frozenset((commit,)))
        said.append(item.presence)
    assert said.count(PRESENT) < len(said)


@pytest.mark.parametrize("seed", range(4))
def test_what_an_object_holds_beside_what_matters_changes_no_answer(seed: int) -> None:
    found = kernel(debian_image(NEW))
    generator = random.Random(seed)
    kept: dict[str, bytes] = {}

    def fill(struct: str, size: int) -> bytes:
        # Two programs of one case have the same contents where the case sets nothing.
        return kept.setdefault(struct, generator.randbytes(size))

    image = KernelImage(Binary(found), "x86_64")
    plain, random_bench = Bench(image, symbols=SYMBOLS), Bench(image, fill=fill, symbols=SYMBOLS)
    for name, case in CASES.items():
        # What a JIT, a verifier or a trampoline looks at has more members than these cases set.
        is_plain = name.startswith("owner-check/")
        expected, got = run_case(plain, name, case), run_case(random_bench, name, case)
        if expected.finding is None:
            assert got.finding is None, name
        elif got.finding is not None:
            assert got.finding.outcome is expected.finding.outcome, name
        else:
            assert not is_plain, f"{name}: {got.why}"


def test_a_step_is_run_anew_only_where_code_on_its_path_is_patched() -> None:
    function, elsewhere = 0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0100
    found = kernel(named_image("vmlinuz-6.12.117+deb13-cloud-amd64"))
    bench = Bench(KernelImage(Binary(found), "x86_64"))
    runs: list[int] = []

    def step(stage: Stage) -> int:
        runs.append(1)
        stage.scene().machine.executed += [(function, 64), (function + 8, 4)]
        return len(runs)

    on_path, first_byte = Patch(function + 60, b"\x90" * 5, "a test"), Patch(function - 1, b"\x90" * 2, "a test")
    off_path = Patch(elsewhere, b"\x90", "a test")
    before = Patch(function - 2, b"\x90" * 2, "a test")
    seen = [
        Stage(bench, patches).once("step", step)
        for patches in ((), (off_path,), (before,), (on_path,), (on_path, off_path), (first_byte,), (before, off_path))
    ]
    assert seen == [1, 1, 1, 2, 2, 3, 1]


def test_a_kernel_without_types_gives_one_reason(catalog: Catalog) -> None:
    tiny = tiny_kernel(b"\xc3")
    found = emulate(tiny.binary, "x86_64", wanted_cases(catalog, "x86_64"))
    assert found.why is not None
    assert found.why.why is Why.NO_BTF


def test_the_types_of_another_kernel_are_found_out_by_the_controls(catalog: Catalog) -> None:
    """Objects laid out wrongly may make anything of a function, but never a fix."""
    old = kernel(debian_image(OLD))
    wrong = Binary(old)
    wrong.__dict__["btf"] = Binary(kernel(debian_image(NEW))).btf
    emulation = emulate(wrong, "x86_64", wanted_cases(catalog, "x86_64"))
    assert emulation.why is None
    for item in evidence_of(catalog, emulation, "x86_64", "the image"):
        assert item.presence is not PRESENT or item.commit in LAB[OLD], item
        if item.presence is PRESENT:
            assert LAB[OLD][item.commit] is PRESENT, item


@pytest.mark.parametrize("architecture", ["s390x", "mips64"])
def test_an_architecture_without_a_machine_is_a_reason(architecture: str) -> None:
    found = emulate(tiny_kernel(b"\xc3").binary, architecture, ())
    assert found.why is not None
    assert found.why.why is Why.NO_MACHINE


def test_every_condition_of_the_catalogue_names_a_case_and_an_outcome(catalog: Catalog) -> None:
    outcomes = {item.value for item in Outcome}
    for commit in catalog.commits.values():
        for presence in ("present", "absent"):
            for alternative in (commit.emulation or {}).get(presence, ()):
                for atom in alternative:
                    case, _, outcome = atom.partition("=")
                    assert case in CASES, f"{commit.key}: {atom}"
                    assert outcome in outcomes, f"{commit.key}: {atom}"


def test_half_a_fix_is_seen_as_half(catalog: Catalog) -> None:
    whole = {
        name: CaseResult(name, "stops" if name in COUNTED else "done", "as it should")
        for name in wanted_cases(catalog, "x86_64", frozenset((TRAMPOLINE,)))
    }

    def said(results: Mapping[str, CaseResult]) -> Presence:
        (item,) = evidence_of(catalog, Emulation(results), "x86_64", "it", frozenset((TRAMPOLINE,)))
        return item.presence

    assert said(whole) is PRESENT
    for name, result in whole.items():
        bad = "loops" if name in COUNTED else "not-done"
        assert said(whole | {name: result._replace(outcome=bad)}) is ABSENT
        assert said(whole | {name: result._replace(outcome=None)}) is Presence.UNKNOWN


def test_without_the_emulator_one_note_says_what_could_have_been_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unicorn", None)
    for name in ("x86_64", "arm64", "machine"):
        monkeypatch.delitem(sys.modules, f"tailcall_audit.analyzer.emulator.{name}", raising=False)
    image = str(small_image())
    (target,) = audit(images=[image], only=["freplace-loop"]).targets
    (note,) = [note for note in target.notes if "tailcall-audit[emulation]" in note]
    assert note.startswith("not run: ")
    assert not [item for item in target.verdicts[0].evidence if item.kind is EvidenceKind.EMULATION]


def test_nothing_is_run_where_nothing_may_be() -> None:
    image = str(small_image())
    for emulate_it in (True, False):
        (target,) = audit(images=[image], only=["freplace-loop"], emulate=emulate_it).targets
        kinds = {item.kind for item in target.verdicts[0].evidence}
        assert (EvidenceKind.EMULATION in kinds) is emulate_it


def test_an_explanation_has_a_line_for_each_step_of_a_run() -> None:
    """Pitfall 3 of 6.12.117: the reason names the run, and the steps stand once, each with its function and address."""
    (verdict,) = audit(images=[str(debian_image(NEW))], only=["x86-trampoline-loop"]).targets[0].verdicts
    lines = details(verdict)
    steps = [line.strip().removeprefix("- ") for line in lines if line.lstrip().startswith("- ")]
    assert len(steps) == 6
    assert all(re.match(r"\w+\(\) at 0x[0-9a-f]{16}", step) for step in steps)
    (reason,) = [line for line in lines if line.startswith("  reason:")]
    assert reason.endswith("fixed by 2b5dcb31a19a (run in an emulator, below)")
    assert "TAIL_CALL_CTX (0x80)" in steps[-1]
    assert not any(step in line for step in steps for line in lines if not line.lstrip().startswith("- "))


def test_an_owner_check_that_refuses_what_tail_calls_gives_no_answer(catalog: Catalog) -> None:
    """A flip in 6.12.117's comparison of storages: the guest refuses a freplace program that tail-calls, as without the
    fix of pitfall 1.
    """
    found = subject(NEW)
    function = found.functions(["__bpf_prog_map_compatible"])["__bpf_prog_map_compatible"]
    of_storages = [
        flip for flip in flips(found, function) if (flip.address, flip.undoes) == (0xFFFFFFFF8127255A, "je never")
    ]
    (flip,) = of_storages
    cases = wanted_cases(catalog, "x86_64", frozenset(("1c123c567fb1",)))
    emulation = emulate(Binary(unpack(found.mutant(flip), "a mutant")), "x86_64", cases)
    (item,) = evidence_of(catalog, emulation, "x86_64", "it", frozenset(("1c123c567fb1",)))
    assert item.presence is Presence.UNKNOWN
    assert "that tail-calls" in item.detail


def test_what_never_ran_is_no_chain_that_stops() -> None:
    with pytest.raises(EmulationError):
        judge(())
