"""What another user's repository can do: nothing of it is run or obeyed, and what is broken is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tests.plan.kernels import IN_ORDER, Upstream, files_of
from tests.plan.planned import fingerprint, followed, outcomes, plan, tree_of
from tests.repositories import git


@pytest.fixture(scope="module")
def mainline(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    return Upstream(tmp_path_factory.mktemp("up") / "mainline", files_of("6.1"), IN_ORDER, "6.12")


def poisoned(path: Path, canary: Path) -> None:
    """Settings, hooks and attributes that would run a program, or merge in another way."""
    script = canary.parent / "canary.sh"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    lines = ["fsmonitor", "pager", "editor", "sshCommand", "askPass", "alternateRefsCommand", "hooksPath"]
    text = "".join(f"\t{line} = {script}\n" for line in lines)
    drivers = f'[merge "evil"]\n\tdriver = {script}\n[diff "evil"]\n\ttextconv = {script}\n\tcommand = {script}\n[filter "evil"]\n\tsmudge = {script}\n\tclean = {script}\n'
    config = path / ".git/config"
    config.write_text(
        f"{config.read_text()}[core]\n{text}{drivers}[merge]\n\trenames = false\n\tconflictStyle = diff3\n"
    )
    (path / ".git/info").mkdir(exist_ok=True)
    (path / ".git/info/attributes").write_text("* merge=evil diff=evil filter=evil\n")
    (path / ".gitattributes").write_text("* merge=evil diff=evil filter=evil\n")
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        (path / ".git/hooks").mkdir(exist_ok=True)
        shutil.copy(script, path / ".git/hooks" / hook)


def test_nothing_of_a_repository_is_run_or_obeyed(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    upstream = tmp_path / "up"
    shutil.copytree(mainline.path, upstream)
    expected = plan(tree.path, "--upstream", str(upstream), "--only", "2,3,5,6")
    canary = tmp_path / "canary"
    for path in (tree.path, upstream):
        poisoned(path, canary)
    before = fingerprint(tree.path), fingerprint(upstream)
    found = plan(tree.path, "--upstream", str(upstream), "--only", "2,3,5,6")
    assert not canary.exists()
    assert found.data["steps"] == expected.data["steps"]
    assert found.data["result"] == expected.data["result"]
    assert (fingerprint(tree.path), fingerprint(upstream)) == before


def test_a_loose_object_that_is_cut_off_is_said(mainline: Upstream, tmp_path: Path) -> None:
    """libgit2 reads such a file for ever."""
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    upstream = tmp_path / "up"
    shutil.copytree(mainline.path, upstream)
    blob = git("rev-parse", f"{mainline.commits['6']}:kernel/bpf/arraymap.c", cwd=upstream).strip()
    file = upstream / ".git/objects" / blob[:2] / blob[2:]
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:400])
    found = plan(tree.path, "--upstream", str(upstream), "--only", "6")
    (step,) = found.steps
    assert step["outcome"] == "object-missing"
    assert any("is cut off" in note for note in step["notes"])


@pytest.mark.parametrize("kind", ["shallow", "partial"])
def test_a_clone_without_all_objects_says_which_it_lacks(mainline: Upstream, tmp_path: Path, kind: str) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    git("config", "uploadpack.allowFilter", "true", cwd=mainline.path)
    options = ["--depth=1"] if kind == "shallow" else ["--no-checkout", "--filter=blob:none"]
    git("clone", "-q", *options, f"file://{mainline.path}", str(tmp_path / "up"))
    before = fingerprint(tmp_path / "up")
    found = plan(tree.path, "--upstream", str(tmp_path / "up"), "--only", "6")
    assert outcomes(found) == [("6", "object-missing")]
    assert found.steps[0]["fetch"]
    assert found.code == 3
    assert fingerprint(tmp_path / "up") == before


def test_a_tree_that_borrows_its_objects_is_read(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    git("clone", "-q", "--shared", str(tree.path), str(tmp_path / "shared"))
    git("clone", "-q", "--shared", str(mainline.path), str(tmp_path / "up"))
    found = plan(tmp_path / "shared", "--upstream", str(tmp_path / "up"), "--only", "6")
    assert outcomes(found) == [("6", "clean")]


def test_a_linked_worktree_and_a_bare_clone_are_planned_for(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD", cwd=tree.path)
    git("clone", "-q", "--bare", str(tree.path), str(tmp_path / "bare.git"))
    found = [
        plan(path, "--upstream", str(mainline.path), "--only", "6")
        for path in (tree.path, tmp_path / "linked", tmp_path / "bare.git")
    ]
    assert [item.data["result"] for item in found] == [found[0].data["result"]] * 3
    assert outcomes(found[0]) == [("6", "clean")]


def test_an_upstream_without_a_kernel_is_said(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    git("init", "-q", str(tmp_path / "empty"))
    found = plan(tree.path, "--upstream", str(tmp_path / "empty"), "--only", "6")
    assert outcomes(found) == [("6", "object-missing")]
    assert any("no branch of a kernel is in it" in note for note in found.data["notes"])


def test_what_is_not_committed_is_said_and_not_planned_for(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    (tree.path / "kernel/bpf/arraymap.c").write_bytes(mainline.stages[5]["kernel/bpf/arraymap.c"])
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "6")
    assert outcomes(found) == [("6", "clean")]
    assert "not committed, and not in this plan: changes of kernel/bpf/arraymap.c" in found.data["notes"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--upstream", "/nonexistent"], "neither a folder nor a branch"),
        (["--upstream", "no/such/branch"], "neither a folder nor a branch"),
        (["--upstream", "HEAD@{u}"], "neither a folder nor a branch"),
        (["--rev", "--output=x"], "no revision"),
        (["--rev", "nothing"], "no commit 'nothing'"),
        (["--patches", "/tmp"], "for sources without git"),
        (["--arch", "pdp11"], "pdp11"),
        (["--only", "freplace-lop"], "did you mean freplace-loop?"),
    ],
)
def test_what_is_asked_for_and_is_not_there_is_an_error(
    mainline: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    arguments = [option for name in zip(options[::2], options[1::2], strict=True) for option in ("=".join(name),)]
    assert main(["plan", "--tree", str(tree.path), "--only", "6", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_a_plan_needs_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 2
    assert "--tree" in capsys.readouterr().err
    assert main(["plan", "--tree", str(tmp_path)]) == 2
    assert "not a kernel tree" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_scratch_repository_behind(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import time\nfrom tailcall_audit.analyzer.app.plan import _scratch_folder\n"
        "with _scratch_folder() as folder:\n    (folder / 'objects').mkdir()\n    print(folder, flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        assert folder.parent == tmp_path
        assert (folder / "objects").is_dir()
        process.send_signal(number)
        assert process.wait() != 0
    assert list(tmp_path.iterdir()) == []


def test_a_branch_whose_name_is_an_option_of_git_is_none_in_the_script(mainline: Upstream, tmp_path: Path) -> None:
    """git takes options behind a path: `--upload-pack` names a program that it runs."""
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    upstream, canary = tmp_path / "up", tmp_path / "canary"
    shutil.copytree(mainline.path, upstream)
    (tmp_path / "evil").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (tmp_path / "evil").chmod(0o755)
    name = f"--upload-pack={tmp_path}/evil"
    git("update-ref", f"refs/heads/{name}", "refs/heads/master", cwd=upstream)
    git("symbolic-ref", "HEAD", f"refs/heads/{name}", cwd=upstream)
    git("update-ref", "-d", "refs/heads/master", cwd=upstream)
    expected = plan(tree.path, "--upstream", str(upstream), "--only", "6").data["result"]["tree"]
    assert followed(tree.path, tmp_path / "mended", "--upstream", str(upstream), "--only", "6") == expected
    assert not canary.exists()


def test_a_wrong_place_is_an_error_where_nothing_is_to_be_mended_too(
    mainline: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[-1])
    assert main(["plan", "--tree", str(tree.path), "--only", "6", "--arch", "x86_64"]) == 0
    assert "nothing to mend" in capsys.readouterr().out
    assert (
        main(["plan", "--tree", str(tree.path), "--only", "6", "--arch", "x86_64", "--upstream", "/nonexistent"]) == 2
    )
    assert "neither a folder nor a branch" in capsys.readouterr().err
