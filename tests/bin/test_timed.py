"""bin/timed.sh prints how long a part of CI took, and changes nothing else about it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_SCRIPT = Path(__file__).parents[2] / "bin/timed.sh"


def _bash(commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", f"set -eu; . {_SCRIPT}; {commands}"], capture_output=True, text=True, check=False
    )


def test_the_time_follows_what_the_part_prints() -> None:
    run = _bash("timed 'the types' printf '%s|' 'two words' ''; echo after")
    assert run.returncode == 0
    assert run.stdout == "two words||after\n"
    assert re.fullmatch(r"time: the types: \d+ s\n", run.stderr)


def test_a_part_that_fails_ends_the_script_with_its_exit_code() -> None:
    run = _bash("timed lint bash -c 'exit 7'; echo after")
    assert (run.returncode, run.stdout, run.stderr) == (7, "", "")


def test_what_a_sourced_part_sets_stays_set(tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text('venv="$1/.venv"\n')
    run = _bash(f"timed set-up . {tmp_path}/setup.sh /x; echo $venv")
    assert (run.returncode, run.stdout) == (0, "/x/.venv\n")
