"""All probes, in the order in which they run. Every module of this folder that has a `PROBE` is loaded, so a new probe
is one new file.
"""

from __future__ import annotations

import os

from tailcall_audit.probes.probe import Probe

__all__ = ["PROBES"]


def _found() -> tuple[Probe, ...]:
    # pkgutil and importlib are not used: each takes a tenth of a second in an emulated guest. A guest has .pyc files.
    names = {name.partition(".")[0] for folder in __path__ for name in os.listdir(folder)} - {"__init__", "__pycache__"}
    modules = [__import__(f"{__name__}.{name}", fromlist=["PROBE"]) for name in sorted(names)]
    # Modules that several probes share have no PROBE.
    probes: list[Probe] = [module.PROBE for module in modules if hasattr(module, "PROBE")]
    # Probes that may end a guest run last, and after them those that panic the kernel.
    return tuple(sorted(probes, key=lambda probe: (probe.hazard is not None, bool(probe.panics_in))))


PROBES = _found()
