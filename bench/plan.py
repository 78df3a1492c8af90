"""Compares the time of a plan with the audit of the same tree: ``python -m bench.plan``.

The tree is the stable branch of the kernel-shaped repository with six fixes removed from its sources. The commits to
pick are in another repository. Goal: a plan of six commits takes at most twice as long as the audit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pygit2

from bench.audit_tree import catalog_without_ids
from bench.measure import run
from bench.repository import MAINLINE_COMMITS, STABLE_COMMITS, kernel_shaped_repository
from tests.plan.kernels import IN_ORDER, Files, Upstream, files_of, with_version

VERSION = "6.1.170"


def _with_files(repository: pygit2.Repository, tree: pygit2.Tree, files: Files) -> pygit2.Oid:
    """Writes a tree like `tree` with these files added, and returns its id."""
    index = pygit2.Index()
    index.read_tree(tree)
    for path, data in files.items():
        index.add(pygit2.IndexEntry(path, repository.create_blob(data), pygit2.enums.FileMode.BLOB))
    return index.write_tree(repository)


def tree_to_mend(path: Path, files: Files) -> Path:
    """Makes a clone of the kernel-shaped repository that shares its objects, and adds one commit with these files."""
    subprocess.run(["git", "clone", "-q", "--bare", "--shared", str(kernel_shaped_repository()), str(path)], check=True)
    repository = pygit2.Repository(str(path))
    head = repository.head.peel(pygit2.Commit)
    who = pygit2.Signature("A Developer", "dev@example.org", head.commit_time + 300, 0)
    tree = _with_files(repository, head.tree, with_version(files, VERSION))
    repository.create_commit(repository.head.name, who, who, "vendor: Take fixes out\n", tree, [head.id])
    return path


def main() -> None:
    """Prints times, peak memory and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        upstream = Upstream(place / "upstream", files_of("6.1"), IN_ORDER, "6.12")
        tree = tree_to_mend(place / "tree.git", upstream.stages[0])
        catalog = catalog_without_ids(place / "commits.json")
        command = [sys.executable, "-m", "bench.audit_tree", str(catalog)]
        of_tree = ["--tree", str(tree), "--arch", "x86_64", "--quiet"]
        planned = [*command, "plan", *of_tree, "--upstream", str(upstream.path), "--only", "2,3,5,6"]
        shown = subprocess.run(planned, capture_output=True, text=True, check=False).stdout
        print(shown)
        print(f"a history of {MAINLINE_COMMITS:,} commits and {STABLE_COMMITS:,} of the stable branch")
        audit = run([*command, *of_tree], 5)
        plan = run(planned, 5)
        print(f"audit  {audit.seconds:6.2f} s  {audit.megabytes:5.0f} MB")
        print(
            f"plan   {plan.seconds:6.2f} s  {plan.megabytes:5.0f} MB   {plan.seconds / audit.seconds:5.2f} x the audit"
        )


if __name__ == "__main__":
    main()
