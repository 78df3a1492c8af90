"""For a package: the first version of its series without each defect, and what it is fixed by."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.plan.series_text import series_schema_path
from tests.debs import CONTROL, deb, tar
from tests.subjects.test_repository import stanza

BOOKWORM = ("6.1.164-1", "6.1.170-3", "6.1.190-1", "6.1.192-1", "6.1.192-2")
"""Debian's packages of 6.1; d6083f040d5d is in 6.1.191 (catalog/commits/d6083f040d5d.yaml)."""


@pytest.fixture
def package(tmp_path: Path) -> str:
    """A package file of 6.1.170-3, without a changelog."""
    return deb(
        tmp_path,
        lzma.compress(
            tar({"./boot/config-6.1.0-47-amd64": b"CONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\n", "./boot/vmlinuz-x": b"x"})
        ),
        CONTROL,
    )


def repository(folder: Path, versions: tuple[str, ...]) -> str:
    folder.mkdir()
    text = "".join(stanza(f"linux-image-{version.partition('-')[0]}-amd64", version) for version in versions)
    (folder / "Packages").write_text(text)
    return str(folder)


def run(tmp_path: Path, *options: str) -> tuple[int, dict[str, dict[str, object]]]:
    output = tmp_path / "out.json"
    code = main(["plan", "--format", "json", "--output", str(output), "--debug", *options])
    data = json.loads(output.read_text())
    jsonschema.validate(data, json.loads(series_schema_path().read_text(encoding="utf-8")))
    return code, {item["defect"]: item for item in data["series"]}


def test_a_package_is_mended_by_the_first_version_that_the_survey_lists_with_the_fix(
    tmp_path: Path, package: str
) -> None:
    code, items = run(tmp_path, "--package", package, "--only", "3,6")
    (loop,) = items.values()
    assert code == 1
    assert loop["defect"] == "freplace-loop"
    assert str(loop["first_without"]).endswith(" 6.1.192-1")
    assert loop["fixed_by"] == ["d6083f040d5d"]
    assert loop["known_from"] == "catalogue"


def test_what_no_later_version_mends_is_said_with_what_the_stable_branch_has(tmp_path: Path, package: str) -> None:
    code, items = run(tmp_path, "--package", package, "--only", "4")
    assert code == 3
    assert items["x86-hierarchy"]["first_without"] is None
    assert "6.1.y lacks 116e04ba1459 through 6.1.192" in str(items["x86-hierarchy"]["reason"])


def test_a_repository_gives_the_versions_to_choose_from(tmp_path: Path, package: str) -> None:
    place = repository(tmp_path / "repo", BOOKWORM)
    code, items = run(tmp_path, "--package", package, "--repo", place, "--only", "6")
    assert code == 1
    assert items["freplace-loop"]["first_without"] == "linux-image-6.1.192-amd64 6.1.192-1"
    assert items["freplace-loop"]["known_from"] == "repository"
    older = repository(tmp_path / "older", BOOKWORM[:3])
    code, items = run(tmp_path, "--package", package, "--repo", older, "--only", "6")
    assert (code, items["freplace-loop"]["first_without"]) == (3, None)


def test_every_series_of_a_repository_is_planned_for(tmp_path: Path) -> None:
    code, items = run(tmp_path, "--repo", repository(tmp_path / "repo", BOOKWORM), "--only", "6")
    assert code == 1
    assert items["freplace-loop"]["affected"] == "linux-image-6.1.190-amd64 6.1.190-1"
    assert items["freplace-loop"]["first_without"] == "linux-image-6.1.192-amd64 6.1.192-1"


def test_a_package_without_the_defect_needs_nothing(tmp_path: Path, package: str) -> None:
    assert run(tmp_path, "--package", package, "--only", "3") == (0, {})


def test_the_table_says_the_version_and_the_commit(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--package", package, "--only", "6"]) == 1
    out = capsys.readouterr().out
    assert "6.1.192-1  d6083f040d5d" in out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--package", "x.deb", "--tree", "."), "about packages"),
        (("--package", "x.deb", "--upstream", "."), "about a tree"),
        (("--repo", ".", "--format", "quilt", "--output", "x"), "is for a tree"),
        (("--package", "nothing"), "nothing"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *options]) == 2
    assert why in capsys.readouterr().err
