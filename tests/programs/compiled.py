"""C sources built into BPF objects with clang and libbpf's headers, where these are installed."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest


@functools.cache
def include() -> tuple[str, ...]:
    """The options by which clang finds the kernel's headers of this machine; skips without clang or libbpf."""
    if shutil.which("clang") is None:
        pytest.skip("no clang on this machine: install clang to build BPF objects")
    if not Path("/usr/include/bpf/bpf_helpers.h").is_file():
        pytest.skip("no bpf/bpf_helpers.h on this machine: install libbpf-dev to build BPF objects")
    folders = sorted(Path("/usr/include").glob("*-linux-gnu"))
    return tuple(option for folder in folders for option in ("-idirafter", str(folder)))


def build(source: str, folder: Path, *options: str, target: str = "bpfel", name: str = "prog") -> Path:
    """Builds a C source into an object in a folder; returns its path."""
    path, made = folder / f"{name}.bpf.c", folder / f"{name}.bpf.o"
    path.write_text(source)
    command = [
        "clang",
        "-g",
        "-O2",
        "-mcpu=v3",
        "-target",
        target,
        *include(),
        *options,
        "-c",
        str(path),
        "-o",
        str(made),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return made
