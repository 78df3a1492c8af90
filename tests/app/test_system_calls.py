"""What an audit does to the machine, seen by strace on each kind of target.

Only programs on a list are started, no socket is opened, and nothing is changed outside of the cache, of what
`--output` names, and of a private folder for temporary files. Python's own byte code is switched off, as it is for an
installed package of root's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.repositories import makefile, stable_branch
from tests.rpms import RHEL
from tests.strategies.archives import CONTROL, deb, rpm, rpm_tags, tar
from tests.strategies.images import kernel
from tests.strategies.sources import HEADER
from tests.tracing import Effects, needs_strace, parse, traced

COMMAND = str(Path(sys.executable).with_name("tailcall-audit"))
GIT, RPM = ("git",), ("rpm",)


class Place(NamedTuple):
    """Where a command runs: the only folders that it may change, and one with the targets, in which it starts."""

    cache: Path
    temporary: Path
    targets: Path
    output: Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "cache", tmp_path / "temporary", tmp_path / "targets", tmp_path / "report")
    for folder in found[:3]:
        folder.mkdir()
    return found


def environment(place: Place) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.targets),
        "XDG_CACHE_HOME": str(place.cache),
        "TMPDIR": str(place.temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def broken(effects: Effects, place: Place, programs: tuple[str, ...] = ()) -> list[str]:
    """What a command did that it may not."""
    known = {path for name in programs if (path := shutil.which(name)) is not None} | {COMMAND}
    # git starts parts of its own; a lookup of a user's name asks a daemon that may be there.
    found = [f"started {path}" for path in effects.programs if path not in known and "/git-core/" not in path]
    found += [line for line in effects.sockets if "AF_UNIX" not in line or ("connect" in line and "/nscd/" not in line)]
    inside = (str(place.cache), str(place.temporary))
    for path in effects.changed:
        is_inside = any(path == folder or path.startswith(f"{folder}/") for folder in inside)
        is_output = path == str(place.output) or (
            os.path.dirname(path) == str(place.output.parent) and "/.tailcall-audit-" in path
        )
        if not is_inside and not is_output and path not in ("/dev/null", "/dev/tty"):
            found.append(f"changed {path}")
    return found


def written(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def _deb(folder: Path) -> list[str]:
    files = (("./boot/vmlinuz-6.1.0-47-amd64", kernel()), ("./boot/config-6.1.0-47-amd64", b"CONFIG_BPF=y\n"))
    return ["--package", written(folder, "p.deb", deb(tar((("./control", CONTROL),)), tar(files)))]


def _rpm(folder: Path) -> list[str]:
    tags = {tag: value for tag, value in rpm_tags(b"").items() if tag not in (1035, 1116, 1117, 1118)}
    return ["--package", written(folder, "p.rpm", rpm(tags, b""))]


def _tree(folder: Path) -> list[str]:
    written(folder, f"linux/{HEADER}", b"static inline int resolve_prog_type(void) { return 0; }\n")
    written(folder, "linux/Makefile", makefile("6.1.170"))
    return ["--tree", str(folder / "linux")]


def _repository(folder: Path) -> list[str]:
    history = stable_branch(folder / "linux")
    history.commit("bpf: x\n")
    history.checkout()
    hook = written(folder, "linux/.git/hooks/post-index-change", b"#!/bin/sh\ntouch RAN\n")
    os.chmod(hook, 0o755)
    with (folder / "linux/.git/config").open("a") as config:
        config.write("[core]\n\tfsmonitor = touch RAN\n\tpager = touch RAN\n[diff]\n\texternal = touch RAN\n")
    return ["--tree", str(folder / "linux")]


def _packages(folder: Path) -> list[str]:
    row = b"Package: linux-image-6.1.0-47-amd64\nSource: linux\nVersion: 6.1.170-3\nArchitecture: amd64\n"
    written(folder, "repo/Packages", row)
    return ["--repo", str(folder / "repo")]


def _repodata(folder: Path) -> list[str]:
    written(
        folder,
        "repo/repodata/repomd.xml",
        b'<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other">'
        b'<location href="repodata/other.xml"/></data></repomd>',
    )
    written(
        folder,
        "repo/repodata/other.xml",
        b'<otherdata xmlns="http://linux.duke.edu/metadata/other"><package name="kernel" arch="x86_64">'
        b'<version ver="5.14.0" rel="427.13.1.el9_4"/></package></otherdata>',
    )
    return ["--repo", str(folder / "repo")]


Make = Callable[[Path], list[str]]
TARGETS: Mapping[str, tuple[Make, tuple[str, ...]]] = {
    "a release string": (lambda _: ["--kernel", "6.1.0-47-amd64"], ()),
    "a configuration": (lambda folder: ["--config", written(folder, "config", b"CONFIG_BPF_SYSCALL=y\n")], ()),
    "a changelog": (lambda folder: ["--changelog", written(folder, "changelog", RHEL.encode())], ()),
    "a Debian package": (_deb, ()),
    "an RPM": (_rpm, ()),
    "an image": (lambda folder: ["--image", written(folder, "vmlinuz", kernel(symbols=False))], ()),
    "a target without an option": (lambda folder: [written(folder, "vmlinuz", kernel())], ()),
    "a tree": (_tree, ()),
    "a git repository": (_repository, GIT),
    "a revision": (lambda folder: [*_repository(folder), "--rev", "HEAD"], GIT),
    "a Packages file": (_packages, ()),
    "repodata": (_repodata, ()),
    "this host": (lambda _: [], ()),
    "what is installed": (lambda _: ["--installed"], RPM),
    "a catalogue of another's": (lambda folder: ["--kernel", "6.1", "--catalog", written(folder, "c.json", b"{}")], ()),
    "a defect's story": (lambda _: ["explain", "freplace-loop"], ()),
}


@pytest.mark.parametrize("target", TARGETS)
def test_an_audit_starts_connects_to_and_changes_nothing_else(place: Place, target: str) -> None:
    make, programs = TARGETS[target]
    arguments = make(place.targets)
    more = [] if target == "a defect's story" else ["--output", str(place.output)]
    effects, code, output = traced(
        [COMMAND, *arguments, *more], place.cache.parent, environment(place), cwd=place.targets
    )
    assert code in (0, 1, 2, 3), output
    assert COMMAND in effects.programs
    assert broken(effects, place, programs) == []
    assert place.output.exists() == (code != 2 and bool(more)), output
    if programs == GIT and shutil.which("git") is not None:
        assert shutil.which("git") in effects.programs


def test_a_kernel_is_booted_by_programs_of_the_list_only(place: Place) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no qemu-system-x86_64 on this machine")
    arguments = ["--image", written(place.targets, "vmlinuz", kernel()), "--confirm=vm", "--only", "freplace-loop"]
    effects, code, output = traced(
        [COMMAND, *arguments, "--guest-timeout", "5"], place.cache.parent, environment(place), cwd=place.targets
    )
    assert code in (0, 1, 2, 3), output
    assert any("qemu-system" in path for path in effects.programs), output
    pythons = ("python3", os.path.realpath(sys.executable), sys.executable)
    found = broken(effects, place, ("qemu-system-x86_64", *pythons))
    # Devices of the processor that QEMU asks for, and its own descriptors.
    assert [line for line in found if not line.startswith(("changed /dev/sgx_vepc", "changed /dev/fd/"))] == []


PLANTED = """
import os, socket, subprocess
subprocess.run(["/bin/true"])
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError:
    pass
