"""A small project with the real scripts of bin/, and calls of its command."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

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


def call(
    project: Path, environ: dict[str, str], prefix: Sequence[str] = (), timeout: float = 600
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
