"""Fetching through apt: which packages are asked for, with which configuration, and what becomes of refusals. Scripts
stand in for apt; the real one fetches in tests/live/test_foreign.py.
"""

from __future__ import annotations

import io
import lzma
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tailcall_audit.analyzer.live.pythons.fetch import fetch
from tailcall_audit.analyzer.live.pythons.roots import RootError
from tailcall_audit.probes.guest.qemu import find_machine
from tests.debs import deb, tar

S390X = find_machine("s390x")
RUNNING = f"python3.{sys.version_info[1]}"
SHOWN = {
    f"{RUNNING}-minimal": f"lib{RUNNING}-minimal (= 1), libexpat1 (>= 2.1~beta3), zlib1g (>= 1:1.2.0), media-types",
    f"lib{RUNNING}-minimal": "libc6 (>= 2.34), libssl3 (>= 3.0.0)",
    f"lib{RUNNING}-stdlib": "media-types | mime-support, libffi8 (>= 3.4), libsqlite3-0",
    "libc6": "libgcc-s1, libcrypt1",
}


def apt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, update: str = "exit 0", names: str = f"{RUNNING}-minimal"
) -> None:
    """Puts an apt-get and an apt-cache in the way that answer as Debian's, and write down how they were called."""
    place = folder / "bin"
    place.mkdir()
    package = deb(
        folder, lzma.compress(tar({"./usr/lib/x.py": b"x", "./usr/share/doc/x": b"no"}, {"./usr/lib/y": "x.py"}))
    )
    shown = "".join(f"{name}:*) echo 'Package: {name}'; echo 'Depends: {needs}';;\n" for name, needs in SHOWN.items())
    scripts = {
        "apt-get": f'case "$*" in *update*) cp $APT_CONFIG {folder}/conf; {update};; *indextargets*) echo "Repo-URI: http://m.example/debian/";;\n'
        f'*) shift 2; for name in "$@"; do echo $name >>{folder}/asked; cp {package} ${{name%:*}}_1%3a2-3_s390x.deb; done;; esac',
        "apt-cache": f"case $1 in pkgnames) echo {names};; *) case $3 in\n{shown}*) echo Package: other;; esac;; esac",
    }
    for name, script in scripts.items():
        path = place / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")


def test_the_packages_of_the_running_version_and_its_libraries_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt(tmp_path, monkeypatch)
    found = fetch(S390X, None, lambda _: None)
    asked = set((tmp_path / "asked").read_text().split())
    expected = {f"{RUNNING}-minimal", f"lib{RUNNING}-minimal", f"lib{RUNNING}-stdlib", "libc6", "libexpat1", "zlib1g"}
    assert asked == {f"{name}:s390x" for name in (*expected, "libffi8", "libgcc-s1")}
    assert "libc6 1:2-3" in found.packages
    with tarfile.open(fileobj=io.BytesIO(found.archive)) as archive:
        assert {item.name for item in archive} == {"usr/lib/x.py", "usr/lib/y"}


def test_apt_keeps_the_machines_folders_as_they_are_and_refuses_what_is_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt(tmp_path, monkeypatch)
    fetch(S390X, "trixie", lambda _: None)
    lines = (tmp_path / "conf").read_text()
    for name in ("Dir::State", "Dir::State::status", "Dir::Cache"):
        assert f'{name} "{tempfile.gettempdir()}/tailcall-audit-' in lines
    assert 'Acquire::AllowInsecureRepositories "false";' in lines
    assert 'APT::Get::AllowUnauthenticated "false";' in lines
    assert 'APT::Architectures { "s390x"; };' in lines
    assert "sources.list" in lines


def test_a_refusal_of_apt_is_said_with_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = "echo 'E: The repository is not signed.' >&2; exit 100"
    apt(tmp_path, monkeypatch, update=update, names="python2.7-minimal")
    with pytest.raises(RootError, match=r"The repository is not signed\..*--suite NAME.*--guest-python") as raised:
        fetch(S390X, None, lambda _: None)
    assert str(raised.value).count("no Python for guests of s390x") == 1


def test_without_apt_the_other_way_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RootError, match=r"no apt-(get|cache) on this host.*--guest-python") as raised:
        fetch(S390X, None, lambda _: None)
    assert "--suite" not in str(raised.value)
