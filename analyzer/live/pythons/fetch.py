"""Fetches a Python of another architecture from Debian's packages, through the machine's own apt.

apt runs with folders of its own for its lists and downloads: nothing of the machine's packages is changed. Its sources,
keys and proxies are the machine's, and it checks the signatures. The packages are unpacked by this project's own
readers, into a tar archive in the cache; nothing of them is run.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.deb import parse_control, read_deb_tree
from tailcall_audit.analyzer.live.pythons.roots import RootError
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.processes import Finished, ProgramError, find_program, missing_program, run

__all__ = ["Fetched", "fetch"]

_TIMEOUT = 600
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's keys, as its package debian-archive-keyring installs them; without it apt uses those that it trusts."""
_PACKAGE = "python3-minimal"
_VERSIONED = re.compile(r"python3\.(\d{1,3})-minimal", re.ASCII)
_OLDEST = 11
_LIBRARIES = re.compile(r"libc6(?:\.1)?|zlib1g|libexpat1|libffi\d{1,2}(?:t64)?|libgcc-s1", re.ASCII)
"""Packages with the libraries that the interpreter, struct and ctypes are linked with. Others that Python depends on
are for modules that no probe loads.
"""
_TARGET = re.compile(r"^([A-Za-z-]{1,40}): (.*)$", re.MULTILINE)
_NAME = re.compile(r"\s{0,8}([a-z0-9][a-z0-9.+-]{1,80})", re.ASCII)
_LEFT_OUT = re.compile(r"(?:usr/share/(?:doc|man|lintian)|etc|var)/|.*/(?:test|tests|idlelib|ensurepip|__pycache__)/")
_MAX_PACKAGE = 64 << 20


class Fetched(NamedTuple):
    """What was fetched: a tar archive, and the packages that it has, as ``NAME VERSION``."""

    archive: bytes
    packages: tuple[str, ...]


def fetch(machine: Machine, suite: str | None, progress: Callable[[str], None]) -> Fetched:
    """Returns a fetched Python for guests of this machine, from the suites that the machine's apt has or from one suite
    of the same mirror; raises RootError, which says what to do instead.
    """
    with _apt(machine) as apt:
        progress(f"reading the package lists of {machine.debian}")
        if suite is not None:
            apt.use(suite)
        apt.update()
        names = _packages(apt, machine)
        progress(f"downloading {len(names)} packages of {machine.debian}")
        apt.call("apt-get", "-q", "download", *(f"{name}:{machine.debian}" for name in names), cwd=apt.downloads)
        files = sorted(apt.downloads.glob("*.deb"))
        if len(files) != len(names):
            raise apt.error(f"apt downloaded {len(files)} of {len(names)} packages")
        progress(f"unpacking {len(files)} packages")
        return Fetched(_archive(files), tuple(_named(path) for path in files))


def _named(path: Path) -> str:
    """Returns ``NAME VERSION`` of a file that apt downloaded (NAME_VERSION_ARCHITECTURE.deb)."""
    name, version, *_ = path.name.split("_")
    return f"{name} {version.replace('%3a', ':')}"


class _AptError(RootError):
    """Raised if apt fails; `why` is the reason alone, without what else can be done."""

    def __init__(self, why: str, message: str) -> None:
        self.why = why
        super().__init__(message)


class _Apt:
    """apt with folders of its own, for one architecture."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.downloads = folder / "downloads"
        self.complaint = ""
        self._folder = folder
        self._machine = machine
        self._options = folder / "apt.conf"
        for name in ("downloads", "state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self._options.write_text(_configuration(folder, machine.debian))

    def update(self) -> None:
        """Reads the package lists. One that cannot be fetched does not affect the others: apt's message about it is
        kept in `complaint`.
        """
        try:
            self.call("apt-get", "-q", "update")
        except _AptError as error:
            self.complaint = error.why

    def use(self, suite: str) -> None:
        """Uses one suite of the Debian mirror that the machine's apt has, in place of its own suites; raises RootError."""
        # The machine's own architecture: apt knows no other before its lists are read.
        text = self.call("apt-get", "indextargets", "Created-By: Packages", configured=False).output.decode(
            errors="replace"
        )
        targets = [dict(_TARGET.findall(part)) for part in text.split("\n\n")]
        debian = [target for target in targets if target.get("Repo-URI", "").rstrip("/").endswith("/debian")]
        if not debian:
            raise self.error("its sources name no Debian mirror, so --suite cannot be used")
        options = f"[signed-by={_KEYRING}] " if _KEYRING.is_file() else ""
        (self._folder / "sources.list").write_text(f"deb {options}{debian[0]['Repo-URI']} {suite} main\n")
        own = f'Dir::Etc::sourcelist "{self._folder}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        self._options.write_text(_configuration(self._folder, self._machine.debian) + own)

    def call(self, program: str, *words: str, cwd: Path | None = None, configured: bool = True) -> Finished:
        """Runs apt-get or apt-cache to its end, in a folder, with this object's configuration, or with the machine's
        own if `configured` is False; raises RootError if it fails.
        """
        found = find_program(program)
        if found is None:
            raise self.error(missing_program(program), suite=False)
        command = [found, *words]
        if cwd is not None:
            # Programs are started in the root folder; apt downloads into its current one.
            command = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *command]
        try:
            done = run(command, timeout=_TIMEOUT, more={"APT_CONFIG": str(self._options)} if configured else None)
        except ProgramError as error:
            raise self.error(str(error)) from error
        if done.status != 0:
            said = [line for line in done.errors.decode("utf-8", "replace").splitlines() if line.startswith("E:")]
            raise self.error(
                f"{program} {words[1] if words[0] == '-q' else words[0]}: {(said or [done.complaint()])[0]}"
            )
        return done

    def error(self, why: str, suite: bool = True) -> _AptError:
        """Returns the error that says what else can be done; `suite` is False if no other suite can help."""
        other = "another suite may have one (--suite NAME), or " if suite else ""
        return _AptError(
            why,
            f"no Python for guests of {self._machine.architecture} from this machine's apt: {why}; {other}give one with"
            " --guest-python: an unpacked root file system of that architecture, or a tar archive of one (docker export, debootstrap)",
        )


