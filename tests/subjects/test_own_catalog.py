"""A catalogue of the user's own (--catalog): its distributions identify every kind of input, and not the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailcall_audit import audit, load_catalog
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.types import Catalog
from tests.repositories import History, makefile
from tests.subjects.test_config import HEADER, REST, USUAL

RELEASE = "6.1.170-tyrell7"
"""A vendor of whom the shipped catalogue knows nothing."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    data = json.loads(Path(default_catalog_path()).read_text())
    entry = {
        "name": "tyrell",
        "title": "Tyrell",
        "order": 5,
        "follows": "frozen",
        "patches": "own",
        "forms": [{"match": "-tyrell\\d+", "contains": ["-tyrell"], "proves": "patched", "note": "Tyrell's own"}],
        "tree": [{"path": "tyrell/mark", "note": "Tyrell's tree"}],
    }
    data["distributions"].insert(0, entry)
    path = tmp_path_factory.mktemp("catalog") / "commits.json"
    path.write_text(json.dumps(data))
    return load_catalog(path)


def distro(catalog: Catalog | None, **targets: object) -> str | None:
    report = audit(catalog=catalog, arch="x86_64", only=["freplace-loop"], **targets)  # type: ignore[arg-type]
    return report.targets[0].identity["distro"]


def test_a_release_string_is_identified_by_the_catalogue_given(own: Catalog) -> None:
    assert distro(own, kernels=[RELEASE]) == "tyrell"
    assert distro(None, kernels=[RELEASE]) is None


def test_a_configuration_is_identified_by_the_catalogue_given(own: Catalog, tmp_path: Path) -> None:
    option = 'CONFIG_LOCALVERSION="-tyrell7"\n'
    (tmp_path / "config").write_text(HEADER.format("x86", "6.1.170") + USUAL + option + REST)
    assert distro(own, config=str(tmp_path / "config")) == "tyrell"
    assert distro(None, config=str(tmp_path / "config")) is None


def test_a_tree_is_identified_by_the_catalogue_given(own: Catalog, tmp_path: Path) -> None:
    history = History(tmp_path / "linux", "6.1.170")
    history.commit("a\n", {"Makefile": makefile("6.1.170"), "tyrell/mark": b"x\n"})
    history.checkout()
    assert distro(own, trees=[str(history.path)]) == "tyrell"
    assert distro(None, trees=[str(history.path)]) is None
