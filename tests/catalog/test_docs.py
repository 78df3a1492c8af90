"""The tables of the documentation that repeat facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.docs import TABLES, with_tables
from tailcall_audit.analyzer.catalog.types import Catalog

END = "<!-- end of catalog -->"


def test_the_shipped_documents_are_up_to_date() -> None:
    checkout = Path(__file__).parents[2]
    assert (
        main(["catalog", "docs", "--check", "--root", str(checkout), "--catalog", str(checkout / "commits.json")]) == 0
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_replaces_what_is_between_its_markers_and_nothing_else(catalog: Catalog, name: str) -> None:
    text = f"before\n<!-- catalog: {name} -->\nold\n{END}\nafter\n"
    made = with_tables(text, catalog, "x.md")
    assert made.startswith(f"before\n<!-- catalog: {name} -->\n| ")
    assert made.endswith(f" |\n{END}\nafter\n")
    assert "old" not in made
    assert with_tables(made, catalog, "x.md") == made


def test_every_row_has_the_columns_of_its_head(catalog: Catalog) -> None:
    for table in TABLES.values():
        rows = table(catalog).replace("\\|", "").split("\n")
        assert len({row.count("|") for row in rows}) == 1
        assert len(rows) > 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n<!-- catalog: recipes -->\n" + END, r"x\.md:2: there is no table 'recipes'; there are affected-releases, "),
        ("<!-- catalog: defects -->\n", r"x\.md:1: the table has no end"),
        (f"<!-- catalog: defects -->\n<!-- catalog: sources -->\n{END}\n", r"x\.md:1: the table has no end"),
    ],
)
def test_a_wrong_marker_is_named(catalog: Catalog, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        with_tables(text, catalog, "x.md")


def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"<!-- catalog: sources -->\n{END}\n")
    assert main(["catalog", "docs", "--root", str(tmp_path), "--check"]) == 1
    assert path.read_text() == f"<!-- catalog: sources -->\n{END}\n"
    assert main(["catalog", "docs", "--root", str(tmp_path)]) == 0
    assert "| SRC | " in path.read_text()
    assert main(["catalog", "docs", "--root", str(tmp_path), "--check"]) == 0
    path.write_text("nothing\n")
    capsys.readouterr()
    assert main(["catalog", "docs", "--root", str(tmp_path)]) == 2
    assert "no document here has a table of the catalogue" in capsys.readouterr().err
