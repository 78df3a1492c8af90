"""Debian's Pythons of other architectures, fetched once and kept between runs."""

from __future__ import annotations

import functools

import pytest

from tailcall_audit.analyzer.live.pythons.roots import RootError
from tailcall_audit.analyzer.live.pythons.store import fetch_python, kept_python
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import GuestError, find_machine, find_qemu
from tests.kernels import cache_directory, locked

__all__ = ["cache", "needs"]


def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this tool keep what it fetches where the tests keep theirs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_directory() / "xdg"))


@functools.cache
def _why_not(machine: Machine, suite: str | None) -> str | None:
    with locked(f"python-{machine.architecture}"):
        if kept_python(machine) is None:
            try:
                fetch_python(machine, suite, lambda _: None)
            except RootError as error:
                return str(error)
    return None


def needs(architecture: str, suite: str | None = None) -> Machine:
    """Returns the machine of an architecture, with QEMU and a Python for it at hand, from a suite of Debian if one is
    named; skips where one is not to be had.
    """
    machine = find_machine(architecture)
    try:
        find_qemu(architecture)
    except GuestError as error:
        pytest.skip(str(error))
    reason = _why_not(machine, suite)
    if reason is not None:
        pytest.skip(f"no Python for guests of {architecture}: {reason.partition(';')[0]}")
    return machine
