"""Names of architectures, as kernels, distributions and users spell them."""

from __future__ import annotations

import re

from tailcall_audit.analyzer.errors import did_you_mean

__all__ = [
    "ARCHITECTURES",
    "MACHINE",
    "UnknownArchitectureError",
    "architecture_of_config",
    "architecture_of_options",
    "normalize_architecture",
    "spellings",
    "without_rpm_architecture",
]

_NAMES: dict[str, tuple[str, ...]] = {
    "x86_64": ("x86-64", "amd64", "x64", "em64t", "intel64"),
    "i386": ("i486", "i586", "i686", "x86", "686", "686-pae", "ia32"),
    "arm64": ("aarch64", "armv8", "armv8l", "arm64-16k"),
    "arm": ("armhf", "armel", "armv6l", "armv7l", "armv7", "armmp", "armmp-lpae"),
    "riscv64": ("riscv", "rv64"),
    "s390x": ("s390", "zseries"),
    "powerpc64": ("ppc64", "ppc64le", "ppc64el", "powerpc64le", "powerpc64-le"),
    "powerpc32": ("ppc", "ppc32", "powerpc"),
    "loongarch64": ("loongarch", "loong64", "la64"),
    "mips64": ("mips64el", "mips64le"),
    "mips": ("mipsel", "mips32"),
    "sparc64": ("sparc",),
    "parisc64": ("parisc", "hppa", "hppa64"),
    "arc": (),
    # The kernel has no BPF JIT for these, but distributions build packages for them (Debian's ports).
    "alpha": (),
    "ia64": ("itanium",),
    "m68k": (),
    "sh": ("sh3", "sh4"),
}
ARCHITECTURES = tuple(_NAMES)
MACHINE = r"x86_64|aarch64|riscv64|s390x|ppc64le|ppc64|loongarch64|i[3-6]86|armv[67]l|armv8l"
"""A regular expression that matches the names printed by ``uname -m``."""
_RPM_ARCHITECTURE = re.compile(r"\.(?:x86_64|aarch64|s390x|ppc64le|noarch|i686)$")
_LOOKUP = {alias: name for name, aliases in _NAMES.items() for alias in (name, *aliases)}


class UnknownArchitectureError(ValueError):
    """Raised for a name that is not a kernel architecture."""


def normalize_architecture(text: str) -> str:
    """Returns this tool's name of an architecture. Raises UnknownArchitectureError."""
    name = _LOOKUP.get(text.strip().lower())
    if name is None:
        meant = did_you_mean(text, _LOOKUP)
        raise UnknownArchitectureError(f"unknown architecture {text!r}; known are {', '.join(ARCHITECTURES)}{meant}")
    return name


def spellings() -> tuple[str, ...]:
    """Returns every spelling of an architecture's name."""
    return tuple(_LOOKUP)


def without_rpm_architecture(text: str) -> str:
    """Returns the version of an RPM without its architecture suffix: ``5.14.0-427.el9`` for
    ``5.14.0-427.el9.x86_64``.
    """
    return _RPM_ARCHITECTURE.sub("", text)


def architecture_of_config(header: str, options: dict[str, str]) -> str | None:
    """Returns the architecture of a ``.config``, from the name in its header (``x86`` in ``Linux/x86``) and its word
    size.
    """
    wide = options.get("64BIT") == "y"
    if header in ("x86", "x86_64", "i386"):
        return "x86_64" if options.get("X86_64") == "y" or wide or header == "x86_64" else "i386"
    if header == "powerpc":
        return "powerpc64" if options.get("PPC64") == "y" or wide else "powerpc32"
    if header in ("mips", "sparc", "parisc"):
        return {"mips": "mips64", "sparc": "sparc64", "parisc": "parisc64"}[header] if wide else _LOOKUP.get(header)
    return _LOOKUP.get(header)


_BY_OPTION = ("X86", "ARM64", "ARM", "RISCV", "S390", "PPC", "LOONGARCH", "MIPS", "SPARC", "PARISC", "ARC")


def architecture_of_options(options: dict[str, str]) -> str | None:
    """Returns the architecture of a ``.config`` without a header, from the option that names it (``CONFIG_S390=y``)."""
    if options.get("UML") == "y":
        return None
    for name in _BY_OPTION:
        if options.get(name) == "y" or (name == "X86" and options.get("X86_64") == "y"):
            return architecture_of_config("powerpc" if name == "PPC" else name.lower(), options)
    return None
