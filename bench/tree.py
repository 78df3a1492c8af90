"""Compares the audit of a kernel-sized clone with git itself: ``python -m bench.tree``.

The floor is ``git log v6.1..HEAD`` with its output discarded. People today run ``git log --grep`` over the whole
history. Each is measured with and without a commit-graph, and the audit also without the git binary. Goal: at most 2
times the floor, at least 10 times faster than the grep, under 300 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.audit_tree import catalog_without_ids
from bench.measure import Run, run
from bench.repository import kernel_shaped_repository


def _line(name: str, result: Run, floor: Run, grep: Run | None) -> None:
    against = "" if grep is None else f"   {grep.seconds / result.seconds:6.1f} x faster than the grep"
    print(
        f"{name:34} {result.seconds:7.2f} s  {result.megabytes:6.0f} MB   {result.seconds / floor.seconds:5.2f} x the floor{against}"
    )


def main() -> None:
    """Prints times, peak memory and ratios."""
    repository = kernel_shaped_repository()
    git = ["git", f"--git-dir={repository}"]
    graph = repository / "objects/info/commit-graph"
    with tempfile.TemporaryDirectory() as empty:
        without_git = {"PATH": empty}
        catalog = catalog_without_ids(Path(empty) / "commits.json")
        audit = [sys.executable, "-m", "bench.audit_tree", str(catalog), "--quiet", "--tree", str(repository)]
        for with_graph in (False, True):
            graph.unlink(missing_ok=True)
            if with_graph:
                subprocess.run([*git, "commit-graph", "write", "--reachable"], check=True, capture_output=True)
            print(f"{'with' if with_graph else 'without'} a commit-graph")
            floor = run([*git, "log", "v6.1..HEAD"], 5)
            grep = run([*git, "log", "--grep=bpf: Prevent tailcall infinite loop caused by freplace", "HEAD"], 1)
            _line("git log v6.1..HEAD", floor, floor, None)
            _line("git log --grep over all", grep, floor, None)
            _line("tailcall-audit --tree", run(audit, 5), floor, grep)
            _line("tailcall-audit, no git binary", run(audit, 1, without_git), floor, grep)
    graph.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
