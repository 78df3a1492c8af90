"""The places that the Python of a guest comes from: the running one, the one that was named, or one that was fetched
and kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tailcall_audit.analyzer.live.pythons.choose import choose
from tailcall_audit.analyzer.live.pythons.fetch import fetch
from tailcall_audit.analyzer.live.pythons.roots import RootError, open_root
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import cache_folder
from tailcall_audit.probes.guest.archive import build_initramfs, keep_archive
from tailcall_audit.probes.guest.interpreter import InitramfsError, loaded_by_a_guest
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import is_native
from tailcall_audit.probes.private_folder import PrivateFolder

__all__ = ["fetch_python", "guest_archive", "kept_python"]

_MAX_KEPT = 256 << 20


def _folder() -> Path:
    return cache_folder() / "guest"


def _name(machine: Machine, digest: str) -> str:
    return f"python-{machine.architecture}-{digest}.tar"


def kept_python(machine: Machine) -> Path | None:
    """Returns the archive that was fetched for guests of this machine. None if there is none that belongs to this user
    and whose content has the digest in its name. Raises AuditError.
    """
    folder = PrivateFolder(_folder())
    start, end = _name(machine, "\0").split("\0")
    try:
        for name in folder.names():
            if not (name.startswith(start) and name.endswith(end)):
                continue
            data = folder.read(name, _MAX_KEPT)
            if data is not None and hashlib.sha256(data).hexdigest() == name[len(start) : -len(end)]:
                return _folder() / name
            folder.remove(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(f"{_folder()}: {error.strerror or error}") from error
    return None


def fetch_python(machine: Machine, suite: str | None, progress: Callable[[str], None]) -> tuple[Path, tuple[str, ...]]:
    """Fetches a Python for guests of this machine, from a suite if one is named, and keeps it in the cache; returns
    where, and its packages. Raises AuditError.
    """
    found = fetch(machine, suite, progress)
    name = _name(machine, hashlib.sha256(found.archive).hexdigest())
    folder = PrivateFolder(_folder())
    try:
        folder.write(name, found.archive)
        for other in folder.names():
            if other.startswith(f"python-{machine.architecture}-") and other != name:
                folder.remove(other)
    except OSError as error:
        raise AuditError(f"{_folder()}: cannot keep it there: {error.strerror or error}") from error
    return _folder() / name, found.packages


def guest_archive(machine: Machine, named: Path | None) -> Path:
    """Returns the archive that guests of this machine boot from; raises AuditError, which says how to get a Python for
    it where there is none.

    `named` is a root file system with a Python for it. Without one, guests of this host's architecture get the running
    Python.
    """
    try:
        if named is None and is_native(machine):
            return build_initramfs(_folder())
        source = named or kept_python(machine)
        if source is None:
            raise AuditError(
                f"a guest of {machine.architecture} needs a Python of that architecture: fetch Debian's with"
                f" 'tailcall-audit guest fetch {machine.architecture}', or name a root file system or a tar archive of one"
                " with --guest-python"
            )
        root = open_root(source)
        chosen = choose(root, machine, loaded_by_a_guest())
        digest = hashlib.sha256()
        for place, data in sorted(chosen.contents.items()):
            digest.update(f"{place}\0{len(data)}\0".encode())
            digest.update(data)
        return keep_archive(_folder(), digest.hexdigest(), lambda: chosen.contents)
    except (InitramfsError, RootError) as error:
        raise AuditError(str(error)) from error
