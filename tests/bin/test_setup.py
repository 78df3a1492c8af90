"""bin/setup.sh makes an environment whatever happened before, or says in one sentence what is missing.

The script under test is the real one, with the real venv and pip; the project around it is a small one that needs no
package.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

BIN = Path(__file__).parents[2] / "bin"
NOBODY = 65534
COREUTILS = (
    "cksum",
    "dirname",
    "stat",
    "rm",
    "mkdir",
    "tr",
    "grep",
    "mv",
    "tee",
    "tail",
    "cat",
    "flock",
    "readlink",
    "bash",
)
"""What a bare Debian has: all of these are in its essential packages."""

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
"""
BACKEND = '''
import time, zipfile
def get_requires_for_build_editable(settings=None):
    return []
def build_editable(directory, settings=None, metadata=None):
    """An installation in place, which takes a second."""
    time.sleep(1)
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("small.pth", HERE + "\\n")
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n" + NEEDS)
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return name
import os
HERE = os.path.dirname(os.path.abspath(__file__))
NEEDS = ""
'''


def checkout(folder: Path, needs: str = "") -> Path:
    """A small project with the real scripts; its command prints where its module is."""
    folder.mkdir(parents=True)
    (folder / "bin").mkdir()
    shutil.copy(BIN / "setup.sh", folder / "bin")
    command = folder / "bin/small"
    command.write_text(
        '#!/usr/bin/env bash\nset -eu\n. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/setup.sh" ""\n'
        'exec "$venv/bin/python" -I -c "import small; print(small.__file__)"\n'
    )
    command.chmod(0o755)
    (folder / "small.py").write_text("")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND.replace('NEEDS = ""', f"NEEDS = {needs!r}"))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """No package index is asked for anything, and nothing of this machine's user is read or written."""
    path = os.pathsep.join([str(Path(sys.executable).resolve().parent), "/usr/bin", "/bin"])
    return {"HOME": str(home), "PATH": path, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def call(
    project: Path, environ: dict[str, str], prefix: Sequence[str] = (), timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    # /bin/bash by its path: `env bash` would look for it on a PATH that a test has emptied.
    return subprocess.run(
        [*prefix, "/bin/bash", project / "bin/small"],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def works(project: Path, environ: dict[str, str], prefix: Sequence[str] = ()) -> str:
    """Runs the command, sees that it works and that the next call has nothing to do; returns what it said the first
    time.
    """
    done = call(project, environ, prefix)
    assert (done.returncode, done.stdout.strip()) == (0, f"{project}/small.py"), done.stderr
    again = call(project, environ, prefix)
    assert (again.returncode, again.stderr) == (0, "")
    return done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a set-up that ended with exit code 2, in words of its own and none of the shell's."""
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("tailcall-audit: ") for line in lines), lines
    assert not re.search(r"setup\.sh: line|command not found|Traceback", done.stderr)
    return lines[-1]


def folder_of(tools: Sequence[str], folder: Path) -> Path:
    """A folder for PATH with nothing but these tools of this machine."""
    folder.mkdir()
    for name in tools:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


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
            assert process.returncode in (0, -ending), said
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


def test_a_read_only_file_system(tmp_path: Path, environ: dict[str, str], home: Path) -> None:
    project = checkout(tmp_path / "project")
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    prefix = ["unshare", "--mount", "--", "/bin/bash", "-c", mount, "bash", str(project)]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount can be made read-only here: it takes root and unshare")
    works(project, environ, prefix)
    assert sorted(path.name for path in project.iterdir()) == ["backend.py", "bin", "pyproject.toml", "small.py"]
    assert list((home / ".cache/tailcall-audit").glob("venv-*/.installed"))


def test_a_bare_machine_without_python(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    environ["PATH"] = str(folder_of(COREUTILS, tmp_path / "path"))
    done = call(project, environ)
    assert refused(done) == (
        "tailcall-audit: Python 3.11 or newer is needed, and PATH has none (Debian, Ubuntu: sudo apt install python3 python3-venv)"
    )
    assert done.stderr.count("\n") == 1
    assert not (project / ".venv").exists()


def test_a_python_that_is_too_old(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    path = folder_of(COREUTILS, tmp_path / "path")
    script(path / "python3", '[ "$1" = --version ] && echo "Python 3.9.2"')
    environ["PATH"] = str(path)
    done = call(project, environ)
    assert refused(done).startswith(f"tailcall-audit: Python 3.11 or newer is needed; {path}/python3 is Python 3.9.2 (")
    assert done.stderr.count("\n") == 1


def test_a_debian_without_its_package_for_venv(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    path = folder_of(COREUTILS, tmp_path / "path")
    # Debian's python3 without python3-venv has no ensurepip.
    script(path / "python3", f'case "$*" in *ensurepip* | *venv*) exit 1 ;; esac; exec {sys.executable} "$@"')
    environ["PATH"] = str(path)
    for _ in range(2):
        done = call(project, environ)
        assert refused(done) == (
            f"tailcall-audit: {path}/python3 has no module venv: install the package python3-venv"
            " (Debian, Ubuntu: sudo apt install python3-venv)"
        )
        assert done.stderr.count("\n") == 1


def test_no_network_is_one_sentence_and_the_next_call_with_one_works(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project", needs="Requires-Dist: there-is-no-such-package\n")
    # Port 9 of this machine refuses at once, as a machine without a network does.
    offline = {**environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    del offline["PIP_NO_INDEX"]
    said = refused(call(project, offline))
    assert "the package index cannot be reached. Run the same command again with a network" in said
    assert "there-is-no-such-package" in (project / ".venv.log").read_text()
    # An index that answers, and does not have it, is another fault.
    assert "No matching distribution found for there-is-no-such-package" in refused(call(project, environ))
    (project / "backend.py").write_text(BACKEND)
    works(project, environ)


def test_an_environment_that_works_survives_an_update_without_a_network(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    project = checkout(tmp_path / "project")
    works(project, environ)
    before = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(before + "# newer\n")
    (project / "backend.py").write_text(
        BACKEND.replace('NEEDS = ""', 'NEEDS = "Requires-Dist: there-is-no-such-package\\n"')
    )
    refused(call(project, environ))
    # The user goes back to the version that was there.
    (project / "pyproject.toml").write_text(before)
    assert works(project, environ) == ""


def test_two_at_once_make_one_environment(tmp_path: Path, environ: dict[str, str]) -> None:
    project = checkout(tmp_path / "project")
    calls = [
        subprocess.Popen(
            ["/bin/bash", project / "bin/small"],
            env=environ,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = []
    for process in calls:
        out, err = process.communicate()
        assert (process.returncode, out.strip()) == (0, f"{project}/small.py"), err
        said.append(err)
    assert sum("making" in text for text in said) == 1
    assert sum("another process is setting up" in text for text in said) == 2
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
