"""Configurations and the top-level Makefile."""

from __future__ import annotations

import gzip

from hypothesis import strategies as st

from tests.repositories import makefile
from tests.strategies.case import Case
from tests.strategies.mutate import mutated

__all__ = ["CONFIGS", "MAKEFILES", "config_cases", "makefile_cases"]

_OPTIONS = st.sampled_from(
    ("BPF_SYSCALL", "BPF_JIT", "X86_64", "ARM64", "64BIT", "CC_VERSION_TEXT", "LOCALVERSION", "X")
)
_VALUES = st.sampled_from(("y", "m", "n", '"-amd64"', "0x10", "-1", '"a\\"b"', "", "y # z", '"unclosed'))
_HEADERS = st.sampled_from(
    (
        "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.170 Kernel Configuration\n#\n",
        "# Linux/arm64 5.10.0-30 Kernel Configuration\n",
        "",
    )
)


@st.composite
def _config(draw: st.DrawFn) -> bytes:
    lines = [draw(_HEADERS)]
    for _ in range(draw(st.integers(0, 12))):
        option = draw(_OPTIONS)
        lines.append(draw(st.sampled_from((f"CONFIG_{option}={draw(_VALUES)}", f"# CONFIG_{option} is not set"))))
    return "\n".join(lines).encode() + b"\n"


@st.composite
def _versions(draw: st.DrawFn) -> bytes:
    extra = draw(st.sampled_from(("", "-rc1", "-next", "-x y")))
    return makefile(f"{draw(st.integers(2, 8))}.{draw(st.integers(0, 20))}.{draw(st.integers(0, 300))}{extra}")


CONFIGS, MAKEFILES = _config(), _versions()


@st.composite
def config_cases(draw: st.DrawFn) -> Case:
    """A configuration, now and then compressed."""
    data = draw(mutated(CONFIGS, (b"CONFIG_", b"=y\n", b" is not set\n", b"# Linux/x86 ")))
    return {"config": gzip.compress(data, 1) if draw(st.integers(0, 9)) == 0 else data}


def makefile_cases() -> st.SearchStrategy[Case]:
    """A Makefile in a folder with what a kernel tree has beside it."""
    words = (b"VERSION = ", b"PATCHLEVEL = ", b"$(shell id)", b"\\\n", b"EXTRAVERSION = ", b"define x\n", b"endef\n")
    return mutated(MAKEFILES, words).map(
        lambda data: {"Makefile": data, "Kbuild": b"", "Kconfig": b"", "kernel/x": b""}
    )
