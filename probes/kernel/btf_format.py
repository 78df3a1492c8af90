"""The constants of BTF, the kernel's type data, and its error: what the reader (`tailcall_audit.probes.kernel.btf`) and
the writer share. A guest loads the writer only.

The format is described in the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import sys

__all__ = [
    "ARRAY",
    "CONST",
    "DATASEC",
    "DECL_TAG",
    "ENUM",
    "ENUM64",
    "FLOAT",
    "FUNC",
    "FUNC_PROTO",
    "FWD",
    "GLOBAL",
    "HEADER",
    "HEADER_SIZE",
    "INT",
    "INT_SIGNED",
    "MAGIC",
    "NATIVE",
    "PTR",
    "RESTRICT",
    "STATIC",
    "STRUCT",
    "TYPEDEF",
    "TYPE_TAG",
    "UNION",
    "VAR",
    "VOLATILE",
    "BtfError",
]

MAGIC = 0xEB9F
HEADER = "HBBIIIII"
HEADER_SIZE = 24
NATIVE = "<" if sys.byteorder == "little" else ">"
(
    INT,
    PTR,
    ARRAY,
    STRUCT,
    UNION,
    ENUM,
    FWD,
    TYPEDEF,
    VOLATILE,
    CONST,
    RESTRICT,
    FUNC,
    FUNC_PROTO,
    VAR,
    DATASEC,
    FLOAT,
    DECL_TAG,
    TYPE_TAG,
    ENUM64,
) = range(1, 20)
STATIC, GLOBAL = 0, 1
"""Values of enum btf_func_linkage."""
INT_SIGNED = 1 << 24


class BtfError(ValueError):
    """Data that is not BTF, or broken BTF."""
