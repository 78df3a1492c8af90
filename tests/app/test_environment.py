"""Faults of the environment, for each subcommand: a full disk, a closed output, an ASCII locale, a folder that takes
nothing.

Each is exit code 2 and one line on standard error; an ASCII locale is no fault: what it lacks has a stand-in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.probes.kernel.instructions import Insn
from tests.app.shells import TOOL, shell
from tests.fleet.test_rootfs import debian
from tests.fleet.volumes import physical_volume
from tests.programs.elf_writer import Elf
from tests.repositories import makefile
from tests.strategies.images import kernel

KERNEL = "--kernel 6.1.170 --arch x86_64"
CALLS = {
    "": KERNEL,
    "json": f"{KERNEL} --json",
    "jsonl": f"{KERNEL} --format jsonl",
    "nodes": "--nodes {nodes}",
    "list": "list",
    "explain": "explain 6",
    "diff": "diff {report} {report}",
    "survey": "survey list",
    "completion": "completion bash",
    "survey json": "survey list --json",
    "catalog": "catalog docs --check",
    "catalog lint": "catalog lint --from {catalog} --format json",
    "plan": "plan --tree {tree} --arch x86_64 --only 6",
    "plan json": "plan --tree {tree} --arch x86_64 --only 6 --json",
    "lab": "lab {image} --only 6",
    "exposure": "exposure {object}",
    "exposure json": "exposure {object} --kernel 6.1.170 --arch x86_64 --json",
    "guest": "guest list",
    "rootfs": "--rootfs {root} --only 6 --format markdown",
    "disk": "--disk {disk} --only 6 --format csv",
}
"""A call of each subcommand that writes something."""
WITH_OUTPUT = ("", "json", "list", "explain", "nodes", "plan", "exposure", "survey", "diff", "rootfs", "lab")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "nodes").write_text("web-1 6.1.170\n")
    (folder / "report").write_text(run(f"{KERNEL} --json").stdout)
    (folder / "tree").mkdir()
    (folder / "tree/Makefile").write_bytes(makefile("6.1.170"))
    (folder / "image").write_bytes(kernel())
    (folder / "object").write_bytes(Elf().code("tc", [Insn(0xB7), Insn(0x95)], ("entry", 0, 2)).encode())
    (folder / "catalog").mkdir()
    debian(folder / "root")
    mke2fs = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if mke2fs is not None:
        image = folder / "ext4.img"
        command = [mke2fs, "-q", "-t", "ext4", "-d", str(folder / "root"), str(image), "8M"]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "disk").write_bytes(physical_volume({"root": image.read_bytes()}))
    return {path.name: str(path) for path in folder.iterdir()}


def call_of(name: str, files: dict[str, str]) -> str:
    if name == "disk" and "disk" not in files:
        pytest.skip("no mke2fs on this machine: install e2fsprogs")
    return CALLS[name].format(**files)


def run(call: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return shell(f"{TOOL} {call}", **environment)


def test_every_subcommand_is_called() -> None:
    assert {command.name for command in COMMANDS} <= CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_exit_2_and_one_line(name: str, where: str, files: dict[str, str]) -> None:
    done = run(f"{call_of(name, files)} {where}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tailcall-audit: standard output")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", CALLS)
def test_an_ascii_locale_has_a_stand_in_for_every_letter(name: str, files: dict[str, str]) -> None:
    done = run(call_of(name, files), LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0")
    assert done.returncode == run(call_of(name, files)).returncode
    assert done.stdout
    assert done.stdout.isascii()
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("name", WITH_OUTPUT)
@pytest.mark.parametrize("place", ["/proc/report", "/nonexistent/report", "/proc/version"])
def test_a_folder_that_takes_nothing_is_exit_2_and_one_line(name: str, place: str, files: dict[str, str]) -> None:
    done = run(f"{call_of(name, files)} --output {place}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tailcall-audit: --output {place}: cannot write: ")
    assert done.stderr.count("\n") == 1


def test_without_a_place_for_settings_and_caches_the_answer_is_the_same() -> None:
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "/proc")
    done = run(f"{KERNEL} --json", **nowhere)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["targets"][0]["name"] == "6.1.170"


def test_what_is_said_beside_a_report_is_not_in_it(tmp_path: Path) -> None:
    """A survey that is broken is named on standard error, and the JSON stays JSON."""
    folder = tmp_path / "tailcall-audit/surveys"
    folder.mkdir(parents=True)
    (folder / "stable.json").write_text("{")
    done = run(f"{KERNEL} --json", XDG_DATA_HOME=str(tmp_path))
    assert json.loads(done.stdout)["schema_version"] == 3
    assert done.stderr.startswith("tailcall-audit: a survey is left out: ")
