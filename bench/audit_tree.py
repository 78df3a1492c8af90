"""The audit of a repository whose v6.1 is not mainline's: ``python -m bench.audit_tree CATALOG ARGUMENT…``.

The catalogue knows mainline's commit of v6.1, and the repository of the bench has one of its own. `CATALOG` is the
shipped file without those ids; it is read as the shipped one is, without the validation that a user's file gets.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog import load

__all__ = ["catalog_without_ids"]


def catalog_without_ids(target: Path) -> Path:
    """Writes the shipped catalogue without mainline's ids of tags, and returns its path."""
    data = json.loads(Path(load.default_catalog_path()).read_bytes())
    for branch in data["branches"]["entries"].values():
        branch.pop("mainline", None)
    target.write_text(json.dumps(data))
    return target


if __name__ == "__main__":
    given = sys.argv[1]
    load.default_catalog_path = lambda: given
    sys.exit(main(sys.argv[2:]))
