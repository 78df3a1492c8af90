"""RPM packages: their headers, changelogs and payloads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import AuditError
from tests.rpms import FIRST, RHEL, rpm

A, F = State.AFFECTED, State.FIXED


def test_an_rpm_is_read_by_its_header(tmp_path: Path) -> None:
    path = rpm(tmp_path, RHEL + FIRST)
    found = read_package(str(path))
    assert (found.name, found.version, found.architecture) == ("kernel-core", "5.14.0-427.13.1.el9_4", "x86_64")
    assert found.image == "lib/modules/5.14.0-427.13.1.el9_4.x86_64/vmlinuz"
    report = audit(packages=[str(path)]).targets[0]
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert states["x86-trampoline-loop"] is F
    assert states["x86-hierarchy"] is A
    listed = [item for verdict in report.verdicts for item in verdict.evidence if item.kind.value == "changelog"]
    assert any(item.commit == "2b5dcb31a19a" and "5.14.0-425.el9" in item.detail for item in listed)


def test_an_rpm_with_a_trimmed_changelog_proves_no_absence(tmp_path: Path) -> None:
    report = audit(packages=[str(rpm(tmp_path, RHEL))]).targets[0]
    states = {item.defect.slug: item.state for item in report.verdicts}
    assert states["x86-trampoline-loop"] is F
    assert states["x86-hierarchy"] is State.UNKNOWN
    assert any("not complete" in note for note in report.notes)


def test_an_rpm_of_headers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="kernel-headers holds no kernel"):
        read_package(str(rpm(tmp_path, RHEL, "kernel-headers")))


def test_broken_rpms_are_one_clear_error(tmp_path: Path) -> None:
    good = rpm(tmp_path, RHEL).read_bytes()
    chance = random.Random(1)
    samples = [good[:size] for size in (4, 90, 100, 200, 1000, len(good) // 2)]
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(4, 3000)] = chance.randrange(256)
        samples.append(bytes(broken))
    path = tmp_path / "broken.rpm"
    refused = []
    for number, sample in enumerate(samples):
        path.write_bytes(sample)
        try:
            audit(packages=[str(path)])
        except AuditError as error:
            assert "\n" not in str(error)
            refused.append(number)
    assert refused[:6] == list(range(6))
    assert len(refused) > 20  # what is broken elsewhere is read as it stands, or not needed


def test_the_configuration_of_an_rpm_is_read_from_its_payload(tmp_path: Path) -> None:
    text = "# CONFIG_BPF_JIT is not set\nCONFIG_BPF_SYSCALL=y\n"
    path = rpm(tmp_path, RHEL + FIRST, files={"config": text})
    found = read_package(str(path))
    assert found.config == ("/lib/modules/5.14.0-427.13.1.el9_4.x86_64/config", text.encode())
    states = audit(packages=[str(path)], only=["x86-count-offset"]).targets[0].states
    assert states == {"x86-count-offset": State.NOT_AFFECTED}


@pytest.mark.parametrize("payload", ["w9.gzdio", "w3.xzdio", "w3.zstdio", "w9.bzdio"])
def test_each_compression_of_a_payload_is_read(tmp_path: Path, payload: str) -> None:
    path = rpm(tmp_path, RHEL, files={"config": "CONFIG_BPF=y\n"}, payload=payload)
    found = read_package(str(path))
    assert found.config is not None
    assert found.config[1] == b"CONFIG_BPF=y\n"


def test_a_payload_that_is_cut_off_is_one_clear_error(tmp_path: Path) -> None:
    path = rpm(tmp_path, RHEL, files={"config": "".join(f"CONFIG_{random.random()}=y\n" for _ in range(9999))})
    data = path.read_bytes()
    path.write_bytes(data[:-20_000])
    with pytest.raises(AuditError, match="a broken RPM: its payload"):
        read_package(str(path))
