"""zstd to make test data with: of the standard library, or its backport."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, compress
else:
    from backports.zstd import ZstdCompressor, compress

__all__ = ["ZstdCompressor", "compress"]
