"""What a guest gets of a root file system, without the interpreter being run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tailcall_audit.analyzer.live.pythons.choose import check_root, choose
from tailcall_audit.analyzer.live.pythons.roots import RootError, open_root
from tailcall_audit.probes.guest.interpreter import loaded_by_a_guest
from tailcall_audit.probes.guest.machines import MACHINES, Machine
from tests.live.pythons.programs import library, program

BY_NAME = {machine.architecture: machine for machine in MACHINES}
RUNNING = f"python3.{sys.version_info[1]}"


def root(folder: Path, machine: Machine, python: str = RUNNING) -> Path:
    """A root file system with a Python of a machine: programs of a few bytes, which name what they need."""
    files: dict[str, bytes] = {
        f"usr/bin/{python}": program(machine, "/lib/ld.so.1", ["libz.so.1", "libc.so.6"]),
        f"usr/lib/{python}/os.py": b"import sys\n",
        f"usr/lib/{python}/struct.py": b"from _struct import *\n",
        f"usr/lib/{python}/ctypes/__init__.py": b"import os as _os\nfrom _ctypes import CFuncPtr\nimport extra\n",
        f"usr/lib/{python}/extra.py": b"def f():\n    import lazy\n",
        f"usr/lib/{python}/lazy.py": b"",
        f"usr/lib/{python}/lib-dynload/_ctypes.cpython-x.so": library(machine, ["libffi.so.8", "libc.so.6"]),
        "usr/lib/ld.so.1": library(machine, []),
        "usr/lib/any-linux-gnu/libc.so.6": library(machine, []),
        "usr/local/lib/libz.so.1.2": library(machine, ["libc.so.6"]),
        "usr/lib/any-linux-gnu/libffi.so.8": library(machine, ["libc.so.6"]),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "usr/local/lib/libz.so.1").symlink_to("libz.so.1.2")
    return folder


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.architecture)
def test_the_libraries_that_are_named_come_along(machine: Machine, tmp_path: Path) -> None:
    chosen = choose(open_root(root(tmp_path, machine)), machine, loaded_by_a_guest())
    places = set(chosen.contents)
    assert f"/usr/bin/{RUNNING}" in places
    # The dynamic linker is where the program names it, though no link /lib is there.
    assert "/lib/ld.so.1" in places
    # What the dynamic linker would not look for is put beside the C library.
    assert {f"/usr/lib/any-linux-gnu/{name}" for name in ("libc.so.6", "libffi.so.8", "libz.so.1")} <= places
    assert f"/usr/lib/{RUNNING}/lib-dynload/_ctypes.cpython-x.so" in places
    assert f"/usr/lib/{RUNNING}/struct.pyc" in places
    assert "/tailcall-audit/tailcall_audit/probes/guest/first_process.pyc" in places
    assert chosen.contents["/init"] == f"/usr/bin/{RUNNING}".encode()
    assert chosen.contents["/tailcall-audit/start"].startswith(importlib.util.MAGIC_NUMBER)


def test_a_python_of_another_version_gets_sources_and_what_they_import(tmp_path: Path) -> None:
    other = "python3.99"
    machine = BY_NAME["s390x"]
    chosen = choose(open_root(root(tmp_path, machine, other)), machine, loaded_by_a_guest())
    assert chosen.version == (3, 99)
    assert f"/usr/lib/{other}/ctypes/__init__.py" in chosen.contents
    # The running Python loads no such module: it is found by the source.
    assert f"/usr/lib/{other}/extra.py" in chosen.contents
    assert f"/usr/lib/{other}/lazy.py" not in chosen.contents
    assert not [place for place in chosen.contents if place.endswith(".pyc")]
    assert b"first_process import main" in chosen.contents["/tailcall-audit/start"]


def test_a_root_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = root(tmp_path, BY_NAME["arm64"])
    with pytest.raises(RootError, match=f"its usr/bin/{RUNNING} is no program for s390x"):
        choose(open_root(path), BY_NAME["s390x"], loaded_by_a_guest())


def test_an_old_python_none_and_a_missing_library_are_named(tmp_path: Path) -> None:
    machine = BY_NAME["arm64"]
    old = root(tmp_path / "old", machine, "python3.9")
    with pytest.raises(RootError, match=r"its Python is 3\.9, and the probes need 3\.11 or newer"):
        choose(open_root(old), machine, loaded_by_a_guest())
    (tmp_path / "empty").mkdir()
    with pytest.raises(RootError, match="no Python 3 in it"):
        choose(open_root(tmp_path / "empty"), machine, loaded_by_a_guest())
    without = root(tmp_path / "without", machine)
    (without / "usr/lib/any-linux-gnu/libffi.so.8").unlink()
    with pytest.raises(RootError, match=r"_ctypes\.cpython-x\.so needs libffi\.so\.8, which is not in it"):
        choose(open_root(without), machine, loaded_by_a_guest())


def test_a_broken_program_is_an_error_and_no_crash(tmp_path: Path) -> None:
    machine = BY_NAME["riscv64"]
    path = root(tmp_path, machine)
    python = path / "usr/bin" / RUNNING
    python.write_bytes(python.read_bytes()[:70])
    with pytest.raises(RootError):
        choose(open_root(path), machine, loaded_by_a_guest())


def test_a_root_is_checked_for_any_architecture_before_a_kernel_is_read(tmp_path: Path) -> None:
    for machine in MACHINES:
        check_root(root(tmp_path / machine.architecture, machine))
    with pytest.raises(RootError, match=r"its Python is 3\.9"):
        check_root(root(tmp_path / "old", MACHINES[0], "python3.9"))
    with pytest.raises(RootError, match="/nowhere: no such file"):
        check_root(tmp_path / "nowhere")
    for name, data in (("empty", b""), ("text.tar", b"no archive\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RootError, match=f"/{name}: no root file system in a tar archive, or a broken one: "):
            check_root(tmp_path / name)
