"""Audits of images: the code outranks the version, and an image that says nothing leaves it to the version."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import re
import shutil
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit import AuditError, Catalog, State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.json import report_schema_path
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.model import EvidenceKind, Presence
from tailcall_audit.analyzer.readers.btf import btf_evidence
from tailcall_audit.probes.kernel.btf_writer import Writer
from tests.debs import deb, tar
from tests.kernelfiles.images import PACKERS, bzimage, kernel, unified
from tests.kernels import SIX, package_file
from tests.mutants import debian_image, named_image
from tests.rpms import RHEL, rpm

ROUNDING = "ff672c67ee76"

A, F, N = State.AFFECTED, State.FIXED, State.NOT_AFFECTED
# "Core six in the Debian kernels at hand" of the research; the two of the lab by what was taken out of them.
EXPECTED = {
    "vmlinuz-5.10.0-30-cloud-amd64": (A, F, A, A, N, N),
    "vmlinuz-5.10.218-lab-no-ff672c67ee76": (A, A, A, A, N, N),
    "vmlinuz-6.1.0-47-cloud-amd64": (F, F, F, A, F, A),
    "vmlinuz-6.1.170-lab-no-f7866c358733": (F, F, F, A, A, A),
    "vmlinuz-6.12.117+deb13-cloud-amd64": (F, F, F, F, F, F),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_kernels_of_the_research(name: str) -> None:
    target = audit(images=[str(named_image(name))]).targets[0]
    assert tuple(target.states[slug] for slug in SIX) == EXPECTED[name]


@pytest.mark.parametrize(
    ("made", "version", "slug", "commit", "claim"),
    [
        (
            "without_rounding",
            "5.10.218",
            "x86-count-offset",
            "ff672c67ee76",
            "5.10.y has ff672c67ee76 since 5.10.127",
        ),
        (
            "without_null_check",
            "6.1.170",
            "freplace-attached-panic",
            "f7866c358733",
            "6.1.y has f7866c358733 since 6.1.103",
        ),
    ],
)
def test_code_without_the_fix_outranks_a_version_with_it_and_both_are_shown(
    made: str,
    version: str,
    slug: str,
    commit: str,
    claim: str,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    image = str(request.getfixturevalue(made))
    assert main(["--image", image, "--only", slug]) == 1
    out = capsys.readouterr().out
    assert f"no {commit}" in out
    (note, *_) = [line for line in out.splitlines() if line.startswith(f"note: {commit} is not in the binary: ")]
    assert claim in note
    (verdict,) = audit(kernels=[version], arch="x86_64", only=[slug]).targets[0].verdicts
    assert verdict.state is F


def test_debian_6_1_192_is_fixed_by_its_code_and_by_its_changelog() -> None:
    path = package_file("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")
    target = audit(packages=[str(path)], only=["freplace-loop"]).targets[0]
    (verdict,) = target.verdicts
    kinds = {item.kind.value for item in verdict.evidence if item.commit == "d6083f040d5d"}
    assert {"code", "btf", "changelog", "release"} <= kinds
    assert verdict.state is F
    assert verdict.disagreements == ()
    assert target.bootable is not None


def test_the_image_in_an_rpm_is_read_and_outranks_the_base_version(without_rounding: Path, tmp_path: Path) -> None:
    """RHEL's 5.14 proves next to nothing of pitfall 2; the code of the image inside (here 5.10's without the fix) does."""
    data = without_rounding.read_bytes()
    (banner,) = re.findall(rb"Linux version 5[^\0\n]*", data)
    named = b"Linux version 5.14.0-427.13.1.el9_4.x86_64 (mockbuild@x) (gcc) #1 SMP PREEMPT_DYNAMIC Wed Apr 10 2024"
    image = data.replace(banner, named.ljust(len(banner)))
    path = rpm(tmp_path, RHEL, files={"vmlinuz": image})
    target = audit(packages=[str(path)], only=["x86-count-offset", "x86-hierarchy"]).targets[0]
    assert target.states == {"x86-count-offset": A, "x86-hierarchy": A}
    assert target.bootable is not None
    assert read_bootable(target.bootable) == image


def test_a_package_whose_image_is_of_another_version_is_a_contradiction_and_decides_nothing(tmp_path: Path) -> None:
    """The package says 6.1.170-3, the image in it is Debian's 5.10.218-1: pitfall 3 is fixed in the one and not in the
    other.
    """
    image = (debian_image("vmlinuz-5.10.0-30-cloud-amd64")).read_bytes()
    path = deb(tmp_path, lzma.compress(tar({"./boot/vmlinuz-6.1.0-47-amd64": image}), preset=0))
    target = audit(packages=[path], only=["x86-trampoline-loop"]).targets[0]
    assert target.states == {"x86-trampoline-loop": State.UNKNOWN}
    assert any(
        note.startswith("CONTRADICTION: ") and "the package is 6.1.170-3, and the image in it says 5.10.218-1" in note
        for note in target.notes
    )
    # The version of the package says that it is fixed, since 6.1.72; it is believed no more.
    assert target.identity["proof"] == "nothing"


@pytest.mark.parametrize("name", ["vmlinuz-6.1.170-lab-no-f7866c358733", "vmlinuz-6.1.0-47-cloud-amd64"])
def test_an_embedded_configuration_is_read_and_counts(name: str, tmp_path: Path) -> None:
    """Debian embeds none (CONFIG_IKCONFIG): a kernel of its with one put in, between the marks of kernel/configs.c."""
    image = named_image(name)
    if "lab" not in name:
        config = gzip.compress(b"# Linux/x86 6.1.170 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_BPF_SYSCALL=y\n")
        image = tmp_path / "vmlinux"
        image.write_bytes(kernel(named_image(name)).data + b"IKCFG_ST" + config + b"IKCFG_ED")
    target = audit(images=[str(image)]).targets[0]
    assert str(target.identity["config"]).endswith(":IKCONFIG")
    assert not any("no .config given" in note for note in target.notes)


def test_a_unified_image_and_another_compression_give_the_same_answers(without_rounding: Path, tmp_path: Path) -> None:
    source = without_rounding
    inner = kernel(source).data
    expected = audit(images=[str(source)]).targets[0].states
    for name, data in (
        ("linux.efi", unified(bzimage(PACKERS["zstd"](inner), efi=True))),
        ("vmlinux", inner),
        ("vmlinux.xz", PACKERS["xz"](inner)),
    ):
        (tmp_path / name).write_bytes(data)
        assert audit(images=[str(tmp_path / name)]).targets[0].states == expected


def test_an_image_without_symbols_and_types_is_judged_by_its_version(without_null_check: Path, tmp_path: Path) -> None:
    inner = kernel(without_null_check).data
    blind = inner.replace(b"0\x001\x002\x003\x004\x00", b"0\x001\x002\x003\x00?\x00").replace(
        b"\x9f\xeb\x01\0", bytes(4)
    )
    path = tmp_path / "vmlinux"
    path.write_bytes(blind)
    target = audit(images=[str(path)], only=["freplace-attached-panic"]).targets[0]
    by_version = audit(kernels=["6.1.170-lab"], arch="x86_64", only=["freplace-attached-panic"]).targets[0]
    assert target.states == by_version.states
    assert any("functions cannot be located" in note for note in target.notes)
    assert any("has no BTF" in note for note in target.notes)


def test_an_arm64_image_is_judged_by_banner_and_types(tmp_path: Path) -> None:
    data = bytearray(8192)
    data[:4], data[0x38:0x3C] = b"MZ\0\x91", b"ARM\x64"
    data[0x100:0x140] = b"Linux version 6.1.170 (x@y) (gcc) #1 SMP Mon Jan 1 2024\0".ljust(64, b"\0")
    path = tmp_path / "Image"
    path.write_bytes(data)
    target = audit(images=[str(path)], only=["arm64-tailcall-hierarchy", "x86-hierarchy"]).targets[0]
    assert target.identity["architecture"] == "arm64"
    assert target.states == {"arm64-tailcall-hierarchy": A, "x86-hierarchy": N}
    assert any("machine code is read for x86-64 only" in note for note in target.notes)


def test_type_data_proves_a_fix_only_with_all_of_its_members(catalog: Catalog) -> None:
    def presences(*members: str) -> dict[str, Presence]:
        writer = Writer()
        number = writer.integer("int", 4)
        writer.struct(
            "bpf_prog_aux", 400, [(name, number, 32 * index) for index, name in enumerate(("dst_prog", *members))]
        )
        from tailcall_audit.probes.kernel.btf import Btf

        return {item.commit: item.presence for item in btf_evidence(catalog, Btf(writer.encode()), "x")}

    whole = ("is_extended", "prog_array_member_cnt", "ext_mutex")
    assert presences(*whole)["d6083f040d5d"] is Presence.PRESENT
    assert presences()["d6083f040d5d"] is Presence.ABSENT
    assert "d6083f040d5d" not in presences("is_extended")
    # A kernel whose types say nothing of maps says nothing of what their owners hold.
    assert "abad3d0bad72" not in presences()


@pytest.mark.parametrize("name", ["vmlinuz-5.10.0-30-cloud-amd64", "vmlinuz-6.12.117+deb13-cloud-amd64"])
def test_type_data_of_real_kernels_agrees_with_the_catalogue(catalog: Catalog, name: str) -> None:
    btf = Binary(kernel(named_image(name))).btf
    assert btf is not None
    found = {item.commit: item.presence is Presence.PRESENT for item in btf_evidence(catalog, btf, "x")}
    new = "6.12" in name
    # The research's "trees" of each record: 5.10.262 unfixed, 6.12.117 fixed; 54713c85f536, f263a81451c1 fixed in both.
    for commit in ("d6083f040d5d", "4b7de801606e", "4540aed51b12", "abad3d0bad72", "28ead3eaabc1"):
        assert found[commit] is new, commit
    # 5.10 has no flags of a trampoline to clobber, and so no answer.
    assert found.get("61aaa8782bec", False) is new
    for commit in ("54713c85f536", "f263a81451c1", "be8704ff07d2", "04fd61ab36ec", "e411901c0b77"):
        assert found[commit], commit


@pytest.mark.parametrize("seed", range(25))
def test_an_elf_with_a_broken_header_is_an_error_or_an_honest_answer(
    without_rounding: Path, tmp_path: Path, seed: int
) -> None:
    source = without_rounding
    data = bytearray(kernel(source).data)
    generator = random.Random(seed)
    sections = int.from_bytes(data[40:48], "little")
    for _ in range(3):
        place = generator.choice([generator.randrange(4, 64 + 4 * 56), sections + generator.randrange(40 * 64)])
        data[place % len(data)] = generator.randrange(256)
    path = tmp_path / "vmlinux"
    path.write_bytes(bytes(data[: generator.choice([len(data), len(data) // 2, 5_000_000])]))
    try:
        (target,) = audit(images=[str(path)]).targets
    except AuditError as error:
        assert "\n" not in str(error)
    else:
        assert target.states["x86-hierarchy"] is not F
        # The fix of pitfall 2 was taken out: only what follows from the version may say that it is there.
        (verdict,) = [item for item in target.verdicts if item.defect.slug == "x86-count-offset"]
        said = {item.kind for item in verdict.evidence if item.presence is Presence.PRESENT and item.commit == ROUNDING}
        assert said <= {EvidenceKind.SERIES, EvidenceKind.RELEASE}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a kernel image"),
        (b"\x1f\x8b", "broken gzip data: it is cut off"),
        (b"PK\x03\x04" * 100, "not a kernel image"),
        (b"\x7fELF" + bytes(100), "a broken ELF file"),
        (bzimage(b"")[:600], "cut off"),
    ],
)
def test_what_is_no_kernel_is_exit_code_2_and_one_line(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vmlinuz\x1b[31m"
    path.write_bytes(content)
    assert main(["--image", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "\x1b" not in error


def test_a_banner_with_terminal_escapes_is_not_printed_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(b"\x7fELF\x02\x01" + bytes(58) + b"Linux version 6.1.170-\x1b[31mred (x) #1 SMP\0" + bytes(100))
    main(["--image", str(path), "--pitfalls", "--explain"])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_the_json_of_an_image_fits_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--image", str(debian_image("vmlinuz-6.1.0-47-cloud-amd64")), "--json"])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(report_schema_path().read_text()))
    assert data["targets"][0]["kind"] == "image"
    assert re.match(r"Linux version 6\.1\.0-47", data["targets"][0]["identity"]["banner"])


def test_a_system_map_of_another_image_is_not_taken(without_rounding: Path, tmp_path: Path) -> None:
    source = without_rounding
    shutil.copy(source, tmp_path / "vmlinuz-5.10.218-lab")
    (tmp_path / "System.map-6.1").write_text("ffffffff81000000 T do_jit\n" * 100_000)
    states = audit(images=[str(tmp_path / "vmlinuz-5.10.218-lab")]).targets[0].states
    assert states["x86-count-offset"] is A
    with pytest.raises(AuditError, match="no such file"):
        audit(images=[str(source)], system_map=str(tmp_path / "gone"))
