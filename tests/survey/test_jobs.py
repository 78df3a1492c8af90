"""The scheduled jobs of docs/surveys.md are run as they stand there, with a small clone in place of the kernel's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.repositories import FIX_6, FIX_6_SUBJECT, History, backport, git, makefile

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs/surveys.md").read_text("utf-8")
_COMMAND = """#!{python}
import sys
sys.path.insert(0, {root!r})
from tailcall_audit.analyzer.catalog import load
load.default_catalog_path = lambda: {catalog!r}  # an editable installation of the checkout
from tailcall_audit.analyzer.app.main import main
sys.exit(main())
"""
_GH = '#!/bin/sh\nprintf "%s\\n" "$*" > ../opened\n'


def _program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def _release(history: History, version: str) -> None:
    history.commit(f"Linux {version}\n", {"Makefile": makefile(version)})
    history.tag(f"v{version}")


@pytest.fixture
def upstream(tmp_path: Path) -> History:
    """Mainline 6.6 and its stable branch, through a release that the catalogue does not know."""
    history = History(tmp_path / "linux.git", "6.0", bare=True)
    history.release("6.6")
    history.commit(backport(FIX_6, FIX_6_SUBJECT))
    _release(history, "6.6.250")
    return history


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell's environment with the command of a checkout, and a `gh` that notes what it was asked for."""
    if shutil.which("git") is None:
        pytest.skip("no git binary on this machine")
    programs = tmp_path / "bin"
    catalog = str(tmp_path / "checkout/commits.json")
    _program(programs, "tailcall-audit", _COMMAND.format(python=sys.executable, root=str(_ROOT), catalog=catalog))
    _program(programs, "gh", _GH)
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(home)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of a repository with this project's catalogue."""
    folder, origin = tmp_path / "checkout", tmp_path / "origin.git"
    git("init", "-q", "--bare", str(origin))
    git("clone", "-q", str(origin), str(folder))
    shutil.copytree(_ROOT / "catalog", folder / "catalog")
    for name in ("commits.json", "surveys.json", "branches.json"):
        shutil.copy(_ROOT / name, folder)
    git("add", ".", cwd=folder)
    git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "first", cwd=folder)
    return folder


def _action() -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    job = yaml.safe_load(block)["jobs"]["survey"]["steps"][-1]
    return str(job["run"])


def _run(script: str, cwd: Path, environment: dict[str, str]) -> None:
    subprocess.run(["bash", "-e", "-c", script], cwd=cwd, env=environment, check=True, capture_output=True)


def test_the_action_opens_a_change_where_a_survey_says_something_new_and_only_there(
    upstream: History, environment: dict[str, str], checkout: Path
) -> None:
    opened = checkout.parent / "opened"
    _run(_action(), checkout, environment)
    assert opened.read_text() == "pr create --fill --body-file ../survey.txt\n"
    opened.unlink()
    # The clone has no tag of 6.6.249: the fix may have come before 6.6.250.
    assert "present-by" in (checkout / "catalog/surveys/stable/stable.json").read_text()
    assert "6.6.250" in (checkout / "branches.json").read_text()
    assert git("status", "--short", cwd=checkout) == ""
    branches = git("branch", "--all", cwd=checkout)
    assert re.search(r"remotes/origin/survey-\d{4}-\d\d-\d\d", branches)

    later = _action().replace("--write", "--date $(date -d tomorrow +%F) --write", 1)
    _run(later, checkout, environment)
    assert not opened.exists()
    git("reset", "-q", "--hard", cwd=checkout)

    _release(upstream, "6.6.251")
    _run(_action().replace("survey-$(date +%F)", "survey-next"), checkout, environment)
    assert opened.exists()


def test_the_job_of_cron_keeps_a_survey(upstream: History, environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(_ROOT / "commits.json", tmp_path)
    (job,) = re.findall(r"^\d+ \d+ \* \* \*  (git .*)$", _PAGE, re.MULTILINE)
    clone = tmp_path / "srv.git"
    git("clone", "-q", "--bare", str(upstream.path), str(clone))
    command = job.replace("/srv/linux-stable", str(clone))
    catalog = tmp_path / "bin/tailcall-audit"
    catalog.write_text(catalog.read_text().replace("checkout/commits.json", "commits.json"))
    _run(command, tmp_path, environment)
    home = Path(environment["HOME"])
    assert "through 6.6.250" in (home / "tailcall-survey.log").read_text()
    assert (home / ".local/share/tailcall-audit/surveys/stable.json").is_file()
