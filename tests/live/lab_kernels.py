"""The kernels of the lab, and what the catalogue says of each: the source for every expectation here.

Pitfalls 1 to 6 from "Verdicts by behaviour" of the research (tailcall_audit.probes.md), the others from "Source
signatures over the unpacked trees" (catalog.md) and, for 6.1.170, from the releases of their fixes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.kernels import package_file

__all__ = ["DEBIAN", "SHARED", "Kernel"]

_COMPATIBILITY = {
    "tailcall-compat-attach-func-proto",
    "tailcall-compat-expected-attach-type",
    "tailcall-cgroup-storage-oob",
}
_VERIFIER = {"tailcall-pkt-pointers", "tailcall-verifier-return-model"}
_CALLBACK = "tailcall-via-callback-subprog"
# Read in these sources (tests/readers/test_source.py), and seen when the probes were made.
_SLEEPS, _SLOT, _BEHIND, _DIRECT = (
    "tailcall-sleepable-callee",
    "x86-empty-slot-count",
    "tailcall-failed-pkt-pointers",
    "tailcall-direct-in-callback",
)
_IN_5_10 = {"freplace-tailcallee", "x86-trampoline-loop", "x86-hierarchy", _SLOT} | _COMPATIBILITY | _VERIFIER
_IN_6_1_170 = {
    "x86-hierarchy",
    "freplace-loop",
    "tailcall-cgroup-storage-bridge",
    _CALLBACK,
    _SLEEPS,
    _SLOT,
} | _VERIFIER


class Kernel(NamedTuple):
    """A kernel: its file (or the package that has it), the defects it has, and those that no probe can judge on it."""

    name: str
    present: set[str]
    unobserved: frozenset[str] = frozenset()

    def package(self) -> Path:
        """The Debian package of this name; skips where the mirror has it no longer."""
        package, _, version = self.name.partition("=")
        return package_file(package, version or None)


# 5.10 has no callbacks for a subprogram to hide in, compares no storages, so that there is nothing to bridge, and knows no sleepable
# kprobe programs.
_NOT_IN_5_10 = frozenset({_CALLBACK, _DIRECT, _SLEEPS, "tailcall-cgroup-storage-bridge"})

SHARED = (
    Kernel("vmlinuz-5.10.0-30-cloud-amd64", _IN_5_10, _NOT_IN_5_10),
    Kernel(
        "vmlinuz-5.10.218-lab-no-ff672c67ee76",
        _IN_5_10 | {"x86-count-offset"},
        _NOT_IN_5_10,
    ),
    Kernel("vmlinuz-6.1.0-47-cloud-amd64", _IN_6_1_170),
    Kernel(
        "vmlinuz-6.1.170-lab-no-f7866c358733",
        _IN_6_1_170 | {"freplace-attached-panic"},
        # The other half of pitfall 5 can't be looked for on a kernel that panics first.
        frozenset({"freplace-attached-refused"}),
    ),
    Kernel("vmlinuz-6.12.117+deb13-cloud-amd64", {"tailcall-verifier-return-model", _CALLBACK, _SLEEPS, _BEHIND}),
)
"""Those of the research."""

DEBIAN = (
    # The catalogue of the research has the bridge as fixed in 6.1.192 and infers that the fix is incomplete without 01793ed86b5d: it is.
    Kernel(
        "linux-image-6.1.0-56-cloud-amd64=6.1.192-2",
        {"x86-hierarchy", "tailcall-cgroup-storage-bridge", _CALLBACK, _SLEEPS, _SLOT} | _VERIFIER,
    ),
    Kernel(
        "linux-image-6.12.94+deb13-cloud-amd64=6.12.94-1",
        {"tailcall-verifier-return-model", _CALLBACK, "tailcall-cgroup-storage-bridge", _SLEEPS, _BEHIND},
    ),
    # The CNA has 4540aed51b12 in 6.17.3 and not in 6.16.y, abad3d0bad72 in 6.16.1, and 10627ddc0167 in neither.
    Kernel(
        "linux-image-6.16.12+deb13-cloud-amd64=6.16.12-1~bpo13+1",
        {
            "tailcall-compat-expected-attach-type",
            "tailcall-cgroup-storage-bridge",
            "tailcall-verifier-return-model",
            _CALLBACK,
            _SLEEPS,
            _BEHIND,
        },
    ),
    # e3245f899043 is in 6.18.2, 10627ddc0167 in 6.18.40.
    Kernel(
        "linux-image-6.18.5+deb13-cloud-amd64=6.18.5-1~bpo13+1",
        {"tailcall-cgroup-storage-bridge", _CALLBACK, _SLEEPS, _DIRECT},
    ),
    Kernel("linux-binary-7.2.13+deb14-cloud-amd64=7.2.13-1", {_CALLBACK}),
    Kernel("linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1", set()),
)
"""Those that apt offers; a version that has left the mirror skips."""
