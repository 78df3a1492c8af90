"""bin/setup.sh makes an environment whatever happened before, or says in one sentence what is missing.

The script under test is the real one, with the real venv and pip; the project around it is a small one that needs no
package.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bin.projects import (
    NOBODY,
    call,
    checkout,
    refused,
    works,
)


def test_a_first_call_says_what_it_does_and_the_next_does_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "a checkout [x]")
    said = works(project, environ)
    assert [line.partition(": ")[2].split()[0] for line in said.splitlines()] == ["making", "installing", "done"]
    made = {path.name for path in project.iterdir()} - {"__pycache__"}
    assert made == {".venv", ".venv.lock", "backend.py", "bin", "pyproject.toml", "small.py"}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda ending: ending.name)
def test_a_set_up_that_is_interrupted_again_and_again_is_mended_by_the_next(
    tmp_path: Path, environ: dict[str, str], ending: signal.Signals
) -> None:
    project = checkout(tmp_path / "project")
    for delay in (0.03, 0.3, 0.8, 1.5, 2.2, 3.0, 4.0):
        with subprocess.Popen(
            ["/bin/bash", project / "bin/small"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            time.sleep(delay)
            if process.poll() is None:
                # As a terminal's ^C: to all processes in the foreground.
                os.killpg(process.pid, ending)
            _, said = process.communicate()
        if process.returncode == 130:
            assert said.splitlines()[-1] == "tailcall-audit: interrupted: run the same command again"
        else:
            # A Python that is interrupted while it starts ends with 1 and its own words.
            assert process.returncode in (0, -ending) or "KeyboardInterrupt" in said, said
    works(project, environ)


def test_a_half_made_environment_without_any_trace_of_who_made_it_is_made_anew(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    project = checkout(tmp_path / "project")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to(sys.executable)
    works(project, environ)


def test_a_checkout_that_was_moved_runs_its_own_code(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "before")
    works(project, environ)
    moved = project.rename(tmp_path / "after")
    works(moved, environ)
    # A copy beside it is a checkout of its own, too.
    shutil.copytree(moved, tmp_path / "copy", symlinks=True)
    works(tmp_path / "copy", environ)


def remove_python(venv: Path) -> None:
    for name in ("python", "python3"):
        (venv / "bin" / name).unlink()
        (venv / "bin" / name).symlink_to("/usr/bin/python3.7")


def replace_python(venv: Path) -> None:
    """As after an upgrade of Debian: the link leads to an interpreter of another version, whose packages are elsewhere."""
    (library,) = venv.glob("lib/python3.*")
    library.rename(library.with_name("python3.2"))
    stamp = venv / ".installed"
    stamp.write_text(re.sub("(?m)^python .*", "python 1:2:3:4", stamp.read_text()))


@pytest.mark.parametrize("upgrade", [remove_python, replace_python])
def test_an_environment_of_a_python_that_is_gone_is_made_anew(
    tmp_path: Path, environ: dict[str, str], upgrade: Callable[[Path], None]
) -> None:
    project = checkout(tmp_path / "project")
    works(project, environ)
    upgrade(project / ".venv")
    assert "making" in works(project, environ)


def test_a_security_update_of_python_keeps_the_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    works(project, environ)
    stamp = project / ".venv/.installed"
    before = stamp.read_text()
    stamp.write_text(re.sub("(?m)^python .*", "python 1:2:3:4", before))
    assert works(project, environ) == ""
    assert stamp.read_text() == before


def test_other_requirements_are_installed_into_the_same_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    works(project, environ)
    (project / ".venv/kept").touch()
    with (project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "making" not in works(project, environ)
    assert (project / ".venv/kept").exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest keeps its own ones closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_checkout_that_others_own_is_used_from_the_cache_of_an_unprivileged_user(
    open_folder: Path, environ: dict[str, str]
) -> None:
    home = open_folder / "home"
    home.mkdir()
    environ["HOME"] = str(home)
    prefix: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv on this machine: root cannot become another user")
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        os.chown(home, NOBODY, NOBODY)
        environ["PATH"] = "/usr/bin:/bin"
        script = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
        probe = subprocess.run([*prefix, "/usr/bin/python3", "-I", "-c", script], check=False)
        if probe.returncode != 0:
            pytest.skip("no Python that other users can run: /usr/bin/python3 is missing, too old or has no venv")
    project = checkout(open_folder / "project")
    project.chmod(0o555)
    (project / "bin").chmod(0o555)
    try:
        works(project, environ, prefix)
        assert not (project / ".venv").exists()
        (made,) = (home / ".cache/tailcall-audit").glob("venv-*-*[0-9]")
        assert (made / ".installed").exists()
        del environ["HOME"]
        assert "HOME names no folder to use instead: set XDG_CACHE_HOME" in refused(call(project, environ, prefix))
        environ["XDG_CACHE_HOME"] = "/proc/nowhere"
        assert "can be written: set XDG_CACHE_HOME to a folder of yours" in refused(call(project, environ, prefix))
    finally:
        project.chmod(0o755)
        (project / "bin").chmod(0o755)


def test_two_at_once_make_one_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    with ExitStack() as stack:
        with (project / ".venv.lock").open("w") as lock:
            # The test holds the lock until all three wait for it: however late one starts, it meets another one.
            fcntl.flock(lock, fcntl.LOCK_EX)
            calls = [
                stack.enter_context(
                    subprocess.Popen(
                        ["/bin/bash", project / "bin/small"],
                        env=environ,
                        cwd="/",
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                )
                for _ in range(3)
            ]
            for process in calls:
                assert process.stderr is not None
                assert "another process is setting up" in process.stderr.readline()
            assert not (project / ".venv").exists()
        said = []
        for process in calls:
            out, err = process.communicate()
            assert (process.returncode, out.strip()) == (0, f"{project}/small.py"), err
            said.append(err)
    assert sum("making" in text for text in said) == 1
    works(project, environ)


def test_an_exported_cdpath_leads_nowhere_else(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    (tmp_path / "elsewhere/bin").mkdir(parents=True)
    environ["CDPATH"] = str(tmp_path / "elsewhere")
    done = subprocess.run(
        ["/bin/bash", "-c", '. bin/setup.sh ""; echo "$root"'],
        env=environ,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(project)
