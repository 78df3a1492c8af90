"""A mutation run: the changes that it makes, the tests that it chooses, and what becomes of a change, in a checkout of
three files.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.model import Confidence, Presence, State
from tailcall_audit.analyzer.readers.code.claims import Claim, PlaceState
from tailcall_audit.analyzer.readers.emulation.stage import Outcome
from tools.mutation.operators import ENUMS, mutants
from tools.mutation.run import Passed, chosen_tests

ROOT = Path(__file__).parents[2]
POLICY = '''"""A policy of a few lines."""

from __future__ import annotations

RANK = ("code", "history", "release")


def rank(kind: str) -> int:
    """The rank of a kind."""
    return RANK.index(kind)


def limited(number: int) -> int:
    """A number from 1 to 3."""
    return max(1, min(number, 3))


def is_known(text: str | None) -> bool:
    """True for a text."""
    if text is None:
        return False
    return True


def never_called(number: int) -> bool:
    """Not tested."""
    return number > 2
'''
TESTS = """
from tailcall_audit.analyzer.policy.small import RANK, is_known, limited, rank

def test_limited():
    assert limited(0) == 1

def test_rank():
    assert RANK[rank("release")] == "release"
    assert rank("release") == 2

def test_known():
    assert not is_known(None)
    assert is_known("x")
"""


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after.strip("()")) for mutant in mutants(source)}


def function(body: str) -> str:
    return f"def f(a, b, item):\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("return a < b", "a < b", "a <= b"),
        ("return a is b", "a is b", "a is not b"),
        ("return a and b", "a and b", "a or b"),
        ("return a and b", "a and b", "a"),
        ("return not a", "not a", "a"),
        ("return a + 1", "1", "2"),
        ("return a + b", "a + b", "a - b"),
        ("return min(a, b)", "min(a, b)", "max(a, b"),
        ("return Presence.UNKNOWN", "Presence.UNKNOWN", "Presence.ABSENT"),
        ("return Confidence.HIGH", "Confidence.HIGH", "Confidence.MEDIUM"),
        ("return Outcome.BUG", "Outcome.BUG", "Outcome.NOT_DONE"),
        ("return PlaceState.UNSEEN", "PlaceState.UNSEEN", "PlaceState.THERE"),
        ("item.append(a)", "item.append(a)", "pass"),
        ("raise ValueError(a < 2)", "raise ValueError(a < 2)", "pass"),
        ("return [x for x in a if item(x)]", "item(x)", "not (item(x"),
    ],
)
def test_what_decides_is_changed(body: str, before: str, after: str) -> None:
    assert (before, after) in changes(function(body))


def test_a_branch_is_taken_out_and_turned_around() -> None:
    found = changes(function("if item(a):\n        b.add(a)\n    return b"))
    assert ("if item(a):\n        b.add(a)", "pass") in found
    assert ("item(a)", "not (item(a") in found


def test_a_member_of_a_ranking_is_taken_out() -> None:
    assert ("(a, b, c)", "a, c") in changes("RANK = (a, b, c)\n")


@pytest.mark.parametrize("body", ['"""Says 1 or 2."""', "assert a < 2", 'return f"{a < 2}"'])
def test_text_is_left_alone(body: str) -> None:
    assert changes(function(body)) == set()


def test_the_enumerations_that_are_changed_have_these_members() -> None:
    assert set(ENUMS) == {"Presence", "State", "Confidence", "Claim", "PlaceState", "Outcome"}
    for enumeration in (Presence, State, Confidence, Claim, PlaceState, Outcome):
        table = ENUMS[enumeration.__name__]
        assert set(table) == set(enumeration.__members__) >= set(table.values())


@given(st.sampled_from(sorted((ROOT / "analyzer/policy").glob("*.py"))))
def test_every_change_is_one_and_stands_where_it_says(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    for mutant in mutants(source):
        assert mutant.source != source
        starts = (found.start() for found in re.finditer(re.escape(mutant.after), mutant.source))
        text, size = mutant.source, len(mutant.after)
        assert any(text[:start] + mutant.before + text[start + size :] == source for start in starts)
        line = source.splitlines()[mutant.line - 1]
        assert mutant.before.splitlines()[0] in line
        names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert mutant.function == "" or set(mutant.function.split(".")) <= names


def test_the_tests_that_run_a_statement_come_first_and_then_others_of_their_files() -> None:
    tests = [
        Passed("a.py::slow", 3.0, frozenset({1})),
        Passed("a.py::quick", 0.1, frozenset({1})),
        Passed("a.py::other", 0.1, frozenset({2})),
        Passed("b.py::elsewhere", 0.1, frozenset({2})),
        Passed("a.py::endless", 500.0, frozenset({2})),
    ]
    assert [test.name for test in chosen_tests(1, tests)] == ["a.py::quick", "a.py::slow", "a.py::other"]
    assert chosen_tests(7, tests) == []
    assert {test.name for test in chosen_tests(None, tests)} >= {"a.py::quick", "b.py::elsewhere"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run prints in a small checkout, laid out as the real one."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("analyzer/policy", "tests/policy"):
        (root / name).mkdir(parents=True)
    (root / "tailcall_audit").mkdir()
    (root / "tailcall_audit/analyzer").symlink_to(root / "analyzer")
    for folder in ("tailcall_audit", "analyzer", "analyzer/policy", "tests", "tests/policy"):
        (root / folder / "__init__.py").touch()
    (root / "tools").symlink_to(ROOT / "tools")
    (root / "analyzer/policy/small.py").write_text(POLICY)
    (root / "tests/policy/test_small.py").write_text(TESTS)
    (root / "pyproject.toml").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tools.mutation", "analyzer/policy", "--tests", "tests/policy", "--jobs", "2"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_shows_what_no_test_sees_as_a_diff(shown: str) -> None:
    alive = shown.partition("module ")[0]
    # The tests have no number over 3.
    assert "    - 3\n    + (4)\n" in alive
    assert "    - number > 2\n    + (number >= 2)\n    (no test runs it)" in alive


def test_a_run_kills_what_a_test_sees_in_functions_and_in_constants(shown: str) -> None:
    alive = shown.partition("module ")[0]
    assert "is_known" not in alive
    assert "RANK" not in alive
    assert '("code", "history", "release")' not in alive


def test_a_run_counts_by_module(shown: str) -> None:
    row = next(line.split() for line in shown.splitlines() if line.startswith("analyzer/policy/small.py "))
    changes_, tried, killed, alive, untested = map(int, row[1:])
    assert changes_ == tried == killed + alive + untested
    assert alive >= 1
    assert untested == 2
    assert killed > alive
