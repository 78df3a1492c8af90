"""Builds a small kernel of Debian's sources with another compiler, or for an architecture whose kernels Debian builds
otherwise, to hold the emulator, a guest and the catalogue against each other.

    python -m bench.compilers FOLDER [--series 6.12] [--version VERSION] [--compiler clang|gcc] [--clang 16]
                                     [--thin-lto] [--jobs N]
    python -m bench.compilers FOLDER --architecture s390x|loongarch64 --compiler gcc [--without DEFECT…]
    python -m bench.compilers FOLDER --architecture riscv64 --clang 19 [--with DEFECT…]

Needs Debian's packages clang, lld and llvm (or gcc, or a cross compiler), make, flex, bison, bc, libelf-dev, pahole and
cpio, about 4 GB in FOLDER, and 10 to 60 minutes. The sources are those of the package linux-source-SERIES; options have
their names of v6.9 and later. The build stays in FOLDER, so an interrupted run can continue. Debian's s390x has no JIT,
because it is built for older processors; this kernel has one. Its riscv64 has no kCFI, because it is built with gcc;
this kernel has it, and takes clang 17 or newer. `--without` undoes the fixes of defects in the sources first, `--with`
applies them where the sources lack them, and both put the sources back afterwards. The last line of output names the
kernel. Audit and boot it with

    tailcall-audit lab --emulate FOLDER/KERNEL
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

from bench.source_changes import ChangeError, changed
from tests.kernels import package_file

_FRAGMENT = Path(__file__).with_suffix(".config")
_PROGRAMS = ("make", "flex", "bison", "bc", "pahole", "dpkg-deb", "xz")
_OF_COMPILER = {"clang": ("clang", "ld.lld", "llvm-ar", "llvm-objcopy"), "gcc": ("gcc", "ld", "objcopy")}
_PACKAGES = "clang lld llvm make flex bison bc libelf-dev pahole xz-utils gcc-s390x-linux-gnu gcc-loongarch64-linux-gnu"
_THIN_LTO = "CONFIG_LTO_CLANG_THIN=y\n# CONFIG_LTO_NONE is not set\n"


_RENAMED = {"CONFIG_CFI_CLANG=y": "CONFIG_CFI=y"}
"""Options by the names of v6.9, and what .config of a later kernel calls them: Linux kernel commit 23ef9d439769 ("kcfi:
Rename CONFIG_CFI_CLANG to CONFIG_CFI") (in v6.18).
"""


class BuildError(Exception):
    """Raised if a kernel cannot be built; the message says what is missing."""


class Architecture(NamedTuple):
    """An architecture: the kernel's name of it, the prefix of the cross compiler, what make builds, that file, and the
    compilers that build it.
    """

    name: str
    cross: str
    target: str
    file: str
    compilers: tuple[str, ...] = ("gcc",)


_ARCHITECTURES = {
    "x86_64": Architecture("x86_64", "", "vmlinux", "vmlinux", ("clang", "gcc")),
    "riscv64": Architecture("riscv", "riscv64-linux-gnu-", "Image", "arch/riscv/boot/Image", ("clang",)),
    "s390x": Architecture("s390", "s390x-linux-gnu-", "bzImage", "arch/s390/boot/bzImage"),
    "loongarch64": Architecture(
        "loongarch", "loongarch64-linux-gnu-", "vmlinux.efi", "arch/loongarch/boot/vmlinux.efi"
    ),
}


class Build(NamedTuple):
    """A build: the unpacked sources, the folder of the build, the compiler, the architecture, the number of parallel
    processes, and the version of clang (empty: the default one).
    """

    sources: Path
    output: Path
    compiler: str
    architecture: str
    jobs: int
    clang: str = ""

    def make(self, *words: str) -> None:
        """Runs the kernel's make; raises BuildError."""
        architecture = _ARCHITECTURES[self.architecture]
        llvm = f"-{self.clang}" if self.clang else "1"
        tools = f"LLVM={llvm}" if self.compiler == "clang" else f"CROSS_COMPILE={architecture.cross}"
        command = ["make", "-s", f"-j{self.jobs}", f"O={self.output}", f"ARCH={architecture.name}", tools, *words]
        _run(command, self.sources, f"make {' '.join(words)}")


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    print(what, flush=True)
    # KBUILD_BUILD_USER fixes the user name that the build records.
    if (
        subprocess.run(command, cwd=folder, check=False, env=os.environ | {"KBUILD_BUILD_USER": "bench"}).returncode
        != 0
    ):
        raise BuildError(f"{what} failed in {folder}")


def _check(compiler: str, architecture: str, clang: str) -> None:
    cross = "" if compiler == "clang" else _ARCHITECTURES[architecture].cross
    suffix = f"-{clang}" if compiler == "clang" and clang else ""
    programs = (*_PROGRAMS, *(f"{cross}{name}{suffix}" for name in _OF_COMPILER[compiler]))
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise BuildError(f"not here: {', '.join(missing)}; apt-get install {_PACKAGES}")


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
    """Merges the fragment into tinyconfig, unless that was done with the same fragment. Raises BuildError if one of its
    options does not take effect.
    """
    done = build.output / "configured"
    wanted = build.output / "wanted.config"
    of_architecture = _FRAGMENT.with_suffix(f".{build.architecture}.config")
    text = "".join(path.read_text(encoding="utf-8") for path in (_FRAGMENT, of_architecture))
    text += f'CONFIG_LOCALVERSION="{local_version}"\n' + (_THIN_LTO if thin_lto else "")
    if done.exists() and wanted.read_text(encoding="utf-8") == text:
        return
    build.output.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    wanted.write_text(text, encoding="utf-8")
    build.make("tinyconfig")
    config = build.output / ".config"
    merge = ["scripts/kconfig/merge_config.sh", "-m", "-O", str(build.output), str(config), str(wanted)]
    _run(merge, build.sources, "merging the configuration")
    build.make("olddefconfig")
    lines = set(config.read_text(encoding="utf-8").splitlines())
    lost = [
        line
        for line in wanted.read_text(encoding="utf-8").splitlines()
        if line.endswith("=y") and not lines & {line, _RENAMED.get(line, line)}
    ]
    if lost:
        raise BuildError(f"these options are not taken by {build.sources.name}: {', '.join(lost)}")
    done.touch()


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compilers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", default="6.12")
    parser.add_argument("--version")
    parser.add_argument("--compiler", choices=sorted(_OF_COMPILER), default="clang")
    parser.add_argument("--clang", metavar="VERSION", default="", help="of several versions of clang, this one")
    parser.add_argument("--architecture", choices=sorted(_ARCHITECTURES), default="x86_64")
    parser.add_argument("--without", metavar="DEFECT", action="append", default=[], help="undo the fix of a defect")
    parser.add_argument("--with", dest="fixes", metavar="DEFECT", action="append", default=[], help="fix a defect")
    parser.add_argument("--thin-lto", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(words)


def _build(given: argparse.Namespace) -> Path:
    """Builds a kernel and returns its path; raises BuildError, ChangeError or OSError."""
    architecture = _ARCHITECTURES[given.architecture]
    if given.compiler not in architecture.compilers:
        raise BuildError(f"{given.architecture} is built with --compiler {' or '.join(architecture.compilers)}")
    if (given.thin_lto or given.clang) and given.compiler != "clang":
        raise BuildError("--thin-lto and --clang are for --compiler clang")
    _check(given.compiler, given.architecture, given.clang)
    package = package_file(f"linux-source-{given.series}", given.version)
    version = package.name.split("_")[1]
    name = given.compiler + given.clang + ("-thinlto" if given.thin_lto else "")
    name += "" if given.architecture == "x86_64" else f"-{given.architecture}"
    folder: Path = given.folder.resolve()
    sources = _unpack(package, folder)
    build = Build(
        sources, folder / f"build-{version}-{name}", given.compiler, given.architecture, given.jobs, given.clang
    )
    _configure(build, f"-{name}", given.thin_lto)
    with changed(sources, given.without, given.fixes, given.architecture):
        build.make(architecture.target)
    changes = (*(f"no-{slug}" for slug in given.without), *(f"fixed-{slug}" for slug in given.fixes))
    built = folder / "-".join((Path(architecture.file).name, version, name, *changes))
    if architecture.target == "vmlinux":
        suffix = f"-{given.clang}" if given.clang else ""
        strip = f"llvm-objcopy{suffix}" if given.compiler == "clang" else "objcopy"
        _run([strip, "--strip-debug", str(build.output / "vmlinux"), str(built)], folder, "stripping it")
    else:
        shutil.copyfile(build.output / architecture.file, built)
    return built


def main(words: Sequence[str] | None = None) -> int:
    """Builds one kernel; returns 2 if it cannot be built."""
    try:
        print(_build(_arguments(words)))
    except (BuildError, ChangeError, OSError) as error:
        print(f"bench.compilers: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
