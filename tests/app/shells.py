"""The command line as a shell runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOOL = f"{sys.executable} -m tailcall_audit"
ROOT = Path(__file__).resolve().parents[2]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line of bash in the checkout, with additional variables in its environment."""
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        encoding="utf-8",
        errors="surrogateescape",
    )
