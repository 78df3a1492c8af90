"""The kernels that are installed on a host as subjects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.installed import installed_kernels
from tailcall_audit.analyzer.model import AuditError, Skipped
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["open_subjects"]


def open_subjects(request: Request, _: str) -> Iterator[Subject | Skipped]:
    """Yields every installed kernel, the running one marked; raises AuditError if there is none."""
    from tailcall_audit.analyzer.subjects.host import read_host
    from tailcall_audit.analyzer.subjects.package import subject_of_package

    root = Path(request.root)
    running = read_host(root, request.catalog).release
    packages = installed_kernels(root)
    if not packages:
        raise AuditError("no kernel package is installed here; audit the running kernel itself")
    for package in packages:
        request.progress(f"reading {package.name}")
        runs = package.release == running.release and (running.package in (None, package.version))
        try:
            subject = subject_of_package(request._replace(config=None), package)
        except AuditError as error:
            yield Skipped(f"{package.name} {package.version}", str(error))
        else:
            yield subject._replace(is_running=runs)
