"""Surveys of branches in a checkout: what is shipped of them, and what overwrites what."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog import load
from tailcall_audit.analyzer.catalog import shipped as shipped_facts
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.shipped import shipped_branches
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers import release as release_reader
from tailcall_audit.analyzer.survey import checkout as checkouts
from tailcall_audit.analyzer.survey import packages, stable
from tailcall_audit.analyzer.survey.compare import with_surveys
from tailcall_audit.analyzer.survey.shipped import build_branches
from tailcall_audit.analyzer.survey.store import Store, digest_of
from tailcall_audit.analyzer.survey.types import Claim, Kind, Survey, SurveyError
from tailcall_audit.analyzer.survey.types import State as Claimed
from tests.repositories import FIX_6, FIX_6_SUBJECT, History, fixed_branch, git, makefile
from tests.untouched import take_untouched_memory

KEY = FIX_6[:12]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)  # in this checkout --write would write to its catalogue


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """6.6.y through 6.6.158, with the fix of pitfall 6 from 6.6.157 on; the catalogue knows it through 6.6.145."""
    return fixed_branch(tmp_path / "linux")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout without surveys, from which the tool runs, and in which this process stands."""
    root = tmp_path / "checkout"
    for name in ("packages", "stable"):
        (root / "catalog/surveys" / name).mkdir(parents=True)
    (root / "commits.json").write_bytes(Path(load.default_catalog_path()).read_bytes())
    for module in (load, shipped_facts, release_reader, checkouts):
        monkeypatch.setattr(module, "default_catalog_path", lambda: str(root / "commits.json"))
    monkeypatch.chdir(root)
    shipped_branches.cache_clear()
    yield root
    shipped_branches.cache_clear()


def _verdict(kernel: str, capsys: pytest.CaptureFixture[str]) -> str:
    shipped_branches.cache_clear()
    main(["--kernel", kernel, "--only", "freplace-loop", "--arch", "x86_64", "--json"])
    return str(json.loads(capsys.readouterr().out)["targets"][0]["verdicts"][0]["verdict"])


def _survey(kind: Kind = Kind.STABLE, release: str = "6.6.157", **more: Any) -> Survey:
    claims = (Claim(KEY, Claimed.PRESENT_FROM, release, "GIT x", branch="6.6", id=FIX_6),)
    return Survey(kind, "stable", "x", "2026-11-26", {"6.6": "6.6.158"}, claims)._replace(**more)


