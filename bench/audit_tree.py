"""Audits a repository whose v6.1 is not mainline's: ``python -m bench.audit_tree CATALOG ARGUMENT…``.

The catalogue has the id of mainline's v6.1, but the repository of the bench has another commit there. `CATALOG` is the
shipped file without the ids of tags. It is read like the shipped one, without the validation of a user's file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog import load

__all__ = ["catalog_without_ids"]


def catalog_without_ids(target: Path) -> Path:
    """Writes the shipped catalogue without the ids of mainline's tags, and returns its path."""
    data = json.loads(Path(load.default_catalog_path()).read_bytes())
    for branch in data["branches"]["entries"].values():
        branch.pop("mainline", None)
    target.write_text(json.dumps(data))
    return target


if __name__ == "__main__":
    given = sys.argv[1]
    load.default_catalog_path = lambda: given
    sys.exit(main(sys.argv[2:]))
