"""Roots of mirrors, suites on the web, and the lists that apt keeps."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest

from tailcall_audit import State, audit
from tests.kernels import available, cache_directory
from tests.web.servers import Answer, serve

# Mirrors' roots, and what apt keeps


ROW = "Package: linux-image-6.1.0-{abi}-amd64\nVersion: {version}\nArchitecture: amd64\nSource: linux-signed-amd64\n"
OLD_ROW, NEW_ROW = ROW.format(abi=47, version="6.1.170-3"), ROW.format(abi=55, version="6.1.192-1")
LIBRARY = "Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n"


def mirror(root: Path) -> Path:
    """A mirror of two suites: one index in two compressions, a suite under two names, and a pool that holds no index."""
    for suite, text in (("bookworm", OLD_ROW), ("bookworm-security", NEW_ROW)):
        folder = root / "dists" / suite / "main/binary-amd64"
        folder.mkdir(parents=True)
        (folder / "Packages.gz").write_bytes(gzip.compress(f"{LIBRARY}\n{text}".encode()))
    folder = root / "dists/bookworm/main/binary-amd64"
    (folder / "Packages.xz").write_bytes(lzma.compress(f"{LIBRARY}\n{OLD_ROW}".encode()))
    (root / "dists/stable").symlink_to("bookworm")
    pool = root / "pool/binary-amd64"
    pool.mkdir(parents=True)
    (pool / "Packages").write_text(ROW.format(abi=99, version="6.1.999-1"))
    return root


def names_of(place: Path | str) -> list[str]:
    return [item.name for item in audit(repository=str(place), only=["6"]).targets]


BOTH = ["linux-image-6.1.0-47-amd64 6.1.170-3", "linux-image-6.1.0-55-amd64 6.1.192-1"]


def test_a_mirrors_root_is_every_suite_once(tmp_path: Path) -> None:
    assert names_of(mirror(tmp_path / "debian")) == BOTH
    assert names_of(tmp_path / "debian/dists/bookworm") == BOTH[:1]
    assert names_of(tmp_path / "debian/dists/stable/main/binary-amd64") == BOTH[:1]


def test_one_index_of_a_mirror_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    root = mirror(tmp_path / "debian")
    (root / "dists/bookworm-security/main/binary-amd64/Packages.gz").write_bytes(b"\x1f\x8bbroken")
    report = audit(repository=str(root), only=["6"])
    assert [item.name for item in report.targets] == BOTH[:1]
    assert ["bookworm-security" in item.reason for item in report.skipped] == [True]


@pytest.mark.parametrize("pack", [bytes, lz4.frame.compress, lzma.compress])
def test_apts_own_lists_are_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """As in /var/lib/apt/lists: signatures, translations and a download that has not ended lie beside the indexes."""
    ending = {bytes: "", lz4.frame.compress: ".lz4", lzma.compress: ".xz"}[pack]
    host = "deb.debian.org_debian_dists_bookworm"
    (tmp_path / f"{host}_main_binary-amd64_Packages{ending}").write_bytes(pack(OLD_ROW.encode()))
    (tmp_path / f"{host}-security_main_binary-amd64_Packages{ending}").write_bytes(pack(NEW_ROW.encode()))
    (tmp_path / f"{host}_InRelease").write_text("-----BEGIN PGP SIGNED MESSAGE-----\n")
    (tmp_path / f"{host}_main_i18n_Translation-en").write_text("Package: x\n")
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / f"{host}-updates_main_binary-amd64_Packages").write_text("Package: linux-im")
    (tmp_path / "lock").touch()
    assert names_of(tmp_path) == BOTH


def test_the_lists_of_an_apt_that_ran_are_read() -> None:
    """What apt itself wrote, of every suite of the machine's mirror."""
    versions = available("linux-image-amd64")
    if not versions:
        pytest.skip("the Debian mirror of this machine has no linux-image-amd64")
    report = audit(repository=str(cache_directory() / "apt/state/lists"), arch="x86_64", only=["freplace-loop"])
    found = {str(item.identity["upstream"]): item.states["freplace-loop"] for item in report.targets}
    assert found["6.1.170"] is State.AFFECTED
    assert found["6.1.192"] is State.FIXED


def release_file(files: dict[str, bytes]) -> bytes:
    lines = "".join(
        f" {hashlib.sha256(data).hexdigest()} {len(data):>8} {name}\n" for name, data in sorted(files.items())
    )
    return f"Origin: Debian\nSuite: oldstable\nSHA256:\n{lines}".encode()


def test_a_suite_on_the_web_is_read_by_its_release_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "cache"))
    good, bad = lzma.compress(OLD_ROW.encode()), lzma.compress(NEW_ROW.encode())
    files = {
        "main/binary-amd64/Packages": OLD_ROW.encode(),
        "main/binary-amd64/Packages.xz": good,
        "contrib/binary-amd64/Packages.xz": bad,
        "../../etc/binary-amd64/Packages.xz": bad,
    }
    suite = "/debian/dists/bookworm"
    with serve() as web:
        web.answers[f"{suite}/Release"] = Answer(release_file(files))
        web.answers[f"{suite}/main/binary-amd64/Packages.xz"] = Answer(good)
        web.answers[f"{suite}/contrib/binary-amd64/Packages.xz"] = Answer(bad + b"x")
        report = audit(repository=f"{web.url}{suite}", only=["6"])
        asked = [path for path, _ in web.requests]
    assert [item.name for item in report.targets] == BOTH[:1]
    assert ["its checksum differs" in item.reason for item in report.skipped] == [True]
    assert f"{suite}/main/binary-amd64/Packages" not in asked  # the compressed one is enough
    assert not [path for path in asked if "etc" in path]
