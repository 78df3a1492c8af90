"""Git, rpm, guests and the tool's own command in a hostile current directory: nothing of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tailcall_audit.analyzer
import tailcall_audit.probes
from tailcall_audit.analyzer.kernelfiles.git_walk import first_parent_subjects
from tailcall_audit.analyzer.kernelfiles.installed_rpm import rpm_kernels
from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.processes import find_program, run


def test_the_archive_of_a_guest_is_made_without_the_current_directory(hostile: Path, tmp_path: Path) -> None:
    path = build_initramfs(tmp_path / "cache")
    assert path.stat().st_size > 1 << 20
    assert str(Path.cwd()).encode() not in path.read_bytes()
    assert not hostile.exists()


def test_the_command_runs_no_module_of_the_current_directory(hostile: Path) -> None:
    """The tool's own process has the user's environment, but no child of it finds what lies there."""
    script = (
        f"import sys; sys.path.append({str(Path(tailcall_audit.analyzer.__file__ or '').absolute().parents[2])!r})\n"
        "from tailcall_audit.probes.guest.archive import build_initramfs; from pathlib import Path; build_initramfs(Path(sys.argv[1]))"
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "PYTHON"))}
    subprocess.run([sys.executable, "-P", "-c", script, str(hostile.parent / "cache")], check=True, env=environ)
    assert not hostile.exists()


def test_rpm_reads_no_macros_of_the_user(hostile: Path, tmp_path: Path) -> None:
    if find_program("rpm") is None:
        pytest.skip("no rpm on this machine: install rpm")
    database = tmp_path / "root/var/lib/rpm"
    database.mkdir(parents=True)
    rpm = find_program("rpm")
    assert rpm is not None
    assert run([rpm, "--dbpath", str(database), "--initdb"], timeout=60).status == 0
    (database / "rpmdb.sqlite").touch()
    assert rpm_kernels(tmp_path / "root") == ()
    assert not hostile.exists()


def test_without_rpm_the_folders_that_were_not_searched_are_named(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "root/var/lib/rpm"
    database.mkdir(parents=True)
    (database / "rpmdb.sqlite").touch()
    monkeypatch.setenv("PATH", ".")
    with pytest.raises(PackageError, match=r"no rpm in the folders of PATH that are absolute \('.' is not searched\)"):
        rpm_kernels(tmp_path / "root")
    assert not hostile.exists()


HOSTILE_CONFIG = """
[core]
	fsmonitor = {canary}
	hooksPath = {folder}
	pager = {canary}
	sshCommand = {canary}
	gitProxy = {canary}
	editor = {canary}
	askPass = {canary}
	attributesFile = {folder}/attributes
	alternateRefsCommand = {canary}
[alias]
	rev-list = !{canary}
[diff]
	external = {canary}
[diff "x"]
	textconv = {canary}
	command = {canary}
[filter "x"]
	clean = {canary}
	smudge = {canary}
	process = {canary}
[log]
	showSignature = true
[gpg]
	program = {canary}
[credential]
	helper = !{canary}
[protocol]
	allow = always
[protocol "ext"]
	allow = always
[remote "origin"]
	url = ext::{canary}
	uploadpack = {canary}
	vcs = canary
	promisor = true
	partialclonefilter = blob:none
[extensions]
	partialClone = origin
[include]
	path = {folder}/included
[trace2]
	eventTarget = {canary}.trace
"""


@pytest.mark.parametrize("uploader", ["ext", "file", "vcs", "ssh"])
def test_nothing_of_a_repository_is_run(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploader: str
) -> None:
    """Its configuration names programs in every way that git knows, and objects are missing that a partial clone would
    fetch.
    """
    import pygit2

    git = find_program("git")
    if git is None:
        pytest.skip("no git on this machine: install git")
    repository = pygit2.init_repository(str(tmp_path / "repository"))
    author = pygit2.Signature("A", "a@example.org")
    tree = repository.TreeBuilder().write()
    first = repository.create_commit(None, author, author, "first", tree, [])
    second = repository.create_commit("refs/heads/main", author, author, "second", tree, [first])
    canary = Path.cwd() / "canary.sh"
    config = Path(repository.path) / "config"
    text = HOSTILE_CONFIG.format(canary=canary, folder=Path.cwd())
    if uploader != "vcs":
        text = text.replace("\tvcs = canary\n", "")
    text = text.replace(
        "url = ext::",
        {"file": f"url = file://{tmp_path}/other\n\tx = ", "ssh": "url = ssh://127.0.0.1/x\n\tx = "}.get(
            uploader, "url = ext::"
        ),
    )
    config.write_text(config.read_text() + text)
    (Path.cwd() / "included").write_text(f"[core]\n\tfsmonitor = {canary}\n[alias]\n\trev-list = !{canary}\n")
    (Path.cwd() / "attributes").write_text("* filter=x diff=x\n")
    for hook in ("reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"):
        for folder in (Path.cwd(), Path(repository.path) / "hooks"):
            (folder / hook).write_text(canary.read_text())
            (folder / hook).chmod(0o755)
    (Path.cwd() / "git-remote-canary").write_text(canary.read_text())
    (Path.cwd() / "git-remote-canary").chmod(0o755)
    # In the folder where git is found, the helpers that it starts by name would be found too.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{Path.cwd()}")
    assert [subject for _, subject in first_parent_subjects(repository, str(second), 10)] == [b"second", b"first"]
    assert not hostile.exists()
    missing = Path(repository.path) / "objects" / str(first)[:2] / str(first)[2:]
    missing.unlink()
    from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError

    with pytest.raises(WalkError, match="git: "):
        list(first_parent_subjects(repository, str(second), 10))
    assert not hostile.exists()


@pytest.fixture
def command() -> Path:
    """The checkout's own command, which has set up what it needs."""
    found = Path(__file__).resolve().parents[2] / "bin/tailcall-audit"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{found} cannot set itself up here: {done.stderr[-200:]}")
    return found


def test_the_checkouts_own_command_runs_nothing_of_the_current_directory(command: Path, hostile: Path) -> None:
    # The loader acts on LD_* and bash on BASH_ENV before the first line of this command can do anything about it.
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "BASH_ENV"))}
    done = subprocess.run([command, "--kernel", "6.1.170"], capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (1, "")
    assert not hostile.exists()
