"""Guests of other architectures than this host's: real kernels of Debian, under emulation.

One of arm64 and a big-endian one run each time; `python -m bench.architectures` boots the rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.architecture import normalize_architecture
from tailcall_audit.analyzer.live.confirm import Guests, boot_target
from tailcall_audit.analyzer.live.pythons.store import guest_archive, kept_python
from tailcall_audit.analyzer.model import Agreement, ObservationState, Rule, TargetReport
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.boot import Guest, GuestRun
from tailcall_audit.probes.guest.qemu import find_machine, is_native
from tailcall_audit.probes.probe import slug_on
from tests.kernels import package_file
from tests.live.pythons import fetched

ARM64 = ("linux-image-6.1.0-56-cloud-arm64", "6.1.192-2", "arm64")
S390X = ("linux-binary-7.2.13+deb14-s390x", "7.2.13-1", "s390x")
LOONGARCH = ("linux-binary-7.2.13+deb14-loong64", "7.2.13-1", "loong64")

ON_ARM64 = {
    "arm64-tailcall-hierarchy",
    "arm64-empty-slot-count",
    "tailcall-cgroup-storage-bridge",
    "tailcall-pkt-pointers",
    "tailcall-verifier-return-model",
    "tailcall-via-callback-subprog",
    "tailcall-sleepable-callee",
}
"""What 6.1.192 lacks the fixes of, on any architecture (tests/live/lab_kernels.py), and on arm64: 66ff4d61dc12 is not
in 6.1.y (catalog/commits).
"""


def boot(
    package: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch, suite: str | None = None
) -> tuple[TargetReport, GuestRun]:
    fetched.cache(monkeypatch)
    fetched.needs(normalize_architecture(package[2]), suite)
    path = package_file(*package)
    return boot_target(audit(packages=[str(path)]).targets[0], Guests(Guest(patience=240.0)), lambda _: None)


def observations(target: TargetReport) -> dict[str, ObservationState]:
    return {item.defect.slug: item.observation.state for item in target.verdicts if item.observation is not None}


def applicable(target: TargetReport) -> set[str]:
    return {item.defect.slug for item in target.verdicts if item.rule is not Rule.OTHER_ARCHITECTURE}


def contradicted(target: TargetReport) -> dict[str, str]:
    return {
        item.defect.slug: item.observation.detail
        for item in target.verdicts
        if item.observation is not None and item.observation.agreement is Agreement.CONTRADICTED
    }


def test_6_1_192_on_arm64_shows_what_the_catalogue_says(monkeypatch: pytest.MonkeyPatch) -> None:
    target, run = boot(ARM64, monkeypatch)
    assert (run.failure, run.left, run.facts["page_size"]) == (None, (), "4096")
    seen = observations(target)
    # Each probe but those of defects that only another architecture's JIT has.
    assert set(seen) == {slug for slug in (slug_on(probe, "arm64") for probe in PROBES) if slug in applicable(target)}
    assert {slug for slug, state in seen.items() if state is ObservationState.PRESENT} == ON_ARM64
    assert {slug for slug, state in seen.items() if state is ObservationState.COULD_NOT_RUN} == set()
    assert contradicted(target) == {}
    assert {slug for slug in ON_ARM64 if target.states[slug] is not State.AFFECTED} == set()


def test_7_2_13_on_s390x_is_big_endian_and_debian_builds_it_without_a_jit(monkeypatch: pytest.MonkeyPatch) -> None:
    target, run = boot(S390X, monkeypatch)
    assert (run.failure, run.left, run.facts["jit"], run.facts["btf"]) == (None, (), "", "1")
    seen = observations(target)
    assert {slug for slug, state in seen.items() if state is not ObservationState.ABSENT} == set()
    assert contradicted(target) == {}
    # The package has no configuration, so the verdict is of the code; what is seen changes nothing.
    without_jit = {item.defect.slug: item for item in target.verdicts}["s390-tailcall-hierarchy"]
    assert without_jit.state is State.FIXED
    assert without_jit.observation is not None
    assert "compiles no BPF program" in without_jit.observation.detail
    assert without_jit.observation.agreement is Agreement.NOT_OBSERVED
    # Programs of the owner check were loaded, with instructions and maps in the guest's byte order.
    details = {item.defect.slug: item.observation.detail for item in target.verdicts if item.observation is not None}
    assert "is refused by the prog_array" in details["tailcall-cgroup-storage-oob"]
    assert "is refused by a connect4 program's prog_array" in details["tailcall-compat-expected-attach-type"]


def test_7_2_13_on_loongarch_has_every_fix_of_its_own_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first suite of Debian with this architecture is forky, and sid has it as long as Debian does.
    target, run = boot(LOONGARCH, monkeypatch, "sid")
    assert (run.failure, run.left, run.facts["page_size"]) == (None, (), "16384")
    seen = observations(target)
    own = {slug: state for slug, state in seen.items() if slug.startswith("loongarch-")}
    assert set(own) == {
        "loongarch-arena-count-slot",
        "loongarch-empty-slot-count",
        "loongarch-prologue-off-by-one",
        "loongarch-tailcall-hierarchy",
        "loongarch-tailcall-index-zext",
        "loongarch-tailcall-jump-offset",
    }
    assert set(own.values()) == {ObservationState.ABSENT}
    assert {slug for slug, state in seen.items() if state is ObservationState.PRESENT} == {
        "tailcall-via-callback-subprog"
    }
    # Debian builds it without BTF, and no freplace or tracing program has a target then.
    assert {slug for slug, state in seen.items() if state is ObservationState.COULD_NOT_RUN} == {
        "freplace-tailcallee",
        "freplace-attached-panic",
        "freplace-attached-refused",
        "freplace-loop",
        "tailcall-compat-attach-func-proto",
        "tracing-dst-prog-type-confusion",
    }
    assert contradicted(target) == {}


def test_mixed_architectures_in_one_lab_are_named_in_its_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched.cache(monkeypatch)
    for number, package in enumerate((ARM64, S390X)):
        fetched.needs(normalize_architecture(package[2]))
        path = package_file(*package)
        (tmp_path / f"{number}-{path.name}").symlink_to(path)
    assert main(["lab", str(tmp_path), "--only", "tailcall-cgroup-storage-bridge", "--guest-timeout", "240"]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines[:2]] == ["arm64", "s390x"]
    row = next(line.split() for line in lines if "tailcall-cgroup-storage-bridge" in line)
    assert row[1:] == ["AFFECTED", "fixed"] or row[1:] == ["AFFECTED", "-"], out


def test_what_is_fetched_is_small_and_is_of_that_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched.cache(monkeypatch)
    machine = fetched.needs("arm64")
    if is_native(machine):
        pytest.skip("this host is of arm64: its guests get the running Python")
    kept = kept_python(machine)
    assert kept is not None
    archive = guest_archive(machine, None)
    assert archive.stat().st_size < 25 << 20
    assert guest_archive(machine, kept) == archive
    # Another content than the name says is not believed.
    data = kept.read_bytes()
    copy = kept.with_name(kept.name.replace("python-arm64", "python-riscv64"))
    copy.write_bytes(data[:-1])
    copy.chmod(0o600)
    assert kept_python(find_machine("riscv64")) is None or not copy.exists()


def test_without_a_python_the_message_has_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(package_file(*ARM64))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    machine = find_machine("arm64")
    if is_native(machine):
        pytest.skip("this host is of arm64: its guests get the running Python")
    monkeypatch.setattr("tailcall_audit.analyzer.live.confirm.find_qemu", lambda _: None)
    assert main(["--package", image, "--no-emulation", "--confirm=vm", "--only", "freplace-loop"]) == 2
    said = capsys.readouterr().err
    assert "'tailcall-audit guest fetch arm64'" in said
    assert "--guest-python" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["guest", "fetch", "pdp11"], "unknown architecture 'pdp11'"),
        (["guest", "fetch", "sparc64"], "no guest of sparc64 can be booted"),
        (["--kernel", "6.1.170", "--guest-python", "/"], "--guest-python is about the guest that is booted"),
        (["lab", "/dev/zero", "--guest-python", "/proc"], "/proc: no Python 3 in it"),
        (["--image", "/dev/zero", "--confirm=vm", "--guest-python", "/nowhere"], "/nowhere: no such file"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_list_says_what_is_missing_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["guest", "list"]) == 0
    out = capsys.readouterr().out
    assert "apt-get install qemu-system-arm" in out
    assert "the running one" in out
    assert "guest fetch s390x" in out
