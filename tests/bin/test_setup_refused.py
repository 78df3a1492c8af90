"""What bin/setup.sh cannot do without is said in one sentence, and nothing is installed unasked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bin.projects import (
    BACKEND,
    BIN,
    COREUTILS,
    call,
    checkout,
    folder_of,
    refused,
    script,
    works,
)


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


@pytest.mark.parametrize("command", ["tailcall-audit", "test"])
def test_a_path_without_the_usual_tools(command: str, environ: dict[str, str]) -> None:
    environ["PATH"] = "/nonexistent"
    done = subprocess.run(
        ["/bin/bash", BIN / command], env=environ, cwd="/", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert refused(done).startswith("tailcall-audit: the folders of PATH lack readlink")


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
