"""Fetchers for tests, and copies made older."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tailcall_audit.analyzer.web.fetch import Fetcher


def fetcher(*, offline: bool = False, refresh: bool = False) -> Fetcher:
    return Fetcher(offline=offline, refresh=refresh, pause=0.01)


def age(tmp_path: Path, seconds: float) -> None:
    """Make every cached copy older."""
    for path in (tmp_path / "http").iterdir():
        _, head, body = path.read_bytes().split(b"\n", 2)
        meta = json.loads(head)
        meta["fetched"] -= seconds
        rest = json.dumps(meta).encode() + b"\n" + body
        path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
