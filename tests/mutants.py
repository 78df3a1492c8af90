"""Debian's kernels as image files, and kernels made of them that lack a fix, for tests of images and guests.

The images come from the research material where it is set, else from a package of the machine's Debian mirror; what
lacks a fix is made at test time by `bench.mutation`, so that no kernel that was built elsewhere is needed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.mutation.jumps import flips
from bench.mutation.subject import Mutation, MutationError, Subject
from bench.mutation.undo import UNDONE, Undone
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import Bootable
from tests.kernels import cache_directory, locked, package_file

__all__ = [
    "CASES",
    "FLIPS",
    "IN_5_10",
    "IN_6_1",
    "IN_6_1_192",
    "IN_6_12",
    "IN_7_3",
    "MISBEHAVING",
    "Case",
    "Flip",
    "debian_image",
    "flipped",
    "lacking",
    "lacking_image",
    "mutation",
    "named_image",
    "small_image",
    "subject",
    "undone",
]

IN_5_10 = "vmlinuz-5.10.0-30-cloud-amd64"
IN_6_1 = "vmlinuz-6.1.0-47-cloud-amd64"
IN_6_1_192 = "vmlinuz-6.1.0-56-cloud-amd64"
IN_6_12 = "vmlinuz-6.12.117+deb13-cloud-amd64"
IN_7_3 = "vmlinuz-7.3.4+deb13-cloud-amd64"
_PACKAGES = {
    IN_5_10: ("linux-image-5.10.0-30-cloud-amd64-unsigned", "5.10.218-1"),
    IN_6_1: ("linux-image-6.1.0-47-cloud-amd64-unsigned", "6.1.170-3"),
    IN_6_1_192: ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    IN_6_12: ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
    IN_7_3: ("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
}


class Case(NamedTuple):
    """A kernel, and what is taken out of it. `shows` says that a guest shows the defect: it does not where another fix
    is in the way.
    """

    image: str
    lacks: str
    shows: bool = True

    def __str__(self) -> str:
        return f"{self.image.removeprefix('vmlinuz-').partition('-')[0]}-{self.lacks}"


_TRAMPOLINE = (
    "trampoline-tests-no-flag",
    "trampoline-restores-no-count-1",
    "trampoline-restores-no-count-2",
    "attach-sets-no-flag",
    "update-keeps-no-flag",
)
_EXTENDED = (
    "put-takes-an-extended-program",
    "put-counts-nothing",
    "attach-takes-a-tail-callee",
    "attach-marks-nothing",
)
CASES = (
    Case(IN_5_10, "rounds-no-count-offset"),
    Case(IN_6_1, "resolves-no-extension-type"),
    Case(IN_6_1, "rounds-no-count-offset"),
    *(Case(IN_6_1, lacks) for lacks in _TRAMPOLINE),
    Case(IN_6_1, "follows-dst-prog-unchecked"),
    Case(IN_6_1, "takes-no-saved-type"),
    Case(IN_6_12, "resolves-no-extension-type"),
    # Behind the fix of pitfall 4 a lost count is a lost pointer: the guest's kernel oopses in the program.
    *(Case(IN_6_12, lacks, shows=False) for lacks in _TRAMPOLINE),
    Case(IN_6_12, "hands-the-count-down-by-value"),
    # The fix of pitfall 6 keeps every freplace program out of a prog array.
    Case(IN_6_12, "follows-dst-prog-unchecked", shows=False),
    Case(IN_6_12, "takes-no-saved-type", shows=False),
    *(Case(IN_6_12, lacks) for lacks in _EXTENDED),
)
"""Every fix that can be taken out of a Debian kernel, and every place of one."""


class Flip(NamedTuple):
    """A jump that is turned around: the kernel, the commit whose defect a guest then shows, the function, the jump's
    offset in it, the change, and what no longer holds.
    """

    image: str
    commit: str
    function: str
    offset: int
    change: str
    lacks: str

    def __str__(self) -> str:
        release = self.image.removeprefix("vmlinuz-").partition("-")[0]
        return f"{release}-{self.function}+{self.offset:#x}-{self.change.replace(' ', '-')}"


_JIT, _TRAMPOLINE_MAKER = "do_jit", "arch_prepare_bpf_trampoline"
_OFFSET, _TRACED = "ff672c67ee76", "2b5dcb31a19a"
FLIPS = (
    Flip(IN_5_10, _OFFSET, _JIT, 0x1E3, "je never", "r13 is saved only if it is used"),
    Flip(IN_5_10, _OFFSET, _JIT, 0x1F7, "je never", "r14 is saved only if it is used"),
    Flip(IN_5_10, _OFFSET, _JIT, 0x20B, "je never", "r15 is saved only if it is used"),
    Flip(IN_5_10, _OFFSET, _JIT, 0x1155, "je always", "a direct tail call gives the stack back"),
    Flip(IN_5_10, _OFFSET, _JIT, 0x1707, "je never", "a constant is stored with its own width"),
    Flip(IN_6_1_192, _OFFSET, _JIT, 0x241, "je never", "r15 is saved only if it is used"),
    Flip(IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x104, "jne never", "the trampoline stores the count"),
    Flip(IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x1FA, "jne never", "it calls what it traces"),
    Flip(IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x28C, "jne always", "it returns a value only if it has kept one"),
    Flip(
        IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x2AB, "je never", "it skips its caller's frame only if it is asked to"
    ),
    Flip(IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x2AB, "je always", "it skips its caller's frame if it is asked to"),
    Flip(IN_6_1_192, _TRACED, _TRAMPOLINE_MAKER, 0x856, "jne never", "it calls what it traces"),
)
"""What the mutation lab found on 2026-11-26: guests show the defect, and the shapes of the fix are all there."""
_CHECK, _TYPE = "__bpf_prog_map_compatible", "1c123c567fb1"
MISBEHAVING = (
    Flip(IN_6_12, _TYPE, _CHECK, 0x6D, "je never", "what the check compares"),
    Flip(IN_6_12, _TYPE, _CHECK, 0x77, "je always", "what the check compares"),
    Flip(IN_6_12, _TYPE, _CHECK, 0xBA, "je never", "what the check compares"),
    Flip(IN_6_12, _TYPE, _CHECK, 0x11D, "jne always", "what the check compares"),
    Flip(IN_6_12, _TYPE, _CHECK, 0x12E, "jne always", "what the check compares"),
)
"""Guests of these show pitfall 1, and a control of the emulator fails: the check refuses what no kernel refuses."""


@functools.cache
def debian_image(name: str) -> Path:
    """A kernel image of Debian's by the name that it has in /boot; skips where neither the research material nor the
    mirror has it.
    """
    shared = Path(os.environ.get("TAILCALL_AUDIT_LAB") or "/nowhere") / "kernels" / name
    if shared.is_file():
        return shared
    kept = cache_directory() / "images" / name
    if kept.exists():
        return kept
    package = package_file(*_PACKAGES[name])
    with locked(f"image-{name}"):
        if not kept.exists():
            member = read_package(str(package)).image
            assert member is not None
            kept.parent.mkdir(exist_ok=True)
            part = kept.with_suffix(".part")
            part.write_bytes(read_bootable(Bootable(str(package), member)))
            part.rename(kept)
    return kept


_MADE = {
    "vmlinux-5.10.218-no-ff672c67ee76": (IN_5_10, "rounds-no-count-offset"),
    "vmlinux-6.1.170-no-f7866c358733": (IN_6_1, "follows-dst-prog-unchecked"),
}


def lacking_image(name: str) -> Path:
    """An ELF file that the documentation names: a kernel of Debian's without the fix in the name, made once and kept."""
    image, lacks = _MADE[name]
    kept = cache_directory() / "images" / name
    data = subject(image).mutant(mutation(image, lacks))
    with locked(f"image-{name}"):
        if not kept.exists() or kept.read_bytes() != data:
            kept.parent.mkdir(exist_ok=True)
            part = kept.with_suffix(".part")
            part.write_bytes(data)
            part.rename(kept)
    return kept


