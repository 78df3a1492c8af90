"""Real kernels, booted under emulation: prediction, observation and catalogue agree, but where the lab kernels were
made to differ.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.formats.json import report_schema_path
from tailcall_audit.analyzer.live.confirm import Guests, boot_target
from tailcall_audit.analyzer.model import Agreement, ObservationState, TargetReport, Verdict
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.guest.boot import Guest, GuestRun, run_in_guest
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, slug_on
from tests.kernels import cache_directory
from tests.live.lab_kernels import DEBIAN, SHARED, Kernel
from tests.mutants import debian_image, named_image
from tests.reports import whole_verdicts

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 on this machine: install qemu-system-x86"
)

PATIENT = ("--guest-timeout", "240")
"""The default of 90 s is for a machine that does nothing else."""
EXCEPTIONS: dict[str, set[str]] = {}
"""Kernels on which what is seen differs from the catalogue, and the defects: none is known."""


REFUSED_BY_THE_VERIFIER = {"tailcall-pkt-pointers", "tailcall-via-callback-subprog", "tailcall-direct-in-callback"}


def boot(target: TargetReport) -> tuple[TargetReport, GuestRun]:
    return boot_target(target, Guests(Guest(patience=240.0)), lambda _: None)


def agree(kernel: Kernel, target: TargetReport, run: GuestRun) -> None:
    """Hold what was seen against the catalogue, and the predictions against what was seen."""
    assert run.failure is None
    assert run.left == ()
    seen = {item.defect.slug: item.observation for item in target.verdicts if item.observation is not None}
    ours = {item.slug for item in load_catalog().defects if not item.architectures or "x86_64" in item.architectures}
    assert set(seen) == {slug_on(probe, "x86_64") for probe in PROBES} & ours
    states = {slug: item.state for slug, item in seen.items()}
    present = {slug for slug, state in states.items() if state is ObservationState.PRESENT}
    unobserved = {slug for slug, state in states.items() if state is ObservationState.COULD_NOT_RUN}
    details = {slug: item.detail for slug, item in seen.items()}
    assert present == kernel.present ^ EXCEPTIONS.get(kernel.name, set()), details
    assert unobserved == kernel.unobserved, details
    contradicted = {slug for slug, item in seen.items() if item.agreement is Agreement.CONTRADICTED}
    assert contradicted == set(), details
    for slug in present:
        assert target.states[slug] is State.AFFECTED
    for item in target.verdicts:
        _words_are_seen(target, item)


def _words_are_seen(target: TargetReport, item: Verdict) -> None:
    """Checks that a verifier with the fix refuses with the words that the catalogue has."""
    commits = load_catalog().commits
    words = [change.words for key in item.fixed_by for change in commits[key].changes if change.words]
    if item.defect.slug in REFUSED_BY_THE_VERIFIER and item.state is State.FIXED and item.fixed_by:
        assert item.observation is not None
        assert any(text in item.observation.detail for text in words), (target.name, item.observation.detail)


@pytest.mark.parametrize("kernel", SHARED, ids=lambda kernel: kernel.name)
def test_the_kernels_of_the_research(kernel: Kernel) -> None:
    target, run = boot(audit(images=[str(named_image(kernel.name))]).targets[0])
    agree(kernel, target, run)


@pytest.mark.parametrize("kernel", DEBIAN, ids=lambda kernel: kernel.name)
def test_kernels_of_debian_packages(kernel: Kernel) -> None:
    target, run = boot(audit(packages=[str(kernel.package())]).targets[0])
    agree(kernel, target, run)


def guest(kernel: Path, append: str, slugs: list[str] | None = None, memory: int = 512) -> GuestRun:
    initramfs = build_initramfs(cache_directory() / "guest")
    return run_in_guest(kernel, initramfs, Guest(memory, 240.0, append=append), slugs)


HOST_SIX = ["freplace-tailcallee", "x86-count-offset", "x86-trampoline-loop", "x86-hierarchy", "freplace-loop"]


@pytest.mark.parametrize(
    ("capabilities", "works"),
    [
        ("", set()),
        ("bpf", {"x86-count-offset", "x86-hierarchy"}),
        ("bpf,perfmon", {"x86-count-offset", "x86-hierarchy", "x86-trampoline-loop"}),
        ("bpf,net_admin", {"x86-count-offset", "x86-hierarchy"}),
        ("bpf,net_admin,perfmon", set(HOST_SIX)),
        ("sys_admin", set(HOST_SIX)),
    ],
)
def test_6_1_170_with_some_capabilities_only(capabilities: str, works: set[str]) -> None:
    found = guest(debian_image("vmlinuz-6.1.0-47-cloud-amd64"), f"tca.caps={capabilities}", HOST_SIX)
    assert {slug for slug, result in found.results.items() if result.state != COULD_NOT_RUN} == works
    for slug, result in found.results.items():
        if slug not in works:
            assert "EPERM: without CAP_" in result.detail
            assert "unprivileged_bpf_disabled=2" in result.detail


def test_unprivileged_users_see_nothing_even_where_bpf_is_open_to_them() -> None:
    append = "tca.caps= tca.sysctl=kernel/unprivileged_bpf_disabled=0"
    found = guest(debian_image("vmlinuz-6.1.0-47-cloud-amd64"), append, HOST_SIX)
    assert {result.state for result in found.results.values()} == {COULD_NOT_RUN}


def test_5_10_says_that_the_locked_memory_limit_is_in_the_way() -> None:
    found = guest(debian_image("vmlinuz-5.10.0-30-cloud-amd64"), "tca.caps=bpf", ["x86-count-offset"])
    assert "RLIMIT_MEMLOCK" in found.results["x86-count-offset"].detail


@pytest.mark.parametrize(
    "append", ["tca.sysctl=net/core/bpf_jit_harden=2", "lockdown=integrity", "lockdown=confidentiality"]
)
def test_a_hardened_jit_and_lockdown_change_nothing(append: str) -> None:
    found = guest(debian_image("vmlinuz-6.1.0-47-cloud-amd64"), append)
    assert append.startswith("tca") or f"[{append.partition('=')[2]}]" in found.facts["lockdown"]
    # All probes run here; the program of LoongArch's own pitfall 4 is counted wrongly by a kernel with x86-64's, too.
    ours = {slug: result for slug, result in found.results.items() if not slug.startswith("loongarch-")}
    assert {slug for slug, result in ours.items() if result.state == PRESENT} == SHARED[2].present


def test_without_the_jit_the_pitfalls_cannot_be_judged_and_the_reason_is_said(without_rounding: Path) -> None:
    found = guest(without_rounding, "tca.sysctl=net/core/bpf_jit_enable=0")
    assert found.facts["jit"] == "0"
    for slug in (*HOST_SIX, "freplace-attached-panic"):
        assert found.results[slug].state == COULD_NOT_RUN
        assert "the JIT is off" in found.results[slug].detail
    # Which programs may enter a prog_array does not depend on it.
    assert found.results["tailcall-compat-expected-attach-type"].state == PRESENT


@pytest.mark.parametrize(
    ("kernel", "state", "conclusive", "words"),
    [
        ("vmlinuz-5.10.0-30-cloud-amd64", ABSENT, False, "does not resolve the type of a freplace program (pitfall 1)"),
        ("vmlinuz-6.1.0-47-cloud-amd64", COULD_NOT_RUN, False, "only a guest can show"),
        ("without_null_check", COULD_NOT_RUN, False, "only a guest can show"),
        ("vmlinuz-6.12.117+deb13-cloud-amd64", ABSENT, True, "no freplace program may enter a prog_array"),
    ],
)
def test_on_a_host_only_what_is_safe_is_done_about_the_panic(
    kernel: str, state: str, conclusive: bool, words: str, request: pytest.FixtureRequest
) -> None:
    image = debian_image(kernel) if kernel.startswith("vmlinuz") else request.getfixturevalue(kernel)
    found = guest(image, "tca.as_host=1", ["freplace-attached-panic", "freplace-attached-refused", "x86-hierarchy"])
    assert found.boots == 1
    result = found.results["freplace-attached-panic"]
    assert (result.state, result.conclusive) == (state, conclusive)
    assert words in result.detail
    assert found.results["freplace-attached-refused"].state == state
    assert found.results["x86-hierarchy"].state != COULD_NOT_RUN


def test_a_kernel_with_one_serial_port_sends_its_results_between_its_messages() -> None:
    found = guest(
        debian_image("vmlinuz-6.1.0-47-cloud-amd64"),
        "8250.nr_uarts=1 loglevel=7",
        ["x86-hierarchy", "x86-count-offset"],
    )
    assert {slug: result.state for slug, result in found.results.items()} == {
        "x86-hierarchy": PRESENT,
        "x86-count-offset": ABSENT,
    }


def test_too_little_memory_is_a_clear_reason() -> None:
    found = guest(debian_image("vmlinuz-6.1.0-47-cloud-amd64"), "", ["x86-hierarchy"], memory=40)
    assert found.failure is not None
    assert found.results["x86-hierarchy"].state == COULD_NOT_RUN


def test_an_oops_is_seen_on_a_kernel_that_panics_on_none(without_null_check: Path) -> None:
    """With oops=panic taken back, the oops ends the probe's process. It is the first one, so the kernel panics then."""
    found = guest(without_null_check, "tca.sysctl=kernel/panic_on_oops=0", ["freplace-attached-panic"])
    assert found.results["freplace-attached-panic"].state == PRESENT
    assert "bpf_prog_map_compatible" in found.results["freplace-attached-panic"].detail


