"""The archive that a guest boots from."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.cpio import read_cpio
from tailcall_audit.probes.guest import archive as initramfs
from tailcall_audit.probes.guest.archive import InitramfsError, build_initramfs
from tests.caches import ROOT, give_away, let_others_write, link


def test_the_archive_is_made_of_the_running_python_and_kept(tmp_path: Path) -> None:
    path = build_initramfs(tmp_path)
    assert build_initramfs(tmp_path) == path
    assert list(tmp_path.iterdir()) == [path]
    members = {name: content() for name, _, content in read_cpio(path.open("rb"))}
    assert members[members["init"].decode().lstrip("/")][:4] == b"\x7fELF"
    assert members["tailcall-audit/start"][:4] == importlib.util.MAGIC_NUMBER
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


def let_the_group_write(path: Path) -> None:
    path.chmod(0o664)


def archive(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil", [shorten, change, let_others_write, let_the_group_write, link, pytest.param(give_away, marks=ROOT)]
)
def test_an_archive_that_may_not_be_ours_is_made_anew(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made = build_initramfs(cache)
    content = made.read_bytes()
    spoil(made)
    assert build_initramfs(cache) == made
    assert archive(cache) == made
    assert stat.S_ISREG(made.lstat().st_mode)
    assert (made.stat().st_uid, made.stat().st_mode & 0o777) == (os.geteuid(), 0o600)
    assert made.read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in made.name
    assert cache.stat().st_mode & 0o777 == 0o700


@ROOT
def test_a_cache_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(InitramfsError, match=r"cannot be kept there: it belongs to another user .*XDG_CACHE_HOME"):
        build_initramfs(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_latest_used_archives_are_kept(tmp_path: Path) -> None:
    made = build_initramfs(tmp_path)
    for number in range(11):
        old = tmp_path / f"initramfs-{number:032x}-{number:064x}.cpio"
        old.write_bytes(b"x")
        os.utime(old, (1e9 + number, 1e9 + number))
    (tmp_path / ".tailcall-audit-dead").write_bytes(b"half")
    os.utime(tmp_path / ".tailcall-audit-dead", (1e9, 1e9))
    (tmp_path / "notes").write_bytes(b"of the user's")
    # One that is found is the latest used one, and nothing is removed; a new one makes room.
    os.utime(made, (1, 1))
    assert build_initramfs(tmp_path) == made
    assert len(list(tmp_path.iterdir())) == 14
    shorten(made)
    assert build_initramfs(tmp_path) == made
    assert sorted(path.name[10:42] for path in tmp_path.glob("initramfs-*")) == sorted(
        [made.name[10:42], *(f"{number:032x}" for number in range(4, 11))]
    )
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("initramfs-")) == ["notes"]
