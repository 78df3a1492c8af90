"""The changelogs that the shipped surveys were made from, and the commands that made them."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.survey.store import from_bytes
from tailcall_audit.analyzer.survey.types import Survey
from tests.kernels import package_file

__all__ = ["EXCERPTS", "MADE", "Made", "kept", "source_of"]

ROOT = Path(__file__).parents[2]
EXCERPTS = Path(__file__).parent / "changelogs"


class Made(NamedTuple):
    """How a shipped survey was made: its name, the name of its changelog, the options beside name and date, and the
    kernel's name of one of its versions, as `--kernel` takes it.
    """

    name: str
    changelog: str
    options: tuple[str, ...]
    kernel: Callable[[str], str]


def _debian(series: str, version: str) -> Made:
    return Made(f"debian-{series}", f"linux-{version}.changelog", (), lambda build: f"Debian {build}")


def _rpm(name: str, spec: str, mark: str, *options: str) -> Made:
    return Made(name, f"{spec}.kernel.spec", options, lambda build: f"{build}{mark}.x86_64")


def _ubuntu(name: str, changelog: str) -> Made:
    def kernel(build: str) -> str:
        abi, _, upload = build.rpartition(".")
        return f"{abi}-generic #{upload}-Ubuntu"

    return Made(name, changelog, ("--excerpt",), kernel)


MADE = (
    _debian("5.10", "5.10.262-1"),
    _debian("6.1", "6.1.192-2"),
    _debian("6.12", "6.12.118-1"),
    _debian("7.2", "7.2.13-1"),
    _debian("7.3", "7.3.4-1~bpo13+1"),
    _rpm("rhel-9.2", "openela-el-9.2", "", "--package-version", "5.14.0-284.30.1.el9_2"),
    _rpm("openeuler-22.03-sp4", "openeuler-22.03-lts-sp4", ".oe2203sp4", "--distro", "openeuler:oe2203sp4"),
    _rpm("openeuler-24.03-sp1", "openeuler-24.03-lts-sp1", ".oe2403sp1", "--distro", "openeuler:oe2403sp1"),
    _ubuntu("ubuntu-jammy", "ubuntu-jammy-NV-Kernels-0067c029a23b.changelog"),
    _ubuntu("ubuntu-noble", "ubuntu-noble-linux-qcom-cf8d0bcb283b.changelog"),
)


def kept(name: str) -> Survey:
    """Returns a shipped survey."""
    path = ROOT / f"catalog/surveys/packages/{name}.json"
    return from_bytes(path.read_bytes(), str(path))


def _debian_changelog(version: str) -> bytes:
    """Returns Debian's changelog of a kernel, cut at that version: a later package has the same entries below its own."""
    package = package_file("linux-libc-dev", version)
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    member = ["tar", "-xO", "--wildcards", "./usr/share/doc/linux-libc-dev/changelog.Debian*"]
    text = gzip.decompress(subprocess.run(member, input=tar, check=True, capture_output=True).stdout)
    start = text.find(f"linux ({version})".encode())
    if start < 0:
        pytest.skip(f"the changelog at hand does not have {version}")
    return text[start:]


def source_of(made: Made, folder: Path, lab: Callable[[], Path]) -> Path:
    """Returns the changelog of a shipped survey under its own name, in `folder` if it has to be unpacked; skips where it
    is not at hand. `lab` gives the folder of the research material.
    """
    excerpt = EXCERPTS / made.changelog
    if excerpt.exists():
        return excerpt
    path = folder / made.changelog
    if path.exists():
        return path
    if made.name.startswith("debian"):
        path.write_bytes(_debian_changelog(made.changelog.removeprefix("linux-").removesuffix(".changelog")))
    else:
        path.write_bytes(lzma.decompress((lab() / f"changelogs/real/{made.changelog}.xz").read_bytes()))
    return path
