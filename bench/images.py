"""The kernel images that a benchmark measures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["given_images"]


def given_images() -> list[str]:
    """Returns the images of the command line, or those of TAILCALL_AUDIT_LAB. Exits if there are none."""
    names = sys.argv[1:] or sorted(map(str, Path(os.environ.get("TAILCALL_AUDIT_LAB", ".")).glob("kernels/vmlinuz-*")))
    if not names:
        sys.exit("no kernel image: name some, or set TAILCALL_AUDIT_LAB")
    return names
