"""Builds a small x86-64 kernel of Debian's sources with another compiler, to hold the emulator, a guest and the
catalogue against each other.

    python -m bench.compilers FOLDER [--series 6.12] [--version VERSION] [--compiler clang|gcc] [--thin-lto] [--jobs N]

Needs Debian's packages clang, lld and llvm (or gcc), make, flex, bison, bc, libelf-dev and pahole, about 4 GB in
FOLDER, and 10 to 60 minutes. The sources are those of the package linux-source-SERIES; options have their names of v6.9
and later. The build stays in FOLDER, so an interrupted run can continue. The last line of output names the kernel,
FOLDER/vmlinux-VERSION-COMPILER. Audit and boot it with

    tailcall-audit lab --emulate FOLDER/vmlinux-VERSION-COMPILER
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.kernels import package_file

_FRAGMENT = Path(__file__).with_suffix(".config")
_PROGRAMS = ("make", "flex", "bison", "bc", "pahole", "dpkg-deb", "xz")
_OF_COMPILER = {"clang": ("clang", "ld.lld", "llvm-ar", "llvm-objcopy"), "gcc": ("gcc", "ld", "objcopy")}
_THIN_LTO = "CONFIG_LTO_CLANG_THIN=y\n# CONFIG_LTO_NONE is not set\n"


class BuildError(Exception):
    """Raised if a kernel cannot be built; the message says what is missing."""


class Build(NamedTuple):
    """A build: the unpacked sources, the folder of the build, the compiler, and the number of parallel processes."""

    sources: Path
    output: Path
    compiler: str
    jobs: int

    def make(self, *words: str) -> None:
        """Runs the kernel's make; raises BuildError."""
        tools = ("LLVM=1",) if self.compiler == "clang" else ()
        command = ["make", "-s", f"-j{self.jobs}", f"O={self.output}", *tools, *words]
        _run(command, self.sources, f"make {' '.join(words)}")


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    print(what, flush=True)
    # KBUILD_BUILD_USER fixes the user name that the build records.
    if (
        subprocess.run(command, cwd=folder, check=False, env=os.environ | {"KBUILD_BUILD_USER": "bench"}).returncode
        != 0
    ):
        raise BuildError(f"{what} failed in {folder}")


def _check(compiler: str) -> None:
    missing = [name for name in (*_PROGRAMS, *_OF_COMPILER[compiler]) if shutil.which(name) is None]
    if missing:
        raise BuildError(
            f"not here: {', '.join(missing)}; apt-get install clang lld llvm make flex bison bc libelf-dev pahole xz-utils"
        )


def _unpack(package: Path, folder: Path) -> Path:
    """Returns the sources of a linux-source package, unpacked once."""
    kept = folder / f"source-{package.name.split('_')[1]}"
    if not kept.is_dir():
        part = kept.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        script = (
            'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/linux-source-*.tar.xz"'
            " | tar -xJ --strip-components=1"
        )
        _run(["bash", "-o", "pipefail", "-c", script, "unpack", str(package)], part, f"unpacking {package.name}")
        part.rename(kept)
    return kept


def _configure(build: Build, local_version: str, thin_lto: bool) -> None:
    """Merges the fragment into tinyconfig. Raises BuildError if one of its options does not take effect."""
    if (build.output / ".config").exists():
        return
    build.output.mkdir(parents=True, exist_ok=True)
    wanted = build.output / "wanted.config"
    text = _FRAGMENT.read_text(encoding="utf-8") + f'CONFIG_LOCALVERSION="{local_version}"\n'
    wanted.write_text(text + (_THIN_LTO if thin_lto else ""), encoding="utf-8")
    build.make("tinyconfig")
    config = build.output / ".config"
    merge = ["scripts/kconfig/merge_config.sh", "-m", "-O", str(build.output), str(config), str(wanted)]
    _run(merge, build.sources, "merging the configuration")
    build.make("olddefconfig")
    lines = set(config.read_text(encoding="utf-8").splitlines())
    lost = [
        line for line in wanted.read_text(encoding="utf-8").splitlines() if line.endswith("=y") and line not in lines
    ]
    if lost:
        config.unlink()
        raise BuildError(f"these options are not taken by {build.sources.name}: {', '.join(lost)}")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compilers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", default="6.12")
    parser.add_argument("--version")
    parser.add_argument("--compiler", choices=sorted(_OF_COMPILER), default="clang")
    parser.add_argument("--thin-lto", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Builds one kernel; returns 2 if it cannot be built."""
    given = _arguments(words)
    try:
        if given.thin_lto and given.compiler != "clang":
            raise BuildError("--thin-lto is clang's")
        _check(given.compiler)
        package = package_file(f"linux-source-{given.series}", given.version)
        version = package.name.split("_")[1]
        name = given.compiler + ("-thinlto" if given.thin_lto else "")
        folder = given.folder.resolve()
        build = Build(_unpack(package, folder), folder / f"build-{version}-{name}", given.compiler, given.jobs)
        _configure(build, f"-{name}", given.thin_lto)
        build.make("vmlinux")
        built = folder / f"vmlinux-{version}-{name}"
        strip = "llvm-objcopy" if given.compiler == "clang" else "objcopy"
        _run([strip, "--strip-debug", str(build.output / "vmlinux"), str(built)], folder, "stripping it")
    except (BuildError, OSError) as error:
        print(f"bench.compilers: {error}", file=sys.stderr)
        return 2
    print(built)
    return 0


if __name__ == "__main__":
    sys.exit(main())
