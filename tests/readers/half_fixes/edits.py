"""Edits of real sources, each anchored in one function (or struct) of one file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ARM64",
    "ARRAYMAP",
    "CORE",
    "LOONGARCH",
    "OWNER_CHECK",
    "POWERPC64",
    "RISCV64",
    "S390",
    "TRAMPOLINE",
    "VERIFIER",
    "X86",
    "X86_TRAMPOLINE",
    "Half",
    "edited",
    "on",
    "on_x86",
    "span",
]

CORE, VERIFIER, TRAMPOLINE, ARRAYMAP = (
    f"kernel/bpf/{name}.c" for name in ("core", "verifier", "trampoline", "arraymap")
)
X86 = "arch/x86/net/bpf_jit_comp.c"
S390 = "arch/s390/net/bpf_jit_comp.c"
ARM64 = "arch/arm64/net/bpf_jit_comp.c"
LOONGARCH = "arch/loongarch/net/bpf_jit.c"
POWERPC64 = "arch/powerpc/net/bpf_jit_comp64.c"
RISCV64 = "arch/riscv/net/bpf_jit_comp64.c"
OWNER_CHECK = "__bpf_prog_map_compatible"
X86_TRAMPOLINE = "__arch_prepare_bpf_trampoline"


class Half(NamedTuple):
    """One part of a fix. `old` is taken out of `function` and `new` stands in its place."""

    slug: str
    series: str
    architecture: str
    part: str
    path: str
    function: str
    old: str
    new: str


def on(architecture: str, slug: str, series: str, rows: Iterable[tuple[str, str, str, str, str]]) -> list[Half]:
    """Returns the parts of a fix on one architecture; a row is part, path, function, old and new."""
    return [Half(slug, series, architecture, *row) for row in rows]


def on_x86(slug: str, series: str, rows: Iterable[tuple[str, str, str, str, str]]) -> list[Half]:
    """Returns the parts of a fix, audited for x86-64."""
    return on("x86_64", slug, series, rows)


def span(text: str, half: Half) -> tuple[int, int]:
    """Returns where the definition with a part of a fix begins and ends; raises ValueError if it does not have it any
    more.
    """
    name = re.escape(half.function)
    head = (
        rf"^{name}\s*\{{" if half.function.startswith("struct ") else rf"^[A-Za-z_][\w \t*\n]*\b{name}\([^;{{]*\)\n\{{"
    )
    match = re.search(head, text, re.MULTILINE)
    found = -1 if match is None else text.find(half.old, match.start())
    ends = [] if match is None else list(re.finditer(r"^\}", text[match.start() : found + 1], re.MULTILINE))
    # A macro's "})" at the margin is no end of a function.
    if match is None or found < 0 or len(ends) > 1:
        raise ValueError(f"{half.path}: {half.function} no longer has {half.old!r}")
    return match.start(), text.index("\n", text.index("\n}", found) + 1) + 1


def edited(text: str, half: Half) -> str:
    """Returns a file without one part of a fix; raises ValueError if the function does not have it any more."""
    start, end = span(text, half)
    return text[:start] + text[start:end].replace(half.old, half.new) + text[end:]
