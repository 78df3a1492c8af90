"""A current directory and an environment full of canaries; and controls that no other test has run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tailcall_audit.probes.kernel import programs

HOSTILE = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONSTARTUP": "startup.py",
    "PYTHONINSPECT": "1",
    "PYTHONUSERBASE": ".",
    "PYTHONPLATLIBDIR": ".",
    "PYTHONVERBOSE": "1",
    "LD_PRELOAD": "./canary.so",
    "LD_LIBRARY_PATH": ".",
    "LD_AUDIT": "./canary.so",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "BASH_ENV": "./canary.sh",
    "ENV": "./canary.sh",
    "GIT_DIR": "/nonexistent",
    "GIT_OBJECT_DIRECTORY": ".",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": ".",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.fsmonitor",
    "GIT_CONFIG_VALUE_0": "./canary.sh",
    "GIT_CONFIG_PARAMETERS": "'core.fsmonitor'='./canary.sh'",
    "GIT_CONFIG_GLOBAL": "./gitconfig",
    "GIT_EXTERNAL_DIFF": "./canary.sh",
    "GIT_PAGER": "./canary.sh",
    "GIT_SSH_COMMAND": "./canary.sh",
    "GIT_ASKPASS": "./canary.sh",
    "GIT_PROXY_COMMAND": "./canary.sh",
    "GIT_REPLACE_REF_BASE": "refs/heads/",
    "GIT_SHALLOW_FILE": "./shallow",
    "RPM_POPTEXEC_PATH": ".",
    "RPM_TRACE": "1",
    "QEMU_AUDIO_DRV": "wav",
    "QEMU_LD_PREFIX": ".",
    "QEMU_LOG": "all",
}


@pytest.fixture(autouse=True)
def _no_control_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control runs once for each process, and a process of the tests meets many played kernels."""
    monkeypatch.setattr(programs, "_healthy", set())


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory full of canaries, in an environment that points to them; returns the file that a canary
    makes.
    """
    folder = tmp_path / "hostile"
    folder.mkdir()
    ran = tmp_path / "RAN"
    for name in sys.stdlib_module_names:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write('python {name}\\n')\nraise SystemExit(7)\n")
    for name in ("git", "rpm", "unzstd", "qemu-system-x86_64", "gcc", "sh", "canary.sh", "git-rev-list", "git-fetch"):
        (folder / name).write_text(f"#!/bin/sh\necho program {name} >>{ran}\n")
        (folder / name).chmod(0o755)
    (folder / "gitconfig").write_text("[core]\n\tfsmonitor = ./canary.sh\n")
    # rpm expands these whatever it is asked, and its option parser replaces options by aliases of the user.
    (folder / ".rpmmacros").write_text(
        f"%_keyring %(echo macros >>{ran})x\n%_db_backend %(echo macros >>{ran})sqlite\n"
    )
    (folder / ".popt").write_text(
        f"rpm alias --qf --eval '%(echo popt >>{ran})' --queryformat\nrpm exec --dbpath canary.sh\n"
    )
    (folder / "macros").write_text(f"%_dbpath %(echo configdir >>{ran})\n")
    monkeypatch.chdir(folder)
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    for name in ("HOME", "XDG_CONFIG_HOME", "RPM_CONFIGDIR", "GIT_EXEC_PATH", "QEMU_MODULE_DIR", "PYTHONPATH"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("GIT_TRACE", str(ran))
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(ran))
    monkeypatch.setenv("PATH", f".::bin:{os.environ['PATH']}")
    return ran
