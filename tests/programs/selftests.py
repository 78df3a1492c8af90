"""The kernel's own selftests of tail calls, of Debian's linux-source packages, built with this machine's clang.

Nothing of them is committed: the sources are fetched and unpacked into the cache of the tests, and built there. The
types of vmlinux.h are those of a Debian kernel, as bpftool writes them.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.kernelfiles.elf import Elf
from tests.kernels import cache_directory, locked, package_file
from tests.mutants import IN_7_3, debian_image
from tests.programs.compiled import include

SERIES = ("6.12", "7.3")
_FOLDER = "tools/testing/selftests/bpf"
PROGS = f"{_FOLDER}/progs"
_PATTERNS = (f"{PROGS}/*.c", f"{PROGS}/*.h", f"{_FOLDER}/*.h", f"{_FOLDER}/prog_tests/*.c", "tools/lib/bpf/*.[ch]")
_OPTIONS = ("-g", "-O2", "-mcpu=v3", "-D__TARGET_ARCH_x86", "-D__x86_64__", "-D__LP64__", "-Wno-everything")


class Selftests(NamedTuple):
    """The selftests of one kernel: where its sources are, the objects by the name of their source without ".c", and
    why the others could not be built: what clang said first.
    """

    sources: Path
    objects: dict[str, Path]
    failed: dict[str, str]


def sources(series: str) -> Path:
    """Returns the folder with the sources of the selftests of a kernel series; skips where the mirror has none."""
    package = package_file(f"linux-source-{series}")
    version = package.name.split("_")[1].replace("%3a", ":")
    target = cache_directory() / f"selftests-{version}"
    with locked(target.name):
        if not (target / ".complete").is_file():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            patterns = " ".join(f"'linux-source-*/{path}'" for path in _PATTERNS)
            script = (
                f"dpkg-deb --fsys-tarfile {package} | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | tar -xJ -C {target}"
                f" --strip-components=1 --anchored --wildcards --no-wildcards-match-slash {patterns}"
            )
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=900, check=False)
            if not (target / PROGS / "tailcall1.c").is_file():
                pytest.skip(f"the selftests of {package.name} could not be unpacked: {done.stderr.strip()[-200:]}")
            (target / ".complete").touch()
    return target


def _vmlinux_h() -> Path:
    """Returns the folder of a vmlinux.h with the types of Debian's 7.3; skips without bpftool."""
    target = cache_directory() / "vmlinux-h"
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("no bpftool on this machine: install bpftool to write the types that the selftests include")
    image = debian_image(IN_7_3)
    with locked(target.name):
        if not (target / "vmlinux.h").is_file():
            target.mkdir(exist_ok=True)
            types = Elf(unpack(image.read_bytes(), image.name).data).content(".BTF")
            assert types is not None
            (target / "vmlinux.btf").write_bytes(types)
            command = [bpftool, "btf", "dump", "file", str(target / "vmlinux.btf"), "format", "c"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                pytest.skip(f"bpftool could not write vmlinux.h: {done.stderr.strip()[-200:]}")
            (target / "vmlinux.h").write_text(done.stdout)
    return target


def is_about_tail_calls(name: str) -> bool:
    """Returns True for the selftests of the issue: tail calls, subprograms in them, programs that replace others."""
    return name.startswith(("tailcall", "freplace_")) or name == "tc_bpf2bpf"


@functools.cache
def selftests(series: str) -> Selftests:
    """Builds the selftests of tail calls of a kernel series; skips without clang, libbpf, bpftool or a mirror."""
    options = (*_OPTIONS, *include())
    folder = sources(series)
    types = _vmlinux_h()
    made = folder / "objects"
    objects: dict[str, Path] = {}
    failed: dict[str, str] = {}
    with locked(f"{folder.name}-objects"):
        made.mkdir(exist_ok=True)
        for source in sorted((folder / PROGS).glob("*.c")):
            name = source.stem
            if not is_about_tail_calls(name):
                continue
            path, log = made / f"{name}.bpf.o", made / f"{name}.log"
            if not path.is_file() and not log.is_file():
                _build(source, path, log, (*options, "-I", str(types), "-I", str(folder / _FOLDER)))
            if path.is_file():
                objects[name] = path
            else:
                failed[name] = log.read_text()
    return Selftests(folder, objects, failed)


def _build(source: Path, path: Path, log: Path, options: tuple[str, ...]) -> None:
    part = path.with_suffix(".part")
    command = ["clang", "-target", "bpfel", *options, "-c", str(source), "-o", str(part)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 0:
        part.rename(path)
    else:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        log.write_text(errors[0].rpartition("error: ")[2] if errors else done.stderr[-200:])
