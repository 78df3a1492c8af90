"""Archives made to mislead or to exhaust their reader: every one is refused, from small files, in little memory."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.ar import ArError, read_members
from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, decompress
from tailcall_audit.analyzer.kernelfiles.cpio import CpioError, read_cpio
from tailcall_audit.analyzer.kernelfiles.deb import kernel_dependency, parse_control, read_deb, read_deb_file
from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
from tailcall_audit.analyzer.kernelfiles.packages_index import read_packages_index
from tailcall_audit.analyzer.kernelfiles.repodata import find_other, read_other
from tailcall_audit.analyzer.kernelfiles.rpm import read_rpm
from tailcall_audit.analyzer.kernelfiles.rpm_header import HeaderError, read_header
from tailcall_audit.analyzer.kernelfiles.rpm_version import rpm_key
from tailcall_audit.analyzer.kernelfiles.tar import TarError, read_tar
from tests import zstd

CONTROL = b"Package: linux-image-6.1.0-47-amd64\nVersion: 6.1.170-3\nArchitecture: amd64\n"
DOC = "./usr/share/doc/linux-image-6.1.0-47-amd64/changelog.Debian.gz"
MEMORY = 1 << 30
"""Bytes of address space for a child that reads a hostile file: a Python with the libraries takes some 200 MB of them.
"""


def ar(*members: tuple[str, bytes], sizes: tuple[str, ...] = ()) -> bytes:
    out = b"!<arch>\n"
    for number, (name, data) in enumerate(members):
        size = sizes[number] if number < len(sizes) else str(len(data))
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def deb(path: Path, data: bytes, control: bytes = CONTROL, extra: tuple[tuple[str, bytes], ...] = ()) -> Path:
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(tar(("./control", control)))))
    path.write_bytes(ar(*parts, ("data.tar.gz", gzip.compress(data)), *extra))
    return path


def in_child(code: str, path: Path) -> str:
    """What a child prints that runs `code` on a file (`path` in it), within bounds of memory and of 120 s of CPU."""
    limits = f"import resource as r; r.setrlimit(r.RLIMIT_AS, ({MEMORY},) * 2); r.setrlimit(r.RLIMIT_CPU, (120,) * 2)"
    script = f"{limits}\nimport sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:] or f"ended by signal {-done.returncode}"
    return done.stdout


def refused(call: str, path: Path) -> str:
    """The refusal of a reader, run in a child."""
    code = f"""
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.kernelfiles.deb import read_deb
from tailcall_audit.analyzer.kernelfiles.rpm import read_rpm
from tailcall_audit.analyzer.kernelfiles.repodata import read_other
try:
    {call}
except AuditError as error:
    print(error)
