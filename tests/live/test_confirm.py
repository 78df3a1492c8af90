"""Who may be probed where. Nothing here loads a program: tests never probe the machine that they run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tailcall_audit import AuditError, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.architecture import normalize_architecture
from tailcall_audit.analyzer.live import confirm
from tailcall_audit.analyzer.live.confirm import Guests, announcement, confirm_in_guest, confirm_on_host
from tailcall_audit.analyzer.live.lab import find_kernels
from tailcall_audit.analyzer.model import Agreement
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.boot import Guest
from tailcall_audit.probes.probe import COULD_NOT_RUN, PRESENT, Probe, Result, slug_on


def never(text: str) -> None:
    pytest.fail(f"announced: {text}")


def test_another_kernel_is_not_probed_on_this_host() -> None:
    report = audit(kernels=["6.1.170-made-up"], arch="x86_64")
    with pytest.raises(AuditError, match="another one was audited: boot that one in a guest with --confirm=vm"):
        confirm_on_host(report, never, lambda _: None)


def test_without_privileges_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "missing_capabilities", lambda: ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"])
    report = audit(kernels=[os.uname().release if "." in os.uname().release else "6.1"])
    with pytest.raises(AuditError, match="needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON or root"):
        confirm_on_host(report, never, lambda _: None)


def test_the_announcement_says_what_will_be_loaded() -> None:
    ours = normalize_architecture(os.uname().machine)
    slug = next(slug_on(probe, ours) for probe in PROBES if probe.slug == "x86-hierarchy")
    text = announcement(audit(kernels=["6.1.170"], arch=ours, only=[slug]).targets[0])
    assert "1 probes" in text
    assert "a socket filter that calls a tail-calling subprogram twice" in text
    assert "Probes that could panic a kernel are left out" in text


class FakeRunner:
    """Stands in for the runner, which would load programs into the kernel that runs these tests."""

    def __init__(self, *, in_guest: bool) -> None:
        assert not in_guest

    def run(self, probe: Probe) -> Result:
        return (
            Result(PRESENT, "61 entries") if probe.slug == "x86-hierarchy" else Result(COULD_NOT_RUN, "no BTF", False)
        )

    def leftovers(self) -> list[str]:
        return ["prog 7"]


def test_a_host_is_probed_after_the_announcement_and_its_report_says_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirm, "Runner", FakeRunner)
    monkeypatch.setattr(confirm, "missing_capabilities", lambda: ["CAP_NET_ADMIN"])
    monkeypatch.setattr(
        "tailcall_audit.analyzer.live.confirm.os.uname",
        lambda: os.uname_result(("Linux", "x", "6.1.170", "#1 SMP", "x86_64")),
    )
    report = audit(kernels=["6.1.170"], arch="x86_64", pitfalls=True)
    announced: list[str] = []
    seen = confirm_on_host(report, announced.append, lambda _: None)
    assert len(announced) == 1
    (target,) = seen.targets
    observations = {item.defect.slug: item.observation for item in target.verdicts}
    assert observations["x86-hierarchy"] is not None
    assert observations["x86-hierarchy"].agreement is Agreement.CONFIRMED
    assert observations["freplace-loop"] is not None
    assert observations["freplace-loop"].agreement is Agreement.NOT_OBSERVED
    assert any("without CAP_NET_ADMIN" in note for note in target.notes)
    assert any("the kernel still has prog 7" in note for note in target.notes)


@pytest.mark.parametrize(
    ("machine", "arch", "slugs"),
    [
        ("aarch64", "arm64", {"arm64-tailcall-hierarchy", "arm64-empty-slot-count"}),
        ("s390x", "s390x", {"s390-tailcall-hierarchy", "s390-empty-slot-count"}),
        ("loongarch64", "loongarch64", {"loongarch-empty-slot-count"}),
        ("riscv64", "riscv64", {"riscv64-empty-slot-count"}),
        ("ppc64le", "powerpc64", {"powerpc64-empty-slot-count"}),
        ("x86_64", "x86_64", {"x86-hierarchy", "x86-empty-slot-count"}),
    ],
)
def test_a_probe_shows_the_twin_of_its_defect_on_each_architecture(
    monkeypatch: pytest.MonkeyPatch, machine: str, arch: str, slugs: set[str]
) -> None:
    class Sees(FakeRunner):
        def run(self, probe: Probe) -> Result:
            ours = probe.slug in ("x86-hierarchy", "x86-empty-slot-count")
            return Result(PRESENT, "89 entries") if ours else Result(COULD_NOT_RUN, "not here", False)

    monkeypatch.setattr(confirm, "Runner", Sees)
    monkeypatch.setattr(confirm, "missing_capabilities", list)
    host = os.uname_result(("Linux", "x", "6.1.170", "#1 SMP", machine))
    monkeypatch.setattr("tailcall_audit.analyzer.live.confirm.os.uname", lambda: host)
    report = audit(kernels=["6.1.170"], arch=arch)
    (target,) = confirm_on_host(report, lambda _: None, lambda _: None).targets
    seen = {
        item.defect.slug
        for item in target.verdicts
        if item.observation is not None and item.observation.detail == "89 entries"
    }
    assert seen == slugs


def test_an_image_of_another_architecture_than_the_audited_one_is_not_booted(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bytes(0x202) + b"HdrS" + bytes(0x30) + b"\1\0" + bytes(64))
    report = audit(kernels=["6.1.170"], arch="s390x")
    with pytest.raises(AuditError, match="audited for s390x, and vmlinuz is for x86_64: audit it for that"):
        confirm_in_guest(report, Guests(Guest()), str(image), lambda _: None)


def test_an_architecture_without_a_machine_says_which_have_one() -> None:
    report = audit(kernels=["6.1.170"], arch="sparc64")
    with pytest.raises(AuditError, match="no guest of sparc64 can be booted: guests of x86_64, arm64, riscv64"):
        confirm_in_guest(report, Guests(Guest()), __file__, lambda _: None)


def test_without_an_image_there_is_nothing_to_boot() -> None:
    report = audit(kernels=["6.1.170"], arch=os.uname().machine)
    with pytest.raises(AuditError, match="no kernel image at hand to boot; name one with --image FILE"):
        confirm_in_guest(report, Guests(Guest()), None, lambda _: None)
    with pytest.raises(AuditError, match="/nowhere: no such file; give the image to boot with --image"):
        confirm_in_guest(report, Guests(Guest()), "/nowhere", lambda _: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel", "6.1.170", "--image", "x"], "say --confirm=vm"),
        (["--repo", "x", "--confirm"], "a repository's kernels are not at hand"),
        (["--image", "/nowhere"], "no such file"),
        (["lab", "/nowhere"], "no such file or folder"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--guest-memory", "0"], ["--guest-timeout", "x"], ["--confirm=root"]])
def test_wrong_values_are_refused_by_the_option(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


def test_the_kernels_of_a_folder_are_found_by_name_or_header(tmp_path: Path) -> None:
    for name in ("vmlinuz-1", "bzImage", "a.deb", "b.rpm", "initrd.img", "config-1", "c.efi"):
        (tmp_path / name).write_text("")
    (tmp_path / "kernel-6.12.117-gentoo").write_bytes(bytes(0x202) + b"HdrS")
    (tmp_path / "image-s390x").write_bytes(bytes(0x10008) + b"S390EP" + bytes(8))
    (tmp_path / "vmlinuz-folder").mkdir()
    assert [path.name for path in find_kernels([str(tmp_path)])] == [
        *("a.deb", "b.rpm", "bzImage", "c.efi", "image-s390x", "kernel-6.12.117-gentoo", "vmlinuz-1")
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuditError, match="in this folder"):
        find_kernels([str(tmp_path / "empty")])
