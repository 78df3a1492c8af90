"""Every probe, in the order in which they run. A module of this folder with a `PROBE` is found: a new probe is one
file.
"""

from __future__ import annotations

import os

from tailcall_audit.probes.probe import Probe

__all__ = ["PROBES"]


def _found() -> tuple[Probe, ...]:
    # Neither pkgutil nor importlib is loaded: each takes a tenth of a second in an emulated guest. A guest has .pyc files.
    names = {name.partition(".")[0] for folder in __path__ for name in os.listdir(folder)} - {"__init__", "__pycache__"}
    modules = [__import__(f"{__name__}.{name}", fromlist=["PROBE"]) for name in sorted(names)]
    # A module that several probes share has none.
    probes: list[Probe] = [module.PROBE for module in modules if hasattr(module, "PROBE")]
    # What can end a guest runs last, and what does end it after that.
    return tuple(sorted(probes, key=lambda probe: (probe.hazard is not None, bool(probe.panics_in))))


PROBES = _found()
