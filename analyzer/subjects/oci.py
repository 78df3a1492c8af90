"""The kernels in container images: those of bootable containers, and of images that systems are made of."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.roots.oci import roots_of_images
from tailcall_audit.analyzer.model import Skipped
from tailcall_audit.analyzer.subjects.rootfs import subjects_of_root
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["open_subjects"]


def open_subjects(request: Request, name: str) -> Iterator[Subject | Skipped]:
    """Yields every kernel of the images in an archive or a folder; raises RootError if one has none."""
    request.progress(f"reading {name}")
    for root in roots_of_images(name):
        yield from subjects_of_root(request, root)
