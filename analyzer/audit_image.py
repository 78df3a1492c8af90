"""The audit of a kernel image: what the binary says of itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analyzer.evidence.config import KernelConfig
from analyzer.host import image_banner
from analyzer.model import AuditError, Bootable, TargetKind, TargetReport
from analyzer.release import parse_release
from analyzer.target import Target, identity_of

__all__ = ["audit_image"]


def audit_image(
    target: Target, name: str, config: KernelConfig | None, progress: Callable[[str], None]
) -> TargetReport:
    """Audit a kernel image; raises AuditError where it can't be read."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise AuditError(
            f"{path}: {'not a regular file' if path.exists() else 'no such file'}; give a kernel image, as vmlinuz"
        )
    progress(f"reading {path}")
    banner = image_banner(path)
    if banner is None:
        raise AuditError(f"{path}: not a bzImage: no version string in its header")
    release = parse_release(f"Linux version {banner}")
    architecture = target.architecture("x86_64", str(path))
    target.release_facts(release)
    speaks = target.speaks(config, release, architecture)
    report = target.report(
        path.name, TargetKind.IMAGE, identity_of(release, architecture, image=str(path)), config, speaks
    )
    return report._replace(bootable=Bootable(str(path)))
