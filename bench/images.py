"""The kernel images that a benchmark measures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["given_images"]


def given_images(usage: str) -> list[str]:
    """Returns the images of the command line, or those of TAILCALL_AUDIT_LAB. Exits if there are none, or a name leads
    to no file. `usage` is what ``--help`` prints.
    """
    names = sys.argv[1:]
    if "-h" in names or "--help" in names:
        print(usage)
        sys.exit(0)
    for name in names:
        if not Path(name).is_file():
            sys.exit(f"{name}: no such option: name kernel images" if name[:1] == "-" else f"{name}: no such file")
    names = names or sorted(map(str, Path(os.environ.get("TAILCALL_AUDIT_LAB", ".")).glob("kernels/vmlinuz-*")))
    if not names:
        sys.exit("no kernel image: name some, or set TAILCALL_AUDIT_LAB")
    return names
