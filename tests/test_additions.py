"""What is added as data or as one file works: a defect, a distribution, a format, a machine and a probe, in a copy of
the checkout.

Nothing but the new file, or the new row, differs from the checkout. A distribution is in tests/catalog/test_build.py, a
format in tests/app/test_commands.py too, as modules of the running process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.mutants import IN_6_12, debian_image
from tests.reports import whole_verdicts

ROOT = Path(__file__).parents[1]
DEFECT = """\
order: 900
title: An example that needs tail calls and has no fix
mechanism: None; it is made for a test.
consequence: None.
severity: low
detection: none
architectures: ['*']
config: BPF_SYSCALL
reachable: 04fd61ab36ec
"""
DISTRIBUTION = r"""
title: Example Linux
order: 86
follows: stable
patches: own
forms:
  - match: '-(?P<abi>\d+)\.ex\d+\.(?P<arch>x86_64|aarch64)'
    contains: ['.ex']
    proves: exact
    note: Example Linux builds the stable release
settle: tailcall-audit --package kernel-{release}   (on that host)
"""
FORMAT = "def render(report, view):\n    return report.targets[0].name.upper() + '\\n'\n"
PROBE = '''"""Loads nothing; says the release of the kernel that it runs in."""

import os

from tailcall_audit.probes.probe import PRESENT, Probe, Result

PROBE = Probe("example-defect", "nothing", lambda kernel: Result(PRESENT, f"seen in {os.uname().release}"))
'''
MACHINE = """MACHINES = (
    Machine(
        "x86_64",
        ("x86_64",),
        "qemu-of-an-example",
        ("-machine", "q35"),
        "max",
        "console=ttyS0 no_timer_check",
        "it is made by a test",
        (62, "little"),
        "amd64",
        results="ttyS1,4,65",
    ),
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a new defect, distribution, format, probe and row of a machine."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("analyzer", "probes", "catalog", "tailcall_audit"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "catalog/defects/example-defect.yaml").write_text(DEFECT)
    (root / "catalog/distributions/example.yaml").write_text(DISTRIBUTION)
    (root / "analyzer/formats/shout.py").write_text(FORMAT)
    (root / "probes/defects/example_defect.py").write_text(PROBE)
    machines = root / "probes/guest/machines.py"
    text = machines.read_text()
    machines.write_text(text.replace("MACHINES = (\n", MACHINE))
    assert machines.read_text() != text
    assert (
        run(root, "catalog", "build")
        == f"wrote {root}/commits.json\nwrote {root}/surveys.json\nwrote {root}/branches.json\n"
    )
    return root


def run(root: Path, *arguments: str, path: str = "", code: int = 0) -> str:
    """What the command of a checkout prints."""
    script = "import sys; from tailcall_audit.analyzer.app.main import main; sys.exit(main())"
    return python(root, script, *arguments, path=path, code=code)


def python(root: Path, script: str, *arguments: str, path: str = "", code: int = 0) -> str:
    """What a script prints that imports a checkout."""
    search = os.pathsep.join(filter(None, [path, os.environ["PATH"]]))
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=root,
        env={**os.environ, "PATH": search, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_copy_runs_its_own_code(checkout: Path) -> None:
    script = "import tailcall_audit.analyzer as package; print(package.__file__)"
    assert Path(python(checkout, script).strip()).resolve().is_relative_to(checkout.resolve())


def test_a_defect_is_one_file(checkout: Path) -> None:
    listed = json.loads(run(checkout, "list", "--json"))["defects"]
    assert "example-defect" in [item["defect"] for item in listed]
    report = json.loads(
        run(checkout, "--kernel", "6.1.170", "--arch", "x86_64", "--only", "example-defect", "--json", code=1)
    )
    assert [item["verdict"] for item in report["targets"][0]["verdicts"]] == ["affected"]
    report = json.loads(run(checkout, "--kernel", "4.1", "--arch", "x86_64", "--only", "example-defect", "--json"))
    assert [item["verdict"] for item in report["targets"][0]["verdicts"]] == ["not-affected"]


def test_a_distribution_is_one_file(checkout: Path) -> None:
    report = json.loads(run(checkout, "--kernel", "6.1.170-3.ex4.x86_64", "--only", "x86-hierarchy", "--json", code=1))
    assert report["targets"][0]["identity"]["distro"] == "example"


def test_a_format_is_one_file(checkout: Path) -> None:
    script = (
        "from tailcall_audit import audit; from tailcall_audit.analyzer.formats.registry import View, find_format;"
        "print(find_format('shout').render(audit(kernels=['6.1.170-lab'], arch='x86_64'), View()))"
    )
    assert python(checkout, script).strip() == "6.1.170-LAB"


@pytest.fixture(scope="module")
def guest(checkout: Path) -> tuple[str, str]:
    """What a guest of the new machine showed, and the options that its QEMU was started with."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("no qemu-system-x86_64 on this machine: install qemu-system-x86")
    # QEMU runs as a user that owns nothing: pytest's own folders are closed to it.
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "options"
        folder.chmod(0o755)
        log.touch()
        log.chmod(0o666)
        script = folder / "qemu-of-an-example"
        # Its first calls only ask for the version; the last is the guest's.
        script.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {qemu} "$@"\n')
        script.chmod(0o755)
        shown = run(
            checkout,
            *("--image", str(debian_image(IN_6_12)), "--no-emulation", "--confirm=vm", "--only", "example-defect"),
            *("--guest-timeout", "240"),
            "--json",
            path=name,
            code=1,
        )
        return shown, log.read_text()


def test_a_machine_is_one_row(guest: tuple[str, str]) -> None:
    _, options = guest
    assert "-machine q35" in options.splitlines()[-1]


def test_a_probe_is_one_file(guest: tuple[str, str]) -> None:
    shown, _ = guest
    (verdict,) = whole_verdicts(json.loads(shown))
    assert (verdict["defect"], verdict["observation"]["state"]) == ("example-defect", "present")
    assert verdict["observation"]["detail"] == "seen in 6.12.117+deb13-cloud-amd64"
