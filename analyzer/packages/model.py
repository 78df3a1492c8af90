"""What a package file says about the kernel in it."""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.model import AuditError

__all__ = ["KernelPackage", "PackageError"]


class PackageError(AuditError):
    """A file that is no package, a broken one, or one without a kernel."""


@dataclass(frozen=True)
class KernelPackage:
    """A kernel package: its names, and the files in it that matter.

    `changelog` and `config` are the decompressed contents with the names they have in the package, None where it has none;
    `image` is the name of the kernel image. `architecture` is the package's own word (``amd64``, ``all``).
    """

    path: str
    name: str
    version: str
    architecture: str
    source: str
    changelog: tuple[str, bytes] | None
    config: tuple[str, bytes] | None
    image: str | None
