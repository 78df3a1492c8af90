"""Architecture names."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.architecture import (
    UnknownArchitectureError,
    architecture_of_config,
    normalize_architecture,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("amd64", "x86_64"),
        ("x86-64", "x86_64"),
        ("X86_64", "x86_64"),
        ("aarch64", "arm64"),
        ("ppc64le", "powerpc64"),
        ("ppc64el", "powerpc64"),
        ("s390", "s390x"),
        ("loong64", "loongarch64"),
        ("riscv", "riscv64"),
        ("i686", "i386"),
    ],
)
def test_spellings(name: str, expected: str) -> None:
    assert normalize_architecture(name) == expected


def test_an_unknown_one_is_an_error() -> None:
    with pytest.raises(UnknownArchitectureError, match="vax"):
        normalize_architecture("vax")


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("x86", {"X86_64": "y", "64BIT": "y"}, "x86_64"),
        ("x86", {"X86_32": "y"}, "i386"),
        ("x86_64", {}, "x86_64"),
        ("powerpc", {"PPC64": "y"}, "powerpc64"),
        ("powerpc", {}, "powerpc32"),
        ("riscv", {}, "riscv64"),
        ("arm64", {}, "arm64"),
        ("vax", {}, None),
    ],
)
def test_architecture_of_a_config(header: str, options: dict[str, str], expected: str | None) -> None:
    assert architecture_of_config(header, options) == expected
