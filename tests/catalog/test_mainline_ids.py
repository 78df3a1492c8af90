"""Mainline's commits of the base releases, which tests of small histories do without."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tailcall_audit.analyzer.catalog.load import default_catalog_path


def test_the_shipped_catalogue_knows_mainlines_commits() -> None:
    """6.1's is named by the pull requests on top of it ("since commit 830b3c68c1fb…: Linux 6.1")."""
    entries = json.loads(Path(default_catalog_path()).read_bytes())["branches"]["entries"]
    known = {name: entry["mainline"] for name, entry in entries.items() if "mainline" in entry}
    assert known["6.1"] == "830b3c68c1fb1e9176028d02ef86f3cf76aa2476"
    assert {"5.10", "5.15", "6.1", "6.6", "6.12"} <= known.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", value) for value in known.values())
    assert len(set(known.values())) == len(known)