open("planted", "w").close()
os.rename("planted", "renamed")
os.unlink("renamed")
os.mkdir("folder")
os.symlink("/nowhere", "link")
"""


def test_a_planted_call_is_seen(place: Place) -> None:
    effects, code, output = traced(
        [sys.executable, "-c", PLANTED], place.cache.parent, environment(place), cwd=place.targets
    )
    assert code == 0, output
    found = broken(effects, place)
    assert "started /bin/true" in found
    assert any("AF_INET" in line and line.startswith("connect(") for line in found)
    for name in ("planted", "renamed", "folder", "link"):
        assert f"changed {place.targets}/{name}" in found


def test_a_call_that_another_process_interrupted_is_put_together() -> None:
    effects = parse(
        '7  openat(AT_FDCWD</work>, "a b\\"c", O_WRONLY|O_CREAT <unfinished ...>\n'
        '8  execve("/bin/true", ["true"], 0x7ffe /* 3 vars */) = 0\n'
        "7  <... openat resumed>, 0666) = 3</work/x>\n"
        '7  openat(AT_FDCWD</work>, "read", O_RDONLY|O_CLOEXEC) = 3</work/read>\n'
        "8  connect(3, {sa_family=AF_INET, sin_port=htons(80)}, 16 <unfinished ...>\n"
        "8  +++ killed by SIGKILL +++\n"
    )
    assert effects.changed == ('/work/a b"c',)
    assert effects.programs == ("/bin/true",)
    assert len(effects.sockets) == 1


def test_strace_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="install the package strace"):
        needs_strace()
