"""Builds the types of distributions from their entries in ``commits.json``."""

from __future__ import annotations

from typing import Any

from tailcall_audit.analyzer.catalog.distribution import (
    Address,
    ChangelogForm,
    Distribution,
    Form,
    Line,
    PatchRepository,
    Proof,
    Published,
    Rebuilder,
    TreeMark,
)

__all__ = ["load_distribution"]

_ZERO = {"zero": True, "other": False}


def _form(data: dict[str, Any]) -> Form:
    return Form(
        data["match"],
        tuple(data.get("contains", ())),
        Proof(data["proves"]),
        data["note"],
        _ZERO.get(data.get("sublevel", "")),
    )


def _changelog_form(data: dict[str, Any]) -> ChangelogForm:
    return ChangelogForm(
        data["grammar"],
        tuple(data.get("sources", ())),
        data.get("lists") == "commits",
        data.get("release"),
        tuple(Line(**entry) for entry in data.get("lines", ())),
        data.get("count"),
        tuple(data.get("suites", ())),
        data.get("versions"),
    )


def _tree_mark(data: dict[str, Any]) -> TreeMark:
    patches = PatchRepository(**data["patches"]) if "patches" in data else None
    return TreeMark(data["path"], data["note"], data.get("without"), patches)


def _address(data: dict[str, str] | None) -> Address | None:
    return None if data is None else Address(data["address"], data["example"])


def _published(data: dict[str, Any]) -> Published:
    return Published(
        data.get("base"),
        _address(data.get("version")),
        _address(data.get("suite")),
        tuple((rule["match"], rule["source"]) for rule in data.get("sources", ())),
        data.get("instead"),
        data.get("repository"),
        data.get("builds"),
        data.get("bumps"),
    )


def load_distribution(data: dict[str, Any]) -> Distribution:
    """Builds a distribution from valid data."""
    return Distribution(
        name=data["name"],
        title=data["title"],
        frozen=data["follows"] == "frozen",
        surveyed=data["patches"] in ("surveyed", "none"),
        self_built=data.get("self_built", False),
        rebuilds=data.get("rebuilds"),
        by_package=data.get("compare") == "package",
        series_in_release=data.get("series_in_release", False),
        z_streams=bool(data.get("z_streams", False)),
        zero_is_main=data.get("z_streams") == "nonzero",
        keeps_marks=data.get("local_marks", False),
        forms=tuple(_form(form) for form in data["forms"]),
        builds=tuple(_form(form) for form in data.get("builds", ())),
        signatures=tuple(_form(form) for form in data.get("signatures", ())),
        uploads=data.get("uploads"),
        either_of=tuple(data.get("either_of", ())),
        settle=data.get("settle"),
        package=data.get("package"),
        flavour_packages=data.get("flavour_packages", {}),
        build_dates=data["build_dates"]["source"] if "build_dates" in data else None,
        config=tuple((mark["option"], mark["match"]) for mark in data.get("config", ())),
        tree=tuple(_tree_mark(mark) for mark in data.get("tree", ())),
        packages=tuple(data.get("packages", ())),
        changelog=_changelog_form(data["changelog"]) if "changelog" in data else None,
        ids=tuple(data.get("ids", ())),
        published=_published(data["published"]) if "published" in data else None,
        survey=data.get("survey", {}),
        rebuilders=tuple(Rebuilder(**entry) for entry in data.get("rebuilders", ())),
    )
