"""Plans for trees with real code: which commits, in which order, do they apply, and what real git makes of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tests.plan.kernels import (
    ARRAYMAP,
    BPF_H,
    FIXES,
    IN_ORDER,
    TRAMPOLINE,
    Upstream,
    backported,
    changes,
    files_of,
    replaced,
)
from tests.plan.planned import catalog_with, fingerprint, followed, outcomes, plan, tree_of
from tests.repositories import git

SIX = "2,3,5,6"


@pytest.fixture(scope="module")
def mainline(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    """Mainline: all fixes undone, then each as a commit."""
    return Upstream(tmp_path_factory.mktemp("up") / "mainline", files_of("6.1"), IN_ORDER, "6.12")


def test_six_fixes_apply_and_real_picks_lead_to_the_tree_that_was_foreseen(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    upstream = ("--upstream", str(mainline.path), "--only", SIX)
    before = fingerprint(tree.path), fingerprint(mainline.path)
    found = plan(tree.path, *upstream)
    assert (fingerprint(tree.path), fingerprint(mainline.path)) == before
    assert found.code == 1
    assert outcomes(found) == [(name, "clean") for name in IN_ORDER]
    assert [step["commit"] for step in found.steps] == [mainline.commits[name] for name in IN_ORDER]
    assert found.data["result"]["tested"] is True
    assert found.data["result"]["open"] == []
    assert any("EBUSY" in text for text in found.steps[4]["changes"])
    mended = tmp_path / "mended"
    assert followed(tree.path, mended, *upstream) == found.data["result"]["tree"]
    verdicts = audit(trees=[str(mended)], arch="x86_64").targets[0].states
    asked = {slug for name in IN_ORDER for slug in FIXES[name].slugs}
    assert asked == {slug for slug in asked if verdicts[slug] is State.FIXED}
    assert found.fixed == asked - {"resolve-prog-type-null-deref-load"}  # which was not asked for


def test_a_plan_for_what_is_mended_is_empty(mainline: Upstream, tmp_path: Path) -> None:
    """The fixes are there under other ids and without a message that says so: the code shows them."""
    tree = tree_of(tmp_path / "tree", mainline.stages[-1])
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", SIX)
    assert (found.code, found.steps, found.data["affected"]) == (0, [], [])


def test_a_fix_that_brings_a_defect_brings_its_follow_up(mainline: Upstream, tmp_path: Path) -> None:
    """2b5dcb31a19a brings trampoline-flags-clobber, f7866c358733 lets an attached program be refused."""
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "x86-trampoline-loop")
    assert outcomes(found) == [("3", "clean"), ("flags", "clean")]
    assert [step["role"] for step in found.steps] == ["fix", "follow-up"]
    assert found.steps[1]["follows"] == [mainline.commits["3"]]
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "freplace-attached-panic")
    assert outcomes(found) == [("5a", "clean"), ("5b", "clean")]
    assert found.steps[0]["needed_by"] == [mainline.commits["5b"]]


@pytest.mark.parametrize("arch", ["x86_64", None])
def test_a_defect_that_a_missing_step_would_have_brought_is_not_called_fixed(
    mainline: Upstream, tmp_path: Path, arch: str | None
) -> None:
    """e3245f899043 brings tailcall-direct-in-callback: where it is not here, the tree has neither."""
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    found = plan(tree.path, "--only", "tailcall-verifier-return-model", arch=arch)
    assert {step["outcome"] for step in found.steps} == {"object-missing"}
    assert {"tailcall-direct-in-callback"} <= {slug for step in found.steps for slug in step["defects"]}
    assert found.fixed == set()
    assert found.data["result"]["open"] == ["tailcall-verifier-return-model"]


def test_a_commit_that_serves_two_defects_is_picked_once(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[2])
    only = "freplace-attached-panic,resolve-prog-type-null-deref-load"
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", only)
    assert outcomes(found) == [("5a", "clean"), ("5b", "clean")]
    assert set(only.split(",")) < set(found.steps[0]["defects"]) | set(found.steps[1]["defects"])


def test_a_branch_that_has_the_fixes_in_another_order_is_read_in_mainline_s(tmp_path: Path) -> None:
    files = files_of("6.1")
    stable = Upstream(tmp_path / "stable", files, ["6", "5a", "3", "2", "5b", "flags"], "6.1.191", backported)
    tree = tree_of(tmp_path / "tree", stable.stages[0])
    found = plan(tree.path, "--upstream", str(stable.path), "--only", SIX)
    assert outcomes(found) == [(name, "clean") for name in IN_ORDER]
    assert {step["source"] for step in found.steps} == {"6.1"}
    assert (
        followed(tree.path, tmp_path / "mended", "--upstream", str(stable.path), "--only", SIX)
        == found.data["result"]["tree"]
    )


def test_a_function_that_the_tree_lacks_is_brought_by_the_commit_that_brought_it(tmp_path: Path) -> None:
    """Fix 6 in two commits, of which the second calls the function of the first: the second alone applies and does not
    compile.
    """
    files = files_of("6.1")
    upstream = Upstream(tmp_path / "up", files, ["6"], "6.12")
    helper = files[TRAMPOLINE].decode().partition("static int bpf_freplace_check_tgt_prog(")[2].partition("\n}\n")[0]
    text = f"static int bpf_freplace_check_tgt_prog({helper}\n}}\n\n"
    before = dict(upstream.stages[0])
    anchor = "static int __bpf_trampoline_link_prog("
    replaced(before, TRAMPOLINE, anchor, text + anchor, 1)
    history = Upstream(tmp_path / "split", upstream.stages[0], [], "6.12")
    first = history.commit("bpf: Add a check of the target of an extension\n", {TRAMPOLINE: before[TRAMPOLINE]})
    second = history.commit(f"{FIXES['6'].subject}\n", changes(before, upstream.stages[1]))
    tree = tree_of(tmp_path / "tree", upstream.stages[0])
    git("fetch", "-q", str(history.path), "master:refs/remotes/up/master", cwd=tree.path)
    found = plan(tree.path, "--upstream", "up/master", "--only", "6")
    assert [step["commit"] for step in found.steps] == [first, second]
    assert found.steps[0]["role"] == "prerequisite"
    assert found.steps[0]["needed_by"] == [second]
    assert found.steps[0]["notes"] == ["brings bpf_freplace_check_tgt_prog"]
    assert found.code == 1
    assert found.fixed == {"freplace-loop"}
    assert (
        followed(tree.path, tmp_path / "mended", "--upstream", "up/master", "--only", "6")
        == found.data["result"]["tree"]
    )


def test_what_a_stable_branch_took_for_a_backport_comes_before_it(tmp_path: Path) -> None:
    files = files_of("6.1")
    whole = Upstream(tmp_path / "whole", files, ["6"], "6.1.191")
    stable = Upstream(tmp_path / "stable", whole.stages[0], [], "6.1.191")
    prepared = {
        ARRAYMAP: whole.stages[0][ARRAYMAP].replace(
            b"static u32 prog_fd_array_sys_lookup_elem", b"/* of ids */\nstatic u32 prog_fd_array_sys_lookup_elem"
        )
    }
    trailer = f'(cherry picked)\nStable-dep-of: d6083f040d5d ("{FIXES["6"].subject}")\n'
    first = stable.commit(f"bpf: Say what a lookup returns\n\n{trailer}", dict(prepared))
    after = dict(whole.stages[1])
    after[ARRAYMAP] = after[ARRAYMAP].replace(
        b"static u32 prog_fd_array_sys_lookup_elem", b"/* of ids */\nstatic u32 prog_fd_array_sys_lookup_elem"
    )
    second = stable.commit(backported("6"), changes({**whole.stages[0], **prepared}, after))
    tree = tree_of(tmp_path / "tree", whole.stages[0])
    found = plan(tree.path, "--upstream", str(stable.path), "--only", "6")
    assert [(step["commit"], step["outcome"]) for step in found.steps] == [(first, "clean"), (second, "clean")]
    assert found.steps[0]["notes"] == ["Stable-dep-of d6083f040d5d"]


def test_a_conflict_names_the_file_and_the_function(mainline: Upstream, tmp_path: Path) -> None:
    files = dict(mainline.stages[0])
    replaced(
        files,
        ARRAYMAP,
        "	if (!bpf_prog_map_compatible(map, prog)) {\n",
        "	if (vendor_refuses(map) || !bpf_prog_map_compatible(map, prog)) {\n",
        1,
    )
    tree = tree_of(tmp_path / "tree", files)
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "6,x86-count-offset", "--unknown")
    assert outcomes(found) == [("2", "clean"), ("6", "conflicts")]
    conflict = found.steps[1]
    assert conflict["conflicts"] == [ARRAYMAP]
    assert conflict["conflict_functions"] == {ARRAYMAP: ["prog_fd_array_get_ptr()"]}
    assert found.code == 3
    assert found.fixed == {"x86-count-offset"}
    assert found.data["result"]["open"] == ["freplace-loop"]
    assert found.data["result"]["tree"] is None


def test_another_branch_s_backport_applies_where_mainline_s_commit_conflicts(
    mainline: Upstream, tmp_path: Path
) -> None:
    """Mainline renamed a variable before the fix; the stable branch has the fix for the older name."""
    newer = {
        path: data.replace(b"prog_fd_array_get_ptr", b"prog_fd_array_take_ptr") if path == ARRAYMAP else data
        for path, data in files_of("6.1").items()
    }
    before = {
        path: data.replace(b"prog_fd_array_get_ptr", b"prog_fd_array_take_ptr") if path == ARRAYMAP else data
        for path, data in mainline.stages[4].items()
    }
    upstream = Upstream(tmp_path / "up", before, [], "6.13")
    replaced(
        newer,
        ARRAYMAP,
        "struct bpf_prog *prog = bpf_prog_get(fd);",
        "struct bpf_prog *prog = bpf_prog_get_by_fd(fd);",
        1,
    )
    replaced(
        before,
        ARRAYMAP,
        "struct bpf_prog *prog = bpf_prog_get(fd);",
        "struct bpf_prog *prog = bpf_prog_get_by_fd(fd);",
        1,
    )
    upstream.commit("bpf: Rename bpf_prog_get()\n", {ARRAYMAP: before[ARRAYMAP]})
    main = upstream.commit(f"{FIXES['6'].subject}\n", {ARRAYMAP: newer[ARRAYMAP], TRAMPOLINE: newer[TRAMPOLINE]})
    stable = Upstream(tmp_path / "stable", mainline.stages[5], ["6"], "6.6.145", backported)
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    catalog = catalog_with(tmp_path / "commits.json", {"6": main})
    alone = plan(tree.path, "--upstream", str(upstream.path), "--only", "freplace-loop", "--catalog", catalog)
    assert outcomes(alone) == [("6", "conflicts")]
    both = ("--upstream", str(upstream.path), "--upstream", str(stable.path), "--only", "freplace-loop")
    found = plan(tree.path, *both)
    (step,) = found.steps
    assert (step["source"], step["commit"], step["outcome"]) == ("6.6", stable.commits["6"], "clean")
    assert found.fixed == {"freplace-loop"}


def test_a_fix_that_was_reverted_is_picked_again(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    picked = tree.commit(backported("6"), changes(mainline.stages[4], mainline.stages[5]))
    tree.commit(
        f'Revert "{FIXES["6"].subject}"\n\nThis reverts commit {picked}.\n',
        changes(mainline.stages[5], mainline.stages[4]),
    )
    tree.checkout()
    git("reset", "-q", cwd=tree.path)
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "6")
    assert outcomes(found) == [("6", "clean")]
    assert (
        followed(tree.path, tmp_path / "mended", "--upstream", str(mainline.path), "--only", "6")
        == found.data["result"]["tree"]
    )


def test_a_backport_that_its_branch_reverted_is_no_source(mainline: Upstream, tmp_path: Path) -> None:
    stable = Upstream(tmp_path / "stable", mainline.stages[5], ["6"], "6.1.191", backported)
    stable.commit(
        f'Revert "{FIXES["6"].subject}"\n\nThis reverts commit {stable.commits["6"]}.\n',
        changes(stable.stages[1], stable.stages[0]),
    )
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    found = plan(tree.path, "--upstream", str(stable.path), "--only", "6")
    (step,) = found.steps
    assert step["outcome"] == "object-missing"
    both = plan(tree.path, "--upstream", str(stable.path), "--upstream", str(mainline.path), "--only", "6")
    assert [(step["source"], step["outcome"]) for step in both.steps] == [("mainline", "clean")]


def test_what_is_there_and_not_understood_is_found_by_the_merge(mainline: Upstream, tmp_path: Path) -> None:
    """A macro stands in for a name of the fix: the code is no proof, and picking the fix would change nothing."""
    files = dict(mainline.stages[-1])
    replaced(files, ARRAYMAP, '#include "map_in_map.h"\n', '#include "map_in_map.h"\n#define is_extended 0\n', 1)
    tree = tree_of(tmp_path / "tree", files)
    assert plan(tree.path, "--upstream", str(mainline.path), "--only", "6").code == 3
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "6", "--unknown")
    assert outcomes(found) == [("6", "present")]
    assert found.data["result"]["open"] == ["freplace-loop"]
    assert found.code == 3


def test_the_hierarchy_fix_is_carried_to_the_older_jit(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "up", files_of("6.12"), ["4"], "6.12")
    tree = tree_of(tmp_path / "tree", upstream.stages[0], "6.11.1")
    found = plan(tree.path, "--upstream", str(upstream.path), "--only", "4")
    assert outcomes(found) == [("4", "clean")]
    assert found.fixed == {"x86-hierarchy"}


def test_a_file_that_was_renamed_is_found(mainline: Upstream, tmp_path: Path) -> None:
    files = dict(mainline.stages[4])
    files["kernel/bpf/prog_array.c"] = files.pop(ARRAYMAP)
    tree = tree_of(tmp_path / "tree", files)
    found = plan(tree.path, "--upstream", str(mainline.path), "--only", "6", "--unknown")
    assert outcomes(found) == [("6", "renames")]
    assert (
        followed(tree.path, tmp_path / "mended", "--upstream", str(mainline.path), "--only", "6", "--unknown")
        == found.data["result"]["tree"]
    )


def test_a_missing_object_has_a_command_that_brings_it(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    found = plan(tree.path, "--only", "6")
    (step,) = found.steps
    assert step["outcome"] == "object-missing"
    assert step["fetch"].startswith("git fetch https://git.kernel.org/")
    assert step["commit"] == "987aa730bad3e1ef66d9f30182294daa78f6387d"
    assert step["source"] == "6.12"
    assert found.data["result"]["tested"] is False
    assert found.data["result"]["tree"] is None
    assert found.code == 3


def test_commits_are_known_by_their_ids(mainline: Upstream, tmp_path: Path) -> None:
    """The objects are in the audited repository itself, with no branch that leads to them."""
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    git("fetch", "-q", str(mainline.path), "master", cwd=tree.path)
    catalog = catalog_with(tmp_path / "commits.json", mainline.commits)
    found = plan(tree.path, "--only", SIX, "--catalog", catalog)
    assert [step["commit"] for step in found.steps] == [mainline.commits[name] for name in IN_ORDER]
    assert found.code == 1


def test_nothing_is_left_of_the_scratch_repository(
    mainline: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    plan(tree.path, "--upstream", str(mainline.path), "--only", "6")
    assert list(place.iterdir()) == []


def test_the_tree_s_own_stable_branch_needs_not_be_named(mainline: Upstream, tmp_path: Path) -> None:
    """linux-6.1.y of a remote is looked in for a tree of 6.1; several places can be named after one option."""
    stable = Upstream(tmp_path / "stable", mainline.stages[5], ["6"], "6.1.191", backported)
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    git("fetch", "-q", str(stable.path), "master:refs/remotes/kernel/linux-6.1.y", cwd=tree.path)
    assert [(step["source"], step["outcome"]) for step in plan(tree.path, "--only", "6").steps] == [("6.1", "clean")]
    git("update-ref", "-d", "refs/remotes/kernel/linux-6.1.y", cwd=tree.path)
    assert [step["outcome"] for step in plan(tree.path, "--only", "6").steps] == ["object-missing"]
    found = plan(tree.path, "--only", "6", "--upstream", str(mainline.path), str(stable.path))
    assert [(step["source"], step["commit"]) for step in found.steps] == [("6.1", stable.commits["6"])]


def test_what_is_lacking_and_cannot_be_brought_leaves_its_defect_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the git binary the commit that brought a name is not looked for."""
    files = files_of("6.1")
    upstream = Upstream(tmp_path / "up", files, ["6"], "6.12")
    before = dict(upstream.stages[0])
    replaced(before, BPF_H, "	bool is_extended; ", "	bool was_extended; ", 1)
    tree = tree_of(tmp_path / "tree", before)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = plan(tree.path, "--upstream", str(upstream.path), "--only", "6")
    (step,) = found.steps
    assert (step["outcome"], step["lacks"]) == ("clean", ["is_extended"])
    assert found.fixed == set()
    assert found.data["result"]["open"] == ["freplace-loop"]
    assert found.code == 3
