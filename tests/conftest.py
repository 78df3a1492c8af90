"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tailcall_audit.analyzer.catalog import load
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Branch, Catalog
from tailcall_audit.analyzer.gates.settings import SETTINGS
from tests.durations import times_by_folder
from tests.mutants import IN_5_10, IN_6_1, lacking

# No test fails because the machine is busy: neither an example nor making it has a time.
_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", _BUSY)
# A run of CI tries the same examples each time: what it says of a commit does not depend on luck. bench.fuzz looks for new ones.
settings.register_profile("ci", _BUSY, derandomize=True)
settings.load_profile(os.environ.get("TAILCALL_AUDIT_TEST_PROFILE", "patient"))

# A run behind `&` or nohup ignores these signals, and all that it starts would inherit that.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The shipped catalogue."""
    return load_catalog()


@pytest.fixture(scope="session")
def lab() -> Path:
    """The research material, which the project itself never reads."""
    path = os.environ.get("TAILCALL_AUDIT_LAB")
    if not path or not Path(path).is_dir():
        pytest.skip(
            "a comparison with the research material, of which TAILCALL_AUDIT_LAB names no folder; other tests check the same on data that is here"
        )
    return Path(path)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Ends a run with the time of the tests by folder, and the tests that skipped, counted by their reason."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    for line in times_by_folder(report for report in reports if isinstance(report, pytest.TestReport)):
        terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in skipped)
    if reasons:
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{len(skipped)} tests skipped:")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"  {count:4} x {reason}")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return str(text).removeprefix("Skipped: ")


@pytest.fixture(autouse=True, scope="session")
def _no_surveys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the surveys and settings of the user who runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in ("SETTINGS", *(item.variable.removeprefix("TAILCALL_AUDIT_") for item in SETTINGS)):
            patch.delenv(f"TAILCALL_AUDIT_{name}", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _ids_of_small_histories() -> Iterator[None]:
    """Takes mainline's ids of tags out of the catalogue: the histories that tests write have a v6.1 of their own.

    Tests of the ids give a catalogue with theirs.
    """
    original = load._branch

    def without_id(name: str, data: dict[str, Any]) -> Branch:
        return original(name, data)._replace(mainline=None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_branch", without_id)
        yield


@pytest.fixture(scope="session")
def without_rounding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian's 5.10.218 without the fix of pitfall 2 (ff672c67ee76), an ELF file."""
    with lacking(IN_5_10, "rounds-no-count-offset", tmp_path_factory.mktemp("5.10")) as path:
        yield path


@pytest.fixture(scope="session")
def without_null_check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian's 6.1.170 without the fix of pitfall 5 (f7866c358733), an ELF file."""
    with lacking(IN_6_1, "follows-dst-prog-unchecked", tmp_path_factory.mktemp("6.1")) as path:
        yield path
