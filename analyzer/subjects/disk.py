"""The kernels on an image of a disk."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.roots.disk import Unread, roots_of_disk
from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.model import Skipped
from tailcall_audit.analyzer.subjects.rootfs import subjects_of_root
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["open_subjects"]


def open_subjects(request: Request, name: str) -> Iterator[Subject | Skipped]:
    """Yields every kernel of a disk's file systems, and what of it cannot be read. A file system without a kernel is
    passed over if another has one.

    Raises RootError if none has one.
    """
    request.progress(f"reading {name}")
    errors: list[RootError] = []
    unread: list[Skipped] = []
    count = 0
    for root in roots_of_disk(name):
        if isinstance(root, Unread):
            unread.append(Skipped(root.label, str(root.error)))
            errors.insert(0, root.error)
            continue
        try:
            for item in subjects_of_root(request, root):
                count += 1
                yield item
        except RootError as error:
            errors.append(error)
    if not count:
        raise errors[0]
    yield from unread
