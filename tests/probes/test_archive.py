"""The archive that a guest boots from."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.cpio import read_cpio
from tailcall_audit.probes.guest import archive as initramfs
from tailcall_audit.probes.guest.archive import InitramfsError, build_initramfs, write_cpio

NAMES = st.text("abc/._-", min_size=1, max_size=40).filter(lambda name: name != "TRAILER!!!")


@given(st.lists(st.tuples(NAMES, st.binary(max_size=100)), max_size=20))
def test_what_is_written_is_read_again(files: list[tuple[str, bytes]]) -> None:
    data = write_cpio([(name, stat.S_IFREG | 0o644, content, (0, 0)) for name, content in files])
    assert len(data) % 4 == 0
    assert [(name, content()) for name, _, content in read_cpio(io.BytesIO(data))] == files


def test_the_archive_is_made_of_the_running_python_and_kept(tmp_path: Path) -> None:
    path = build_initramfs(tmp_path)
    assert build_initramfs(tmp_path) == path
    assert list(tmp_path.iterdir()) == [path]
    members = {name: content() for name, _, content in read_cpio(path.open("rb"))}
    first, *_ = members["init"].splitlines()
    interpreter = first.removeprefix(b"#!").split()[0].decode().lstrip("/")
    assert members[interpreter][:4] == b"\x7fELF"
    assert "tailcall-audit/tailcall_audit/probes/guest/first_process.pyc" in members
    assert "tailcall-audit/tailcall_audit/probes/defects/freplace_loop.pyc" in members
    # Nothing of the analyzer, no tests and no site-packages travel along.
    assert not [name for name in members if "analyzer" in name or "site-packages" in name]
    assert len(path.read_bytes()) < 32 << 20


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InitramfsError, match="cannot be kept there"):
        build_initramfs(tmp_path / "file" / "cache")


def test_an_elf_file_without_its_sections_is_smaller_and_still_whole() -> None:
    import sys

    data = Path(sys.executable).resolve().read_bytes()
    cut = initramfs._without_sections(data)
    assert len(cut) <= len(data)
    assert initramfs._without_sections(cut) == cut
    assert initramfs._without_sections(b"no ELF at all") == b"no ELF at all"
