"""A kernel image as a subject: alone, in a package, or the one that the host runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, SeveralKernelsError, unpack
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError, KernelConfig, parse_config
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, NoKernelError, ReleaseError
from tailcall_audit.analyzer.kernelfiles.system_map import parse_system_map, read_system_map
from tailcall_audit.analyzer.model import Bootable, TargetKind
from tailcall_audit.analyzer.paths import check_file, expanded, is_file
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject

__all__ = ["OpenImage", "load_image", "open_subjects"]

_STUB = 1 << 20
"""Bytes: Debian ships a System.map of a line or two in place of the real one, which has megabytes."""


@dataclass(frozen=True)
class OpenImage:
    """An unpacked kernel image, and what it says it is.

    `form` names its wrappings, the outermost first. `config` is the configuration built into it (IKCONFIG), if any.
    """

    name: str
    binary: Binary
    form: tuple[str, ...]
    architecture: str | None
    banner: str
    release: KernelRelease
    config: KernelConfig | None
    notes: tuple[str, ...]


def load_image(
    data: bytes,
    name: str,
    progress: Callable[[str], None],
    system_map: Path | bytes | None = None,
    catalog: Catalog | None = None,
) -> OpenImage:
    """Unpacks a kernel image and reads its banner, by the distributions of `catalog` (None: the shipped one).

    Raises ImageError if it is none, or names no kernel.
    """
    progress(f"unpacking {name}")
    kernel = unpack(data, name)
    symbols = None
    notes: list[str] = []
    if system_map is not None:
        symbols = parse_system_map(system_map) if isinstance(system_map, bytes) else read_system_map(system_map)
        if not symbols:
            notes.append(
                f"{system_map if isinstance(system_map, Path) else 'System.map'}: no address of a function in it (some distributions install a stub): the image's own table is read"
            )
    binary = Binary(kernel, symbols or None)
    banner = binary.identify(name)
    try:
        release = parse_release(banner, catalog)
    except NoKernelError as error:
        raise ImageError(f"{name}: its banner names no kernel version: {banner[:120]!r}") from error
    except ReleaseError as error:
        raise SeveralKernelsError(f"{name}: which kernel it is is not known: {error}") from error
    config = None
    if (text := binary.config) is not None:
        try:
            config = parse_config(text, f"{name}:IKCONFIG", catalog)
        except ConfigError as error:
            notes.append(str(error))
    return OpenImage(name, binary, tuple(kernel.form), kernel.architecture, banner, release, config, tuple(notes))


def open_subjects(request: Request, name: str) -> Iterator[Subject]:
    """Yields the kernel of an image file; raises AuditError if it cannot be read."""
    path = expanded(name)
    check_file(path, "give a kernel image, as vmlinuz")
    bootable = Bootable(str(path))
    image = load_image(
        read_bootable(bootable), str(path), request.progress, _system_map(path, request.system_map), request.catalog
    )
    subject = make_subject(
        request,
        TargetKind.IMAGE,
        path.name,
        release=image.release,
        architecture=(image.architecture or image.release.architecture, str(path)),
        config=request.config or image.config,
        parts=Parts(image=image),
        notes=image.notes,
        image=str(path),
        banner=image.banner,
    )
    yield subject._replace(bootable=bootable)


def _system_map(image: Path, named: str | None) -> Path | None:
    """Returns the System.map given, or the one beside the image under the same release."""
    if named is not None:
        path = expanded(named)
        check_file(path, "give the System.map of the same build")
        return path
    _, dash, release = image.name.partition("-")
    # Only where the names say that they belong together: addresses of another build would lead into the middle of nowhere.
    beside = image.with_name(f"System.map-{release}")
    return beside if dash and is_file(beside) and beside.stat().st_size > _STUB else None