def named_image(name: str) -> Path:
    """An image of Debian's, or one of the research material that stands beside one made here for comparison; skips
    without it.
    """
    if name in _PACKAGES:
        return debian_image(name)
    shared = Path(os.environ.get("TAILCALL_AUDIT_LAB") or "/nowhere") / "kernels" / name
    if not shared.is_file():
        pytest.skip(
            f"{name} is in the research material only: a comparison; other tests make its like of Debian's kernels"
        )
    return shared


def small_image() -> Path:
    """A real image for tests in which only its form matters: the smallest at hand."""
    shared = Path(os.environ.get("TAILCALL_AUDIT_LAB") or "/nowhere") / "kernels/vmlinuz-5.10.218-lab-no-ff672c67ee76"
    return shared if shared.is_file() else debian_image(IN_5_10)


@functools.lru_cache(maxsize=2)
def subject(image: str) -> Subject:
    """A Debian kernel to make mutants of. The latest two are kept: each takes up to 100 MB."""
    return Subject.read(debian_image(image))


def undone(lacks: str) -> Undone:
    """The fix undone that goes by a name."""
    return next(item for item in UNDONE if item.lacks == lacks)


def mutation(image: str, lacks: str) -> Mutation:
    """What takes a fix out of a kernel; fails the test where the kernel has no such place."""
    try:
        return undone(lacks).make(subject(image))
    except MutationError as error:
        pytest.fail(f"{image}: {lacks}: {error}")


def flipped(flip: Flip) -> Mutation:
    """What turns a jump around; skips where the mirror has another build of the kernel."""
    kernel = subject(flip.image)
    function = kernel.functions([flip.function])[flip.function]
    for found in flips(kernel, function):
        if (found.address, found.undoes) == (function.address + flip.offset, flip.change):
            return found
    pytest.skip(f"{flip.image} has left the mirror: another build has no such jump at {flip.offset:#x}")


@contextmanager
def lacking(image: str, lacks: str, folder: Path) -> Iterator[Path]:
    """The ELF file of a kernel without a fix, or without one of its places; it has some 60 MB, and is gone afterwards."""
    path = folder / f"vmlinux-{lacks}"
    path.write_bytes(subject(image).mutant(mutation(image, lacks)))
    try:
        yield path
    finally:
        path.unlink()
