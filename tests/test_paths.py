"""Paths that the system does not let us look at."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tailcall_audit import AuditError
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.live.lab import find_kernels
from tailcall_audit.analyzer.paths import Kind, check_file, expanded, is_file, kind_of
from tailcall_audit.probes.processes import fork_worker

NOBODY = 65534
LONG = "a" * 300


def test_what_stands_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    found = {name: kind_of(tmp_path / name) for name in ("file", "link", "gone", "fifo", "nothing", "file/below", ".")}
    missing = Kind.MISSING
    assert found == {
        "file": Kind.FILE,
        "link": Kind.FILE,
        "gone": missing,
        "fifo": Kind.OTHER,
        "nothing": missing,
        "file/below": missing,
        ".": Kind.FOLDER,
    }
    for name, reason in (("loop", "symbolic links"), (LONG, "name too long"), ("a\0b", "null")):
        with pytest.raises(AuditError, match=reason):
            kind_of(tmp_path / name)
        assert not is_file(tmp_path / name)
    with pytest.raises(AuditError, match=r"fifo: not a regular file; give another"):
        check_file(tmp_path / "fifo", "give another")
    with pytest.raises(AuditError, match=r"nothing: no such file; give another"):
        check_file(tmp_path / "nothing", "give another")
    check_file(tmp_path / "link", "give another")


def test_a_home_that_is_not_there_is_a_name_like_any_other() -> None:
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
    assert expanded("~/x") == Path(os.path.expanduser("~/x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives up what it may, to look as another user")
def test_a_closed_folder_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        (Path(folder) / "closed").mkdir(mode=0o700)
        (Path(folder) / "open").mkdir()
        (Path(folder) / "open/vmlinuz").touch()

        def look(_: int) -> None:
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with pytest.raises(AuditError, match="Permission denied"):
                kind_of(Path(folder) / "closed/x")
            with pytest.raises(AuditError, match="Permission denied"):
                find_kernels([f"{folder}/closed/x"])
            assert find_kernels([folder + "/open"]) == [Path(folder) / "open/vmlinuz"]

        child, reader = fork_worker(look)
        os.close(reader)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "name", [LONG, f"{LONG}.deb", f"/tmp/{LONG}/x", "~no-such-user/x", "loop", "/dev/null/x", "\udcff"]
)
@pytest.mark.parametrize(
    "option", ["--package", "--image", "--tree", "--config", "--changelog", "--repo", "--catalog", "--system-map"]
)
def test_no_name_of_a_file_is_an_internal_error(
    option: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    more = {"--catalog": ["--kernel", "6.1"], "--system-map": ["--image", "/dev/null"]}.get(option, [])
    assert main([option, name, *more]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_lab_names_a_file_that_cannot_be_looked_at(tmp_path: Path) -> None:
    assert main(["lab", str(tmp_path / LONG)]) == 2
