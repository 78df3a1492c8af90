"""A kernel configuration as a subject."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.kconfig import read_config
from tailcall_audit.analyzer.model import Confidence, TargetKind
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.analyzer.subjects.subject import Request, Subject, make_subject

__all__ = ["open_subjects"]


def open_subjects(request: Request, path: str) -> Iterator[Subject]:
    """Yields the kernel that a configuration belongs to; raises ConfigError if it cannot be read."""
    config = request.config or read_config(expanded(path), request.catalog)
    if config.release is None:
        note = f"{config.path} names no version: add the kernel's release string ({parameter('kernels')})"
    else:
        note = f"the version {config.release.version} is the one in the header of {config.path}"
    notes = [note]
    if config.foreign is not None and request.arch is None:
        # User-mode Linux (um) and the like: a kernel without the code of the audited architectures.
        notes.append(
            f"Linux/{config.foreign} is none of the architectures that are audited: it has the code of none of them"
        )
    yield make_subject(
        request,
        TargetKind.CONFIG,
        config.path,
        release=config.release,
        confidence=Confidence.MEDIUM,
        architecture=(config.architecture or config.foreign, config.path),
        config=config,
        notes=notes,
    )