@pytest.mark.parametrize(
    ("made", "version", "slug"),
    [
        ("without_rounding", "5.10.218-lab", "x86-count-offset"),
        ("without_null_check", "6.1.170-lab", "freplace-attached-panic"),
    ],
)
def test_a_version_that_claims_too_much_is_contradicted_with_exit_code_5(
    made: str, version: str, slug: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    image = str(request.getfixturevalue(made))
    assert (
        main(["--kernel", version, "--image", image, "--confirm=vm", *PATIENT, "--only", f"{slug},x86-trampoline-loop"])
        == 5
    )
    out = capsys.readouterr().out
    assert "present, CONTRADICTED" in out
    assert ", confirmed" in out
    assert f"CONTRADICTED {slug}: predicted fixed" in out
    assert "panicked in bpf_prog_map_compatible" in out or "entries instead of 34" in out


def test_the_lab_makes_a_matrix_and_says_what_it_skipped(
    without_rounding: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = "vmlinuz-6.12.117+deb13-cloud-amd64"
    (tmp_path / newest).symlink_to(debian_image(newest))
    (tmp_path / "vmlinux-5.10.218-without-rounding").symlink_to(without_rounding)
    (tmp_path / "vmlinuz-broken").write_bytes(b"x" * 5000)
    (tmp_path / "notes.txt").write_text("no kernel")
    assert main(["lab", str(tmp_path), *PATIENT, "--only", "x86-count-offset", "--only", "x86-hierarchy"]) == 1
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["2", "x86-count-offset", "AFFECTED", "fixed"] in lines
    assert ["4", "x86-hierarchy", "AFFECTED", "fixed"] in lines
    assert "skipped: " in out
    assert "vmlinuz-broken" in out
    name = str(tmp_path / newest)
    assert main(["lab", name, *PATIENT, "--only", "x86-hierarchy", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(report_schema_path().read_text()))
    (verdict,) = whole_verdicts(data)
    assert verdict["observation"]["state"] == ABSENT
    assert verdict["observation"]["agreement"] == "confirmed"


def test_another_release_than_the_audited_one_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    image = str(debian_image("vmlinuz-6.12.117+deb13-cloud-amd64"))
    assert main(["--kernel", "6.1.170", "--image", image, "--confirm=vm", *PATIENT, "--only", "x86-hierarchy"]) == 2
    assert "what one shows says nothing about the other" in capsys.readouterr().err
