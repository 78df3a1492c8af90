"""Which names a commit uses that a tree lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.plan.lacks import find_introduction, missing_names
from tailcall_audit.analyzer.plan.scratch import Scratch
from tests.repositories import History

CODE = b"int first(void)\n{\n\treturn 1;\n}\n"
HEADER = b"struct thing {\n\tint old_member;\n};\n"


@pytest.fixture
def history(tmp_path: Path) -> History:
    found = History(tmp_path / "linux", "6.1")
    found.commit("Linux 6.1\n", {"kernel/bpf/a.c": CODE, "include/linux/bpf.h": HEADER})
    return found


def lacks(history: History, tmp_path: Path, tree_at: str, code: bytes) -> tuple[str, ...]:
    """The names that a commit which adds this code uses, and that the tree of a commit lacks."""
    name = history.commit("bpf: Use it\n", {"kernel/bpf/a.c": CODE + code})
    scratch = Scratch(tmp_path / "scratch", [history.path / ".git/objects"])
    return missing_names(scratch, str(scratch.commit(tree_at).tree_id), scratch.commit(name))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            b"int second(struct thing *thing) { return thing->new_member + helper_of_mine(thing) + NEW_CONSTANT; }\n",
            ("NEW_CONSTANT", "helper_of_mine", "new_member"),
        ),
        (b"int second(struct thing *thing) { return thing->old_member + first(); }\n", ()),
        (b"/* helper_of_mine(thing) is not called */\n", ()),
        (b" * helper_of_mine(thing) in a comment that begins before\n", ()),
        (b'static char text[] = "helper_of_mine(thing)";\n', ()),
        (b"int brought_by_itself(void) { return brought_by_itself(); }\n", ()),
        (b"/*" * 200_000, ()),
        (b"int helper_of_mine_too(void);\n", ()),
    ],
    ids=["lacks", "has", "comment", "in-comment", "string", "own", "unclosed", "longer-name"],
)
def test_names_in_the_code_that_is_added(
    history: History, tmp_path: Path, code: bytes, expected: tuple[str, ...]
) -> None:
    root = str(history.repository.head.target)
    history.commit(
        "bpf: Add a member\n",
        {"include/linux/bpf.h": HEADER.replace(b"};", b"\tint new_member;\n};\n#define NEW_CONSTANT 4")},
    )
    history.commit("bpf: Add a helper\n", {"kernel/bpf/b.c": b"int helper_of_mine(struct thing *thing);\n"})
    assert lacks(history, tmp_path, root, code) == expected


def test_the_commit_that_brought_a_name_is_found_and_not_one_that_only_uses_it(
    history: History, tmp_path: Path
) -> None:
    root = str(history.repository.head.target)
    history.commit("mm: Something else\n", {"mm/x.c": b"int x;\n"})
    brought = history.commit("bpf: Add a helper\n", {"kernel/bpf/b.c": b"int helper_of_mine(void);\n"})
    history.commit(
        "bpf: Use it elsewhere\n", {"kernel/bpf/b.c": b"int helper_of_mine(void);\nint y = helper_of_mine();\n"}
    )
    user = history.commit("bpf: Use it\n", {"kernel/bpf/a.c": CODE + b"int z(void) { return helper_of_mine(); }\n"})
    scratch = Scratch(tmp_path / "scratch", [history.path / ".git/objects"])
    found = find_introduction(scratch, scratch.commit(user), root, "helper_of_mine", lambda _: None)
    assert found == brought
    assert find_introduction(scratch, scratch.commit(user), root, "first", lambda _: None) is None


def test_a_name_that_the_tree_has_in_another_folder_is_not_lacking(history: History, tmp_path: Path) -> None:
    moved = history.commit("bpf: Declare it\n", {"include/uapi/linux/bpf.h": b"int helper_of_mine(void);\n"})
    history.commit(
        "bpf: Move it\n",
        {"include/uapi/linux/bpf.h": b"", "include/linux/bpf.h": HEADER + b"int helper_of_mine(void);\n"},
    )
    assert lacks(history, tmp_path, moved, b"int z(void) { return helper_of_mine(); }\n") == ()
