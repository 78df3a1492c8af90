"""The rules and the series as Prometheus' own promtool takes them, where Debian's package prometheus is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tailcall_audit.analyzer.formats.registry import find_format
from tests.contrib.test_contrib import CONTRIB
from tests.exposure.shapes import caller, filled
from tests.exposure.test_join import on
from tests.formats.examples import VIEW, whole


def promtool(*words: str, given: str = "") -> str:
    """What promtool prints, which must find no fault; skips where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine: install Debian's package prometheus")
    done = subprocess.run(
        [program, *words], input=given, capture_output=True, text=True, timeout=300, check=False, cwd=CONTRIB
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_valid_and_fire_as_their_tests_say() -> None:
    assert "7 rules found" in promtool("check", "rules", "prometheus/alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "prometheus/alerts.test.yml")


def test_a_rule_without_its_condition_fails_its_test(tmp_path: Path) -> None:
    """What promtool is asked does decide: a rule that never fires is not taken for a good one."""
    rules = (CONTRIB / "prometheus/alerts.yml").read_text()
    assert "tailcall_audit_programs_hit == 1" in rules
    (tmp_path / "alerts.yml").write_text(rules.replace("programs_hit == 1", "programs_hit == 2"))
    shutil.copy(CONTRIB / "prometheus/alerts.test.yml", tmp_path)
    with pytest.raises(AssertionError, match="TailcallProgramsHit"):
        promtool("test", "rules", str(tmp_path / "alerts.test.yml"))


@pytest.mark.parametrize("programs", [False, True], ids=["kernels", "programs"])
def test_the_series_are_written_as_promtool_wants_them(programs: bool) -> None:
    report = on(filled(caller(2)), "6.1.170", only=("x86-hierarchy",)) if programs else whole()
    text = find_format("prometheus").render(report, VIEW)
    assert ("tailcall_audit_programs_hit" in text) is programs
    assert promtool("check", "metrics", given=text) == ""
