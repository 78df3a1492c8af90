"""Reads the running kernel of a Linux host from a few files under /proc, /sys and /boot; changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError, KernelConfig, read_config
from tailcall_audit.analyzer.kernelfiles.places import config_places, image_places
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.schemes import find_signature
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import AuditError, Bootable, LivePatches, TargetKind
from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject
from tailcall_audit.probes.reading import open_file

__all__ = ["Host", "image_banner", "open_subjects", "read_host"]

_BUILD = re.compile(r" (#\d+ .*)$")
_MAX_TEXT = 1 << 16
_BANNER_POINTER = 0x20E
"""Offset of the pointer to the version string in the x86 boot header (Linux Documentation/arch/x86/boot.rst,
kernel_version).
"""


@dataclass(frozen=True)
class Host:
    """The running kernel, its configuration if one is found, the live patches that are loaded, the file of its image
    (if it can be read and is the build that runs) and the file of its type data. `config_applies` is True if the
    configuration belongs to this kernel.
    """

    release: KernelRelease
    config: KernelConfig | None
    config_applies: bool
    live_patches: tuple[str, ...]
    notes: tuple[str, ...]
    image: str | None = None
    btf: str | None = None


def _text(path: Path) -> str | None:
    try:
        with open_file(path) as file:
            return file.read(_MAX_TEXT).decode("utf-8", "replace").strip()
    except OSError:
        return None


def image_banner(path: Path) -> str | None:
    """Returns the version string in the header of an x86 bzImage: ``6.1.0-47-amd64 (…) #1 SMP … Debian 6.1.170-3
    (2026-05-08)``.
    """
    try:
        with open_file(path) as file:
            header = file.read(0x10000)
    except OSError:
        return None
    if header[0x202:0x206] != b"HdrS":
        return None
    start = int.from_bytes(header[_BANNER_POINTER : _BANNER_POINTER + 2], "little") + 0x200
    text = header[start : start + 512].split(b"\0", 1)[0]
    return text.decode("ascii", "replace") or None


def _same_build(banner: str, proc_version: str) -> bool:
    """Returns True if an image is the one that runs: it has the same release and the same build. These stand at the two
    ends of both strings.
    """
    release = banner.split(" ", 1)[0]
    build = _BUILD.search(banner)
    return (
        f"Linux version {release} " in proc_version
        and build is not None
        and proc_version.rstrip().endswith(build.group(1).rstrip())
    )


def _find_config(
    root: Path, release: str, proc_version: str, catalog: Catalog
) -> tuple[KernelConfig | None, bool, list[str]]:
    running = root / "proc/config.gz"
    if is_file(running):
        try:
            return read_config(running, catalog), True, []
        except ConfigError as error:
            return None, False, [str(error)]
    notes = []
    for path in (root / place for place in config_places(release)):
        if not is_file(path):
            continue
        try:
            config = read_config(path, catalog)
        except ConfigError as error:
            notes.append(str(error))
            continue
        image = next((place for place in _images(root, release) if is_file(place)), root / f"boot/vmlinuz-{release}")
        banner = image_banner(image)
        if banner is not None and _same_build(banner, proc_version):
            return config, True, notes
        why = (
            f"{image} cannot be read"
            if banner is None
            else f"{image} is another build than the running one: {banner[:120]}"
        )
        notes.append(f"{path} excludes nothing: {why}, so the file may be of another build")
        return config, False, notes
    return None, False, notes


def _images(root: Path, release: str) -> tuple[Path, ...]:
    return tuple(root / place for place in image_places(release))


def read_host(root: Path = Path("/"), catalog: Catalog | None = None) -> Host:
    """Reads the running kernel, by the distributions of `catalog` (None: the shipped one); `root` is for tests.

    Raises AuditError if there is no Linux under it.
    """
    catalog = catalog or shipped_catalog()
    proc_version = _text(root / "proc/version")
    if proc_version is None or not proc_version.startswith("Linux version "):
        raise AuditError(
            f"{root / 'proc/version'}: cannot be read, so the running kernel is not known; audit one by its release string, configuration or tree"
        )
    signature = _text(root / "proc/version_signature")
    signed = signature is not None and find_signature(catalog.distributions, signature) is not None
    line = f"{proc_version} {signature}" if signed else proc_version
    release = parse_release(line, catalog)
    if release.architecture is None and root == Path("/"):
        named = parse_release(f"{proc_version} {os.uname().machine}", catalog)
        release = release._replace(architecture=named.architecture)
    config, applies, notes = _find_config(root, proc_version.split()[2], proc_version, catalog)
    try:
        patches = tuple(sorted(entry.name for entry in (root / "sys/kernel/livepatch").iterdir()))
    except OSError:
        patches = ()
    if patches:
        notes.append(
            f"live patches are loaded ({', '.join(patches)}): what they change is not in the version, so nothing here is certain"
        )
    image = next(
        (
            str(path)
            for path in _images(root, proc_version.split()[2])
            if (banner := image_banner(path)) is not None and _same_build(banner, proc_version)
        ),
        None,
    )
    btf = root / "sys/kernel/btf/vmlinux"
    readable = os.access(btf, os.R_OK)
    return Host(release, config, applies, patches, tuple(notes), image, str(btf) if readable else None)


def open_subjects(request: Request, _: str) -> Iterator[Subject]:
    """Yields the running kernel, with its image where that can be read; raises AuditError if there is no Linux."""
    from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
    from tailcall_audit.analyzer.subjects.image import load_image

    request.progress("reading the running kernel")
    host = read_host(Path(request.root), request.catalog)
    parts = Parts(types=host.btf)
    notes = list(host.notes)
    if host.image is not None:
        try:
            image = load_image(
                read_bootable(Bootable(host.image)), host.image, request.progress, catalog=request.catalog
            )
        except AuditError as error:
            notes.append(str(error))
        else:
            parts = Parts(image=image)
            notes += image.notes
    subject = make_subject(
        request,
        TargetKind.HOST,
        "this host",
        release=host.release,
        architecture=(host.release.architecture, "this host"),
        config=host.config,
        config_is_of_this_build=host.config_applies,
        parts=parts,
        notes=notes,
        live_patches=", ".join(host.live_patches) or None,
    )
    bootable = None if host.image is None else Bootable(host.image)
    state = LivePatches.LOADED if host.live_patches else LivePatches.NONE
    yield subject._replace(live_patches=state, is_running=True, bootable=bootable)
