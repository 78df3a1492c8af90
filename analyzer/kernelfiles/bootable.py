"""The kernel image of a target: a file, or inside a package file."""

from __future__ import annotations

import os
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
from tailcall_audit.analyzer.model import Bootable
from tailcall_audit.probes.reading import open_file

__all__ = ["read_bootable"]

_MAX_IMAGE = 512 << 20


def read_bootable(bootable: Bootable) -> bytes:
    """Returns the bytes of an image; raises PackageError."""
    path = Path(bootable.path)
    try:
        if bootable.member is None:
            with open_file(path) as file:
                # read(size) allocates this much memory before it reads.
                data = file.read(min(os.fstat(file.fileno()).st_size, _MAX_IMAGE) + 1)
            if len(data) > _MAX_IMAGE:
                raise PackageError(f"{path}: larger than {_MAX_IMAGE >> 20} MiB, which no kernel image is")
            return data
        from tailcall_audit.analyzer.kernelfiles.rpm import MAGIC, read_rpm_file

        with open_file(path) as file:
            is_rpm = file.read(4) == MAGIC
        if is_rpm:
            return read_rpm_file(path, bootable.member, _MAX_IMAGE)
        from tailcall_audit.analyzer.kernelfiles.deb import read_deb_file

        return read_deb_file(path, bootable.member, _MAX_IMAGE)
    except OSError as error:
        raise PackageError(f"{path}: cannot read: {error.strerror or error}") from error
