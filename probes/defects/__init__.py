"""All probes, in the order in which they run. Every module of this folder that has a `PROBE` is loaded, so a new probe
is one new file. It is named after its slug, so that a guest loads only the probes that it runs.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tailcall_audit.probes.probe import Probe

__all__ = ["PROBES", "load_probes"]

PROBES: tuple[Probe, ...]
"""All of them; loaded when they are first asked for."""


def load_probes(is_wanted: Callable[[str], bool] = lambda slug: True) -> tuple[Probe, ...]:
    """Returns the probes with these slugs, in the order in which they run."""
    # pkgutil and importlib are not used: each takes a tenth of a second in an emulated guest. A guest has .pyc files.
    names = {name.partition(".")[0] for folder in __path__ for name in os.listdir(folder)} - {"__init__", "__pycache__"}
    wanted = [name for name in sorted(names) if is_wanted(name.replace("_", "-"))]
    modules = [__import__(f"{__name__}.{name}", fromlist=["PROBE"]) for name in wanted]
    # Modules that several probes share have no PROBE.
    probes: list[Probe] = [module.PROBE for module in modules if hasattr(module, "PROBE")]
    # Probes that may end a guest run last, and after them those that panic the kernel.
    return tuple(sorted(probes, key=lambda probe: (probe.hazard is not None, bool(probe.panics_in or probe.faults_at))))


def __getattr__(name: str) -> tuple[Probe, ...]:
    if name != "PROBES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()["PROBES"] = load_probes()
    return found
