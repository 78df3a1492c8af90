"""Runs the scenarios in a guest, and never here: what each of them returned, or the kernel's refusal."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import NamedTuple

from tests.first_process import boot

_FOLDER = "tailcall-audit/tailcall_audit/probes/defects"
_SCRIPT = """
import errno
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.defects.exposure_scenarios import SCENARIOS
for name, (slug, *twins) in SCENARIOS.items():
    for number, scenario in enumerate(twins):
        try:
            with Bpf() as kernel:
                found = (scenario(kernel), '', '')
        except BpfError as error:
            found = (None, errno.errorcode.get(error.errno, str(error.errno)), error.words)
        except BaseException as error:
            found = (None, type(error).__name__, str(error))
        os.write(line, (repr((name, number, *found)) + chr(10)).encode())
        libc.tcdrain(line)
"""


class Outcome(NamedTuple):
    """What a scenario returned (entries, or 1), or the error and the kernel's words."""

    value: int | None
    errno: str
    words: str


@functools.cache
def outcomes(image: Path) -> dict[tuple[str, bool], Outcome]:
    """Returns the outcomes of all scenarios on a kernel, by name, and True for the harmless twin; once for a session."""
    scenarios = Path(__file__).with_name("scenarios.py").read_bytes()
    answer = boot(image, _SCRIPT, [(f"{_FOLDER}/exposure_scenarios.py", scenarios)], seconds=600)
    found = {}
    for row in answer.written.decode("utf-8", "replace").splitlines():
        scenario, twin, *rest = ast.literal_eval(row)
        found[scenario, bool(twin)] = Outcome(*rest)
    assert found, answer.console
    return found
