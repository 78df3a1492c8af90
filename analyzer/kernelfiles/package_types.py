"""The facts of a package file about the kernel in it."""

from __future__ import annotations

from dataclasses import dataclass

from tailcall_audit.analyzer.model import AuditError, Bootable

__all__ = ["KernelPackage", "MetapackageError", "NotInstalledError", "PackageError"]


class PackageError(AuditError):
    """A file that is no package, a broken one, or one without a kernel."""


class NotInstalledError(PackageError):
    """A name that is neither a file nor an installed kernel. Its distribution may publish a package of this name."""


class MetapackageError(PackageError):
    """A package without a kernel that depends on the one with it: `needs`, of exactly this `version` if one is given."""

    def __init__(self, path: str, name: str, needs: str, version: str | None) -> None:
        exact = "" if version is None else f" ({version})"
        super().__init__(
            f"{path}: {name} is a metapackage: audit {needs}{exact}, which it depends on and which is neither"
            " beside it nor installed"
        )
        self.name = name
        self.needs = needs
        self.version = version


@dataclass(frozen=True)
class KernelPackage:
    """A kernel package: its names, and the files in it that matter.

    `changelog` and `config` are the decompressed contents with their names in the package, None if it has none; `image`
    is the name of the kernel image. `architecture` is the package's own word (``amd64``, ``all``). `via` names the
    metapackage that led to this package, `release` the ``uname -r`` of the booted kernel, if it is known. `is_file`
    says that `path` is the package file itself.
    """

    path: str
    name: str
    version: str
    architecture: str
    source: str
    changelog: tuple[str, bytes] | None
    config: tuple[str, bytes] | None
    image: str | None
    via: str | None = None
    release: str | None = None
    is_rpm: bool = False
    is_file: bool = False

    @property
    def bootable(self) -> Bootable | None:
        """The place of the image, in the package file or installed. None if the package has no image, or if only an
        index was read.
        """
        if self.image is None:
            return None
        if self.is_file:
            return Bootable(self.path, self.image)
        return Bootable(f"/{self.image}")
