"""No distribution and no architecture is named in the code that reads, weighs or decides: those facts are in the
catalogue.

`EXCEPTIONS` are the files whose formats are named after one, `WORDS` what is no distribution or architecture where it
stands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tailcall_audit.analyzer.architecture import spellings
from tailcall_audit.analyzer.catalog.load import shipped_catalog

_ANALYZER = Path(__file__).resolve().parent.parent / "analyzer"
_ELSEWHERE = ("app/", "catalog/", "emulator/", "formats/", "live/", "architecture.py")
"""What decides nothing: help texts, the loading of the facts, a file an architecture, and the spellings themselves."""

EXCEPTIONS = {
    "kernelfiles/changelog": "grammars have the names of those who write them, as the catalogue's `grammar` has",
    "readers/code/x86_64": "the matchers of one architecture",
    "kernelfiles/elf.py": "the machine numbers of ELF",
    "kernelfiles/containers.py": "kernels in the containers that an architecture defines (Linux Documentation/arch)",
    "kernelfiles/binary.py": "the layout of an arm64 Image, which is no ELF file",
    "kernelfiles/deb.py": "names of packages, which say that a kernel is in one and not whose",
    "kernelfiles/rpm.py": "names of packages, which say that a kernel is in one and not whose",
    "kernelfiles/release/number.py": "words of uname(1), and names of files in front of a release",
}
"""Files and folders that may name one, with the reason."""
WORDS = {
    r"debian/(?:changelog|patches|control|rules|source)|a debian/ folder": "files of a source package (dpkg-source(1))",
    r"changelog\.Debian|debian-binary|Debian package|a module of debian": "files and words of deb(5)",
    r"^debian(?:\.\w+)?$|debian_errors": "the library that reads deb822(5)",
    r"linux-image-amd64=": "an example of NAME=VERSION in a message",
    r"aarch64_insn_copy": "a function of the kernel",
    r"SUSE's kernel-source|--distro suse": "a message that says how this one repository is unpacked",
}
"""Expressions for what may stand in any file, with the reason."""
_COMMON = frozenset(("builds", "trees", "user", "cloud", "home", "assistant", "rebuilds", "development", "its", "that"))
"""Words of the distributions' titles that mean other things as well."""
_SHORT = 4
"""Letters below which a spelling is a word of something else too (``arc``, ``sh``, ``x86`` of ``arch/x86``)."""


@cache
def _names() -> re.Pattern[str]:
    """Returns an expression for every name of the catalogue's distributions and of an architecture."""
    distributions = shipped_catalog().distributions
    words = {word.lower() for entry in distributions for word in re.findall(r"[A-Z]\w+", entry.title)}
    words |= {name for entry in distributions for name in (entry.name, *entry.ids)}
    words -= {
        "linux",
        "os",
        "enterprise",
        "lts",
        "or",
        "self-built",
        "cloud",
        "red",
        "hat",
        "arch",
        "clear",
        "void",
        "ol",
    }
    names = {word for word in words if len(word) >= _SHORT} | {word for word in spellings() if len(word) >= _SHORT}
    longest_first = sorted(names - _COMMON, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![a-z0-9])", re.IGNORECASE)


def _documentation(tree: ast.AST) -> set[int]:
    """Returns the identities of the strings that stand alone: docstrings, and what says what a constant means."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def names_in(source: str) -> Iterator[tuple[int, str, str]]:
    """Yields what code names in strings and identifiers: the line, the name, and the text that it stands in."""
    tree = ast.parse(source)
    passed_over = _documentation(tree)
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Constant) and id(node) not in passed_over:
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)
        elif isinstance(node, ast.Name):
            text = node.id
        elif isinstance(node, ast.Attribute):
            text = node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias):
            text = node.name
        plain = text
        for words in WORDS:
            plain = re.sub(words, "", plain)
        for match in _names().finditer(plain.replace("_", " ") if isinstance(node, ast.Name) else plain):
            yield getattr(node, "lineno", 0), match.group(), text


def _files() -> Iterator[Path]:
    for path in sorted(_ANALYZER.rglob("*.py")):
        if not path.relative_to(_ANALYZER).as_posix().startswith(_ELSEWHERE):
            yield path


def _excused(path: Path) -> str | None:
    inside = path.relative_to(_ANALYZER).as_posix()
    return next((entry for entry in EXCEPTIONS if inside == entry or inside.startswith(f"{entry}/")), None)


def test_no_code_names_a_distribution_or_an_architecture() -> None:
    files = list(_files())
    assert len(files) > 250
    found = [
        f"{path.relative_to(_ANALYZER)}:{line}: {name} in {text[:80]!r}"
        for path in files
        if _excused(path) is None
        for line, name, text in names_in(path.read_text("utf-8"))
    ]
    assert found == []


def test_every_exception_is_needed() -> None:
    used = {_excused(path) for path in _files() if any(names_in(path.read_text("utf-8")))}
    assert used - {None} == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "line",
    [
        "_MARKS = (('debian.master/', 'ubuntu'),)",
        "if release.distro == 'rhel': pass",
        "if image.architecture == 'x86_64': pass",
        "_UBUNTU_SIGNATURE = 1",
        "x = Family.SUSE",
        "message = b'for Proxmox only'",
        "from x import arm64",
    ],
)
def test_a_name_is_seen(line: str) -> None:
    assert list(names_in(line))


@pytest.mark.parametrize(
    "line", ["place = 'arch/x86/net/bpf_jit_comp.c'", "path = 'debian/patches/series'", "arch = 1"]
)
def test_what_is_no_name_is_passed_over(line: str) -> None:
    assert not list(names_in(line))
