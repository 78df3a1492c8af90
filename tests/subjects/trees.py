"""Clones of kernels for tests of trees, and what an audit of one says."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit import audit
from tailcall_audit.analyzer.model import TargetReport, Verdict
from tests.kernels import kernel_source
from tests.repositories import INTRODUCTION_6, INTRODUCTION_6_SUBJECT, History, backport


def report(
    path: Path, rev: str | None = None, arch: str | None = "x86_64", only: str = "freplace-loop"
) -> TargetReport:
    return audit(trees=[str(path)], rev=rev, arch=arch, only=only.split(",") if only else ()).targets[0]


def verdict(path: Path, rev: str | None = None, only: str = "freplace-loop") -> Verdict:
    return report(path, rev, only=only).verdicts[0]


def with_source(history: History, version: str = "6.1.170-3") -> History:
    """Commit the real files of a Debian source."""
    source, _ = kernel_source("6.1", version)
    files: dict[str, bytes | None] = {
        str(path.relative_to(source)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    files.pop("Makefile")
    history.commit("net: the sources\n", files)
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    return history
