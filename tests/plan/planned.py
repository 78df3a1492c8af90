"""Running ``tailcall-audit plan`` in tests, and following what it says with real git."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tests.plan.kernels import CATALOG, FIXES, Files, with_version
from tests.repositories import History, git

__all__ = ["Planned", "catalog_with", "fingerprint", "followed", "outcomes", "plan", "tree_of"]


class Planned(NamedTuple):
    """The exit code of a plan, and its JSON."""

    code: int
    data: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps in order."""
        return list(self.data["steps"])

    @property
    def fixed(self) -> set[str]:
        """The defects that the code of the resulting tree shows fixed."""
        return set(self.data["result"]["fixed"])


def plan(tree: Path, *options: str, arch: str | None = "x86_64") -> Planned:
    """Runs the command line and reads what it wrote."""
    output = tree.parent / "plan.json"
    output.unlink(missing_ok=True)
    code = main(
        ["plan", "--tree", str(tree), "--format", "json", "--output", str(output), "--debug", *options]
        + ([] if arch is None else ["--arch", arch])
    )
    return Planned(code, json.loads(output.read_text()))


def outcomes(planned: Planned) -> list[tuple[str, str]]:
    """The fixes by the names of tests/plan/kernels.py (other commits by their subjects) with their outcomes, in order."""
    names = {CATALOG.commits[fix.key].subject: name for name, fix in FIXES.items()}
    return [(names.get(step["subject"], step["subject"]), step["outcome"]) for step in planned.steps]


def tree_of(path: Path, files: Files, version: str = "6.1.170") -> History:
    """A repository of one commit that is checked out: the tree to mend."""
    history = History(path, version)
    history.commit(f"Linux {version}\n", dict(with_version(files, version)))
    history.checkout()
    git("reset", "-q", cwd=path)
    return history


def fingerprint(path: Path) -> dict[str, str]:
    """A digest of every file below a folder, its .git included."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "folder"
        for file in sorted(path.rglob("*"))
    }


def followed(tree: Path, target: Path, *options: str) -> str:
    """Makes the script of a plan, runs it in a clone of the tree, and returns the tree that git's own picks lead to."""
    script = target.parent / "mend.sh"
    main(["plan", "--tree", str(tree), "--arch", "x86_64", "--format", "script", "--output", str(script), *options])
    git("clone", "-q", str(tree), str(target))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    environment |= {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(["sh", str(script)], cwd=target, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return git("rev-parse", "HEAD^{tree}", cwd=target).strip()


def catalog_with(path: Path, ids: dict[str, str]) -> str:
    """Writes a catalogue in which fixes (by name) have the ids of a test's repository; returns its path."""
    text = Path(default_catalog_path()).read_text(encoding="utf-8")
    for name, commit in ids.items():
        key = FIXES[name].key
        text = text.replace(f'"id": "{CATALOG.commits[key].id}"', f'"id": "{commit}"')
        text = text.replace(f'"{key}"', f'"{commit[:12]}"')
    path.write_text(text, encoding="utf-8")
    return str(path)