"""
    return in_child(code, path)


# ------------------------------------------------------------------------------------ what is audited is what is installed
def test_a_changelog_that_stands_in_a_package_twice_is_refused(tmp_path: Path) -> None:
    first, second = gzip.compress(b"lists the fix"), gzip.compress(b"does not")
    with pytest.raises(PackageError, match="stands there twice"):
        read_deb(deb(tmp_path / "x.deb", tar((DOC, first), (DOC, second))))


@pytest.mark.parametrize("again", ["usr/share/doc/{0}/c", "/usr/share/doc/{0}/c", ".//usr/./share//doc/{0}/c"])
def test_the_same_name_in_other_words_is_the_same_name(again: str) -> None:
    name = "./usr/share/doc/p/c"
    with pytest.raises(TarError, match="stands there twice"):
        list(read_tar(io.BytesIO(tar((name, b"1"), (again.format("p"), b"2")))))


@pytest.mark.parametrize("place", ["boot/vmlinuz-1", "boot/config-1"])
def test_an_image_or_a_configuration_that_stands_there_twice_is_refused(tmp_path: Path, place: str) -> None:
    path = deb(tmp_path / "x.deb", tar((place, b"first"), ("other", b"x"), (place, b"second")))
    with pytest.raises(PackageError, match="stands there twice"):
        read_deb(path)
    with pytest.raises(PackageError, match="stands there twice"):
        read_deb_file(path, place, 1000)


def test_a_data_part_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    extra = (("data.tar.gz", gzip.compress(tar((DOC, b"other")))),)
    with pytest.raises(PackageError, match=r"two members named 'data.tar.gz'"):
        read_deb(deb(tmp_path / "x.deb", tar((DOC, b"x")), extra=extra))
    # dpkg takes the first data part, whatever it is compressed with.
    path = deb(tmp_path / "y.deb", tar(("boot/vmlinuz-1", b"x")), extra=(("data.tar.xz", lzma.compress(tar())),))
    assert read_deb(path).image == "boot/vmlinuz-1"


def test_a_link_in_place_of_a_folder_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("boot/vmlinuz-1"), io.BytesIO())
        link = tarfile.TarInfo("boot")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        archive.addfile(link)
    with pytest.raises(TarError, match="stands there twice"):
        list(read_tar(io.BytesIO(buffer.getvalue())))


def test_of_two_images_in_a_package_its_name_decides_or_both_are_refused(tmp_path: Path) -> None:
    both = (("boot/vmlinuz-6.1.0-47-amd64", b"x"), ("boot/vmlinuz-6.1.0-48-amd64", b"y"))
    assert read_deb(deb(tmp_path / "x.deb", tar(*both))).image == "boot/vmlinuz-6.1.0-47-amd64"
    other = CONTROL.replace(b"6.1.0-47", b"6.1.0-40")
    with pytest.raises(PackageError, match="2 files that could each be its kernel image"):
        read_deb(deb(tmp_path / "y.deb", tar(*both), other))


def test_a_control_file_with_a_field_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="two fields are named Version"):
        read_deb(deb(tmp_path / "x.deb", tar(), CONTROL + b"Version: 6.1.999-1\n"))


def test_a_pax_header_that_renames_a_file_is_refused_as_dpkg_does(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("innocent")
        info.pax_headers = {"path": "boot/vmlinuz-1"}
        archive.addfile(info)
    path = deb(tmp_path / "x.deb", buffer.getvalue())
    with pytest.raises(PackageError, match="which dpkg does not read"):
        read_deb(path)


# ------------------------------------------------------------------------------------------------------------- bounded
@pytest.mark.parametrize("frames", [1, 2])
def test_an_index_that_apt_keeps_as_lz4_is_read_whole(frames: int) -> None:
    content = b"Package: linux-image-6.1.0-47-amd64\nVersion: 6.1.170-3\n\n" * 9
    assert decompress(lz4.frame.compress(content) * frames, "Packages.lz4", 1 << 20) == content * frames


def test_an_ar_member_of_negative_size_is_refused() -> None:
    data = ar(("debian-binary", b"2.0\n"), ("control.tar", b"x" * 300), sizes=("-60",))
    with pytest.raises(ArError, match="a size that is no number"):
        read_members(io.BytesIO(data))
    with pytest.raises(ArError, match="is cut off"):
        read_members(io.BytesIO(ar(("debian-binary", b"2.0\n"), sizes=("999999999",))))


@given(st.binary(max_size=400))
def test_noise_is_no_archive_of_any_kind(noise: bytes) -> None:
    with pytest.raises(ArError):
        read_members(io.BytesIO(b"!<arch>\n" + noise + b"x"))
    with pytest.raises(HeaderError):
        read_header(io.BytesIO(b"\xed\xab\xee\xdb" + noise))
    with pytest.raises(CpioError):
        list(read_cpio(io.BytesIO(b"\0" + noise)))


def test_a_control_file_of_blanks_is_refused(tmp_path: Path) -> None:
    compressor = zstd.ZstdCompressor(level=19)
    head = tarfile.TarInfo("control")
    head.size = 3 << 30
    packed = compressor.compress(head.tobuf(format=tarfile.GNU_FORMAT))
    packed += b"".join(compressor.compress(b" " * (1 << 24)) for _ in range(64)) + compressor.flush()
    path = tmp_path / "x.deb"
    path.write_bytes(ar(("debian-binary", b"2.0\n"), ("control.tar.zst", packed), ("data.tar", tar())))
    assert path.stat().st_size < 1 << 20
    assert "control has 3,221,225,472 bytes, which no control file has" in refused("read_deb(path)", path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_tar_header_that_claims_two_gigabytes_is_refused(kind: bytes) -> None:
    head = tarfile.TarInfo("././@LongLink")
    head.size, head.type = 1_900_000_000, kind
    data = head.tobuf(format=tarfile.GNU_FORMAT) + bytes(1 << 20)
    with pytest.raises(TarError, match=r"dpkg does not read|claims 1,900,000,000 bytes"):
        list(read_tar(io.BytesIO(data)))


def rpm_of(entries: list[tuple[int, int, int, int]], store: bytes) -> bytes:
    """An RPM with this main header."""

    def header(rows: list[tuple[int, int, int, int]], values: bytes) -> bytes:
        index = b"".join(struct.pack(">IIiI", *row) for row in rows)
        return b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", len(rows), len(values)) + index + values

    return b"\xed\xab\xee\xdb" + bytes(92) + header([], b"") + header(entries, store)


def test_four_thousand_tags_that_claim_a_million_strings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.rpm"
    path.write_bytes(rpm_of([(2000 + tag, 8, 0, 1_000_000) for tag in range(4000)], bytes(1_000_000)))
    # The tags are none that is read; without a name it is no kernel.
    assert "is no kernel package" in refused("read_rpm(path)", path)
    path.write_bytes(rpm_of([(1080 + tag, 8, 0, 1_000_000) for tag in range(40)], bytes(1_000_000)))
    assert refused("read_rpm(path)", path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(1000, 6, 99, 1)], "claims 1 values at byte 99"),
        ([(1000, 6, -1, 1)], "at byte -1"),
        ([(1000, 6, 0, 1), (1000, 6, 2, 1)], "stands twice"),
        ([(1000, 4, 0, 1)], "NAME holds no text"),
        ([(1000, 8, 0, 9)], "NAME claims 9 texts"),
    ],
)
def test_an_rpm_header_that_lies_is_refused(
    tmp_path: Path, entries: list[tuple[int, int, int, int]], message: str
) -> None:
    path = tmp_path / "x.rpm"
    path.write_bytes(rpm_of(entries, b"kernel\0\0\0\0"))
    with pytest.raises(PackageError, match=message):
        read_rpm(path)


OTHER = '<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="1">'
KERNEL = '<package pkgid="1" name="kernel-core" arch="x86_64"><version epoch="0" ver="5.14.0" rel="1.el9"/>'


def other_zst(path: Path, head: str, repeated: bytes, times: int) -> Path:
    compressor = zstd.ZstdCompressor(level=19)
    packed = compressor.compress(head.encode())
    packed += b"".join(compressor.compress(repeated) for _ in range(times)) + compressor.flush()
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize(
    ("head", "repeated"),
    [
        (f'{OTHER}{KERNEL}<changelog author="a" date="1">', b"x" * (1 << 24)),
        (f"{OTHER}{KERNEL}", b"<a/>" * (1 << 22)),
        (f'{OTHER}<package name="', b"x" * (1 << 24)),
    ],
    ids=["text", "elements", "attribute"],
)
def test_small_repodata_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, head: str, repeated: bytes) -> None:
    path = other_zst(tmp_path / "other.xml.zst", head, repeated, 64)
    assert path.stat().st_size < 1 << 20
    assert refused("list(read_other(path.read_bytes(), 'other'))", path)


def test_a_document_type_is_refused() -> None:
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r>&b;</r>'
    with pytest.raises(PackageError, match="document type"):
        list(read_other(bomb, "x"))
    with pytest.raises(PackageError, match="document type"):
        find_other(bomb, "x")


def test_kernels_of_repodata_are_whole_and_others_are_passed_over() -> None:
    text = (
        f'{OTHER}<package name="bash" arch="x86_64"><version epoch="0" ver="5" rel="1"/>'
        f'<changelog author="a" date="1">- no</changelog></package>{KERNEL}'
        '<changelog author="old" date="100">- old &amp; older</changelog>'
        '<changelog author="new" date="90000">- new</changelog></package></otherdata>'
    )
    (kernel,) = read_other(text.encode(), "x")
    assert (kernel.name, kernel.version, kernel.architecture) == ("kernel-core", "5.14.0-1.el9", "x86_64")
    assert kernel.changelog == (
        "%changelog",
        b"* Fri Jan 02 1970 new\n- new\n\n* Thu Jan 01 1970 old\n- old & older\n\n",
    )


def test_data_that_grows_more_than_any_real_one_is_refused() -> None:
    for packed in (gzip.compress(bytes(200 << 20)), lzma.compress(bytes(200 << 20), preset=0)):
        with pytest.raises(BrokenDataError, match="unpacks to more than 250 times its size"):
            decompress(packed, "x", 1 << 31)


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.sampled_from(["gzip", "xz", "zstd"]))
def test_parts_compressed_one_after_the_other_are_one_content(parts: list[bytes], form: str) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "xz": lzma.compress,
        "zstd": zstd.compress,
    }
    pack = packers[form]
    assert decompress(b"".join(pack(part) for part in parts), "x", 1 << 20) == b"".join(parts)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd.compress])
def test_compressed_text_that_is_cut_off_is_refused_at_every_length(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"linux (6.1.170-3) unstable\n" * 50)
    for size in range(9, len(packed) - 1):
        with pytest.raises(BrokenDataError):
            decompress(packed[:size], "x", 1 << 20)


def test_an_xz_stream_that_asks_for_four_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    packed = lzma.compress(b"x" * 100, filters=filters)
    with pytest.raises(BrokenDataError, match="broken xz data"):
        decompress(packed, "x", 1000)


# --------------------------------------------------------------------------------------------------------------- words
@given(st.text(alphabet="abl inux-image6.1()[]<>=,|: \n", max_size=200))
def test_dependencies_in_any_form_are_read_or_passed_over(text: str) -> None:
    found = kernel_dependency(text)
    assert found is None or found[0].startswith(("linux-image-6", "linux-binary-6", "linux-image-1"))


def test_a_paragraph_of_blanks_is_read_in_linear_time(tmp_path: Path) -> None:
    for text in ("Package: a\n" + " " * 900_000 + "x", "Depends: linux-image-6" + " " * 900_000 + "x"):
        assert parse_control(text)
    assert kernel_dependency("linux-image-6.1.0-1-amd64" + " " * 900_000 + "x") == ("linux-image-6.1.0-1-amd64", None)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("5.14.0-70.el9", "5.14.0-427.el9"),
        ("5.14.0-427.13.1.el9_4", "5.14.0-427.20.1.el9_4"),
        ("6.1~rc1-1", "6.1-1"),
        ("6.1-1", "6.1^git1-1"),
        ("6.1^git1-1", "6.1.1-1"),
        ("6.1a-1", "6.1.1-1"),
        ("6.9-1", "6.10-1"),
        ("6.1-1", "6.1-1.1"),
    ],
)
def test_rpm_versions_are_in_rpm_s_order(older: str, newer: str) -> None:
    assert rpm_key(older) < rpm_key(newer)
    assert rpm_key("6.01-1") == rpm_key("6.1-1") == rpm_key("6_1-1")


@given(st.text(alphabet="01a.~^_Zz", min_size=1, max_size=8), st.text(alphabet="01a.~^_Zz", min_size=1, max_size=8))
def test_the_order_is_total(one: str, other: str) -> None:
    assert (rpm_key(one) < rpm_key(other)) + (rpm_key(one) > rpm_key(other)) + (rpm_key(one) == rpm_key(other)) == 1


def test_rpm_itself_orders_versions_the_same() -> None:
    if shutil.which("rpm") is None:
        pytest.skip("no rpm on this machine: install the package rpm")
    versions = [
        "1.0",
        "1.0~rc1",
        "1.0^a",
        "1.0.1",
        "1.a",
        "1.00",
        "10",
        "9",
        "1.0~~",
        "1.0~",
        "1.0^",
        "a",
        "1a",
        "1.0.a",
    ]
    pairs = [(one, other) for one in versions for other in versions]
    lines = "".join(f"print(rpm.vercmp('{one}', '{other}') .. ' ')\n" for one, other in pairs)
    done = subprocess.run(["rpm", "--eval", f"%{{lua:{lines}}}"], capture_output=True, text=True, check=True)
    seen = [int(word) for word in done.stdout.split()]
    ours = [(rpm_key(one) > rpm_key(other)) - (rpm_key(one) < rpm_key(other)) for one, other in pairs]
    assert seen == ours


def test_a_row_of_an_index_that_cannot_be_read_costs_that_row() -> None:
    rows = [
        "Package: linux-image-6.1.0-47-amd64\nVersion: 6.1.170-3\nArchitecture: amd64",
        "Package: linux-image-6.1.0-48-amd64\nVersion: 6.1.172-1\nVersion: 6.1.999-1\nArchitecture: amd64",
        "Package: linux-image-6.1.0-49-amd64\nVersion: \x1b[31m\nArchitecture: amd64",
        f"Package: linux-image-6.1.0-50-amd64\nVersion: 6.1.175-1\nDescription: {'x' * 70_000}",
    ]
    index = read_packages_index("\n\n".join(rows).encode(), "x")
    assert [kernel.version for kernel in index.kernels] == ["6.1.170-3"]
    assert [item.architecture for item in index.unreadable] == ["amd64", "amd64", ""]
    for item, number in zip(index.unreadable, (48, 49, 50), strict=True):
        assert item.reason.startswith(f"x: linux-image-6.1.0-{number}-amd64: ")