def test_a_stable_survey_in_a_checkout_is_shipped_and_decides(
    clone: Path, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = {key: commit.branches for key, commit in catalog.commits.items()}
    into = tmp_path / "catalog/surveys/stable"
    assert main(["survey", "--stable", str(clone), "--write", "--into", str(into), "--date", "2026-11-26"]) == 1
    out = capsys.readouterr().out
    assert "Reaches further than the catalogue:" in out
    assert "Contradicts the catalogue" in out
    built = build_branches(tmp_path / "catalog", catalog)
    facts = json.loads(built)["facts"]
    assert facts[KEY]["6.6"]["release"] == "6.6.157"
    # What people wrote by hand stays: what contradicts it is not shipped.
    assert all(
        "6.6" not in facts.get(key, {}) for key, known in by_hand.items() if "6.6" in known and known["6.6"].release
    )
    assert build_branches(tmp_path / "catalog", catalog) == built
    (tmp_path / "branches.json").write_bytes(built)
    (tmp_path / "commits.json").write_bytes(Path(load.default_catalog_path()).read_bytes())
    for module in (load, shipped_facts, release_reader):
        monkeypatch.setattr(module, "default_catalog_path", lambda: str(tmp_path / "commits.json"))
    shipped_branches.cache_clear()
    try:
        shipped = load_catalog(None)
        before, after = (
            audit(kernels=[version], arch="x86_64", catalog=shipped, only=["freplace-loop"]).targets[0]
            for version in ("6.6.150", "6.6.157")
        )
        assert after.states == {"freplace-loop": State.FIXED}
        assert before.states == {"freplace-loop": State.AFFECTED}
        assert any("surveyed on 2026-11-26" in item.citation for item in after.verdicts[0].evidence)
        assert [item.name for item in after.verdicts[0].rests_on if item.name] == ["stable"]
    finally:
        shipped_branches.cache_clear()


def test_in_a_checkout_a_survey_is_kept_in_it_and_read(
    clone: Path, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _verdict("6.6.157", capsys) == "unknown"
    assert main(["survey", "--stable", str(clone), "--write"]) == 1
    path = checkout / "catalog/surveys/stable/stable.json"
    assert f"kept as {path}, and built {checkout / 'branches.json'} with it" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert _verdict("6.6.157", capsys) == "fixed"
    main(["survey", "list"])
    assert capsys.readouterr().out.startswith(f"{path.parent}:\n  stable  stable survey of the tags of linux, ")
    assert main(["survey", "show", "stable"]) == 0
    assert "Reaches further than the catalogue" in capsys.readouterr().out
    assert main(["survey", "forget", "stable"]) == 0
    assert f"removed {path}" in capsys.readouterr().err
    assert not path.exists()
    assert _verdict("6.6.157", capsys) == "unknown"


def test_a_survey_of_builds_in_a_checkout_is_shipped(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "sub").mkdir()
    os.chdir(checkout / "sub")
    build = "5.14.0-699.el9"
    Path("changelog").write_text(
        f"* Wed Aug 09 2023 N N <n@example.org> [{build}]\n- {FIX_6_SUBJECT} (N N) [1]\n\n"
        "* Mon Aug 30 2021 N N <n@example.org> [5.14.0-1.el9]\n- the first build (N N)\n"
    )
    main(["survey", "--changelog", "changelog", "--write"])
    assert (checkout / "catalog/surveys/packages/rhel-5.14-el9.json").is_file()
    facts = json.loads((checkout / "surveys.json").read_bytes())["facts"]["rhel"]
    assert {(fact["from"], fact["presence"]) for fact in facts if fact["commit"] == KEY} == {
        (build, "present"),
        ("5.14.0-1.el9", "absent"),
    }


@pytest.mark.parametrize("where", ["elsewhere", "read-only"])
def test_elsewhere_a_survey_is_the_user_s(
    clone: Path, checkout: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "elsewhere":
        os.chdir(tmp_path)
    else:
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    main(["survey", "--stable", str(clone), "--write"])
    assert (tmp_path / "data/tailcall-audit/surveys/stable.json").is_file()
    assert not list(checkout.glob("catalog/surveys/*/*"))


def test_a_file_that_a_group_may_write_is_not_overwritten_by_what_says_less(
    clone: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["survey", "--stable", str(clone), "--write"])
    path = checkout / "catalog/surveys/stable/stable.json"
    path.chmod(0o664)  # as git makes it with the umask 002
    path.parent.chmod(0o775)
    kept = path.read_bytes()
    git("tag", "-d", "v6.6.158", cwd=clone)
    assert main(["survey", "--stable", str(clone), "--write"]) == 2
    assert "stays as it is: it reaches 6.6.158 in 6.6, and this one 6.6.157" in capsys.readouterr().err
    assert path.read_bytes() == kept
    assert path.parent.stat().st_mode & 0o777 == 0o775


def test_beside_a_broken_survey_nothing_is_written(
    clone: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "catalog/surveys/stable/other.json").write_text("{}")
    assert main(["survey", "--stable", str(clone), "--write"]) == 2
    assert "other.json: not a survey" in capsys.readouterr().err
    assert not (checkout / "catalog/surveys/stable/stable.json").exists()
    assert not (checkout / "branches.json").exists()


def test_a_release_that_the_catalogue_decides_does_not_load_them() -> None:
    shipped_branches.cache_clear()
    audit(kernels=["6.1.170"], arch="x86_64", only=["x86-trampoline-loop"])
    loaded = shipped_branches.cache_info().misses
    audit(kernels=["6.6.999"], arch="x86_64", only=["freplace-loop"])
    assert loaded <= shipped_branches.cache_info().misses <= 1


@pytest.mark.parametrize(
    ("newer", "why"),
    [
        (_survey(Kind.VULNS), "it is a stable survey, which is stronger than one of vulns"),
        (_survey(reach={"6.6": "6.6.157"}), "it reaches 6.6.158 in 6.6, and this one 6.6.157"),
        (_survey(reach={"6.1": "6.1.200"}), "it has 6.6, which the new one lacks"),
    ],
)
def test_what_says_less_overwrites_nothing(tmp_path: Path, newer: Survey, why: str) -> None:
    store = Store(tmp_path / "surveys")
    path = store.write(_survey())
    kept = path.read_bytes()
    with pytest.raises(SurveyError, match=why):
        store.write(newer)
    assert path.read_bytes() == kept
    store.write(newer._replace(name="other"))
    store.write(_survey(reach={"6.1": "6.1.200", "6.6": "6.6.160"}))
    store.forget("stable")
    store.write(newer)


def test_a_stronger_survey_overwrites_a_weaker_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "surveys")
    store.write(_survey(Kind.VULNS, reach={}))
    store.write(_survey())
    assert store.read("stable").kind is Kind.STABLE


def _ended(*_: object, **__: object) -> Survey:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError


def _greedy(*_: object, **__: object) -> Survey:
    take_untouched_memory()
    raise AssertionError


def test_a_source_that_breaks_a_library_is_a_message(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stable, "survey_stable", _ended)
    assert main(["survey", "--stable", str(clone)]) == 2
    assert "was ended by SIGTERM" in capsys.readouterr().err


def test_a_source_that_takes_all_memory_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "changelog"
    path.write_text("* Thu Dec 19 2024 N N <n@example.org> - 6.6.0-69.0.0.75\n- a fix\n")
    monkeypatch.setattr(packages, "survey_changelogs", _greedy)
    assert main(["survey", "--changelog", str(path)]) == 2
    assert "MiB of memory" in capsys.readouterr().err


def test_a_survey_never_makes_fixed_what_the_code_shows_absent(catalog: Catalog, tmp_path: Path) -> None:
    # Linux kernel commit 1a4607ffba35 ("bpf: consider that tail calls invalidate packet pointers") (in v6.13) adds tail calls
    # to this list.
    key = "1a4607ffba35"
    source = (
        "bool bpf_helper_changes_pkt_data(enum bpf_func_id func_id)\n{\n\tswitch (func_id) {\n"
        "\tcase BPF_FUNC_skb_vlan_push:\n\t\treturn true;\n\tdefault:\n\t\treturn false;\n\t}\n}\n"
    )
    history = History(tmp_path / "tree", "6.1.160")
    history.commit("Linux 6.1.160\n", {"Makefile": makefile("6.1.160"), "net/core/filter.c": source.encode()})
    claims = (Claim(key, Claimed.PRESENT_FROM, "6.1.150", "GIT x", branch="6.1"),)
    survey = _survey(reach={"6.1": "6.1.160"})._replace(claims=claims)
    branches = {name: fact for name, fact in catalog.commits[key].branches.items() if name != "6.1"}
    bare = catalog._replace(commits={**catalog.commits, key: catalog.commits[key]._replace(branches=branches)})
    known = with_surveys(bare, [survey])
    defect = next(item.slug for item in known.defects if key in item.commits)
    by_release = audit(kernels=["6.1.160"], arch="x86_64", catalog=known, only=[defect]).targets[0]
    assert by_release.states[defect] is State.FIXED
    by_code = audit(trees=[str(history.path)], arch="x86_64", catalog=known, only=[defect]).targets[0]
    assert by_code.states[defect] is not State.FIXED
    evidence = {item.kind.value: item.presence for item in by_code.verdicts[0].evidence if item.commit == key}
    assert evidence["source"] is Presence.ABSENT


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"digest": "0" * 64}, "its digest differs"),
        ({"claims": [{"commit": "x"}], "digest": None}, "not a survey"),
    ],
)
def test_a_survey_that_is_refused_costs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], word: str
) -> None:
    folder = tmp_path / "data/tailcall-audit/surveys"
    Store(folder).write(_survey())
    path = Store(folder).write(_survey(name="foreign"))
    data = json.loads(path.read_text()) | change
    if data["digest"] is None:
        data["digest"] = digest_of(data)
    path.write_text(json.dumps(data))
    assert main(["--kernel", "6.6.157", "--arch", "x86_64", "--only", "freplace-loop"]) == 0
    error = capsys.readouterr().err
    assert "foreign.json" in error
    assert word in error