def _configuration(folder: Path, debian: str) -> str:
    """Returns apt's configuration: the machine's own, with other folders and another architecture. Unsigned lists and
    packages are refused.
    """
    values = {
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Log": f"{folder}",
        "APT::Architecture": debian,
        "Acquire::Languages": "none",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    lines = [f'{name} "{value}";' for name, value in values.items()]
    hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
    return "\n".join(
        [
            "#clear APT::Architectures;",
            *lines,
            f'APT::Architectures {{ "{debian}"; }};',
            *(f"#clear {hook};" for hook in hooks),
            "",
        ]
    )


@contextmanager
def _apt(machine: Machine) -> Iterator[_Apt]:
    folder = Path(tempfile.mkdtemp(prefix="tailcall-audit-"))
    try:
        yield _Apt(folder, machine)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _depends(apt: _Apt, package: str, debian: str) -> list[str]:
    """Returns the names that a package depends on, the first of alternatives; none if the package is not known."""
    try:
        text = apt.call("apt-cache", "show", "--no-all-versions", f"{package}:{debian}").output.decode(
            "utf-8", "replace"
        )
    except RootError:
        return []
    fields = parse_control(text.partition("\n\n")[0])
    relations = f"{fields.get('Depends', '')},{fields.get('Pre-Depends', '')}".split(",")
    return [match.group(1) for match in map(_NAME.match, relations) if match is not None]


def _packages(apt: _Apt, machine: Machine) -> list[str]:
    """Returns the packages of a Python: that of the running version where there is one, since its modules can be
    compiled here; else the default one.
    """
    known = apt.call("apt-cache", "pkgnames", "python3.").output.decode("utf-8", "replace").split()
    versions = {int(match.group(1)) for match in map(_VERSIONED.fullmatch, known) if match is not None}
    if sys.version_info[1] in versions:
        python = f"python3.{sys.version_info[1]}"
    else:
        candidates = [name for name in _depends(apt, _PACKAGE, machine.debian) if _VERSIONED.fullmatch(name)]
        if not candidates:
            raise apt.error(apt.complaint or f"its sources have no {_PACKAGE} of {machine.debian}")
        python = candidates[0].removesuffix("-minimal")
    if int(python.rpartition(".")[2]) < _OLDEST:
        raise apt.error(f"its sources have {python}, and the probes need Python 3.{_OLDEST} or newer")
    own = [f"{python}-minimal", f"lib{python}-minimal", f"lib{python}-stdlib"]
    found = dict.fromkeys(own)
    waiting = list(own)
    while waiting:
        for name in _depends(apt, waiting.pop(), machine.debian):
            if name not in found and _LIBRARIES.fullmatch(name):
                found[name] = None
                waiting.append(name)
    return list(found)


def _archive(files: Iterable[Path]) -> bytes:
    """Returns a tar archive of the files that these packages install, without documentation, tests and files for tests
    only.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in files:
            for item in read_deb_tree(path):
                if _LEFT_OUT.match(item.name):
                    continue
                header = tarfile.TarInfo(item.name)
                header.mode = 0o755
                if item.link:
                    header.type, header.linkname = tarfile.SYMTYPE, item.link
                    archive.addfile(header)
                elif item.size > _MAX_PACKAGE:
                    raise RootError(f"{path.name}: {item.name} has {item.size:,} bytes, more than fits into a guest")
                else:
                    data = item.content()
                    header.size = len(data)
                    archive.addfile(header, io.BytesIO(data))
    return out.getvalue()
