"""Histories written for the purpose: backports, reverts, squashes, shallow and partial clones, hostile messages."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers import history as history_module
from tailcall_audit.analyzer.readers.history import read_history
from tailcall_audit.analyzer.version import parse_version
from tests.readers.histories import about, read
from tests.repositories import (
    FIX_3,
    FIX_3_SUBJECT,
    FIX_6,
    FIX_6_SUBJECT,
    History,
    backport,
    git,
    makefile,
    stable_branch,
)

P, A, U = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def test_nothing_in_a_whole_history_is_absent(catalog: Catalog, stable: History, walker: str) -> None:
    found = read(catalog, stable.path)
    assert found.complete
    assert about(found).presence is A
    assert "not among the 1 commits" in about(found).detail


def test_what_the_base_release_has_is_present_by_descent(catalog: Catalog, stable: History, walker: str) -> None:
    found = read(catalog, stable.path)
    item = about(found, "ff672c67ee76")
    assert (item.presence, item.confidence) == (P, Confidence.HIGH)
    assert "v6.1" in item.citation
    base = stable.repository.references["refs/tags/v6.1"].target
    assert found.notes == (f"history: 1 commits since tag v6.1 ({str(base)[:12]})",)


@pytest.mark.parametrize(
    "body",
    [
        f"commit {FIX_6} upstream.",
        f"[ Upstream commit {FIX_6} ]",
        f"[ commit {FIX_6} upstream ]",
        f"(cherry picked from commit {FIX_6})",
        f"(cherry-picked from commit {FIX_6})",
        f"(backported from commit {FIX_6} linux-next)",
        f"Upstream commit {FIX_6}",
        f"Git-commit: {FIX_6}\nPatch-mainline: v6.13-rc1",
        f"Upstream-commit: {FIX_6}",
        f"upstream: commit {FIX_6}",
        f"JIRA: https://issues.example.org/browse/RHEL-1\nUpstream Status: linux.git\n\ncommit {FIX_6}\nAuthor: Leon Hwang <leon.hwang@linux.dev>",
        f"mainline inclusion\nfrom mainline-v6.13-rc1\ncommit {FIX_6}\ncategory: bugfix",
        f"[ Upstream commit {FIX_6[:12]} ]",
    ],
)
def test_each_form_of_trailer_is_a_backport(catalog: Catalog, stable: History, body: str) -> None:
    stable.commit(f"{FIX_6_SUBJECT}\n\n{body}\n\nSigned-off-by: A <a@example.org>\n")
    item = about(read(catalog, stable.path))
    assert item.presence is P
    assert "names upstream" in item.detail


@pytest.mark.parametrize("prefix", ["UPSTREAM: ", "BACKPORT: ", "FROMGIT: ", ""])
def test_the_same_subject_is_second_best(catalog: Catalog, stable: History, prefix: str, walker: str) -> None:
    stable.commit(f"{prefix}{FIX_6_SUBJECT}\n\nBug: 1234\n")
    item = about(read(catalog, stable.path))
    assert item.presence is P
    assert item.confidence.label == "medium"


@pytest.mark.parametrize(
    "message",
    [
        f'selftests/bpf: Test it\n\nFixes: {FIX_6[:12]} ("{FIX_6_SUBJECT}")\n',
        f'bpf: Something\n\nStable-dep-of: {FIX_6} ("{FIX_6_SUBJECT}")\n',
        f"bpf: Something\n\nDepends-on: commit {FIX_6}\nOmitted-fix: {FIX_6}\n",
        f"bpf: Something\n\nAs commit {FIX_6} upstream says, this is needed.\n",
        f"bpf: Something\n\n> commit {FIX_6} upstream.\n",
        f"bpf: Something\n\n    commit {FIX_6} upstream.\n",
        f"bpf: Something\n\n{FIX_6} is the first bad commit\ncommit {FIX_6}\nAuthor: A Developer\n",
        f"bpf: Something else\n\ncommit {FIX_6}\nAuthor: A Developer\n",
        f"selftests/bpf: {FIX_6_SUBJECT}\n",
        "Merge branch 'bpf'\n\n* bpf:\n  " + FIX_6_SUBJECT + "\n",
    ],
)
def test_a_mention_proves_nothing(catalog: Catalog, stable: History, message: str) -> None:
    stable.commit(message)
    assert about(read(catalog, stable.path)).presence is A


@pytest.mark.parametrize("message", [f"{FIX_6_SUBJECT} (part 2)\n", f"UBUNTU: SAUCE: {FIX_6_SUBJECT}\n"])
def test_what_only_looks_like_it_is_open(catalog: Catalog, stable: History, message: str) -> None:
    stable.commit(message)
    assert about(read(catalog, stable.path)).presence is U


def test_resolved_conflicts_make_it_conditional(catalog: Catalog, stable: History) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT, "[ Conflicts: kernel/bpf/arraymap.c ]\n"))
    found = about(read(catalog, stable.path))
    assert found.conditional
    assert found.detail.endswith(", with conflicts resolved")
    assert found.settle is not None
    assert found.settle.startswith("git show ")


def test_the_commit_itself_in_a_mainline_tree_is_an_ancestor(catalog: Catalog, tmp_path: Path) -> None:
    history = History(tmp_path / "linux", "6.11")
    history.release("6.11")
    history.release("6.12")
    history.commit("Linux 6.13-rc3\n", {"Makefile": makefile("6.13.0-rc3")})
    found = read(catalog, history.path)
    assert found.base is not None
    assert str(found.base.version) == "6.12"
    assert about(found).presence is A


def test_the_base_is_found_without_tags(catalog: Catalog, stable: History, walker: str) -> None:
    for name in list(stable.repository.references):
        if name.startswith("refs/tags/"):
            stable.repository.references.delete(name)
    found = read(catalog, stable.path)
    assert found.complete
    assert found.base is not None
    assert found.base.how == 'commit "Linux 6.1"'


def test_a_tag_that_is_no_ancestor_is_not_the_base(catalog: Catalog, stable: History, walker: str) -> None:
    stray = stable.commit("a commit elsewhere\n", parents=[])
    stable.repository.references.create("refs/tags/v6.1", stray, force=True)
    stable.commit("HEAD without a base\n", parents=[])
    found = read(catalog, stable.path)
    assert not found.complete
    assert about(found).presence is U
    assert about(found, "ff672c67ee76").presence is U


def test_a_squashed_import_proves_no_absence(catalog: Catalog, tmp_path: Path, walker: str) -> None:
    history = History(tmp_path / "linux", "6.1.170")
    history.commit("Import 6.1.170\n")
    history.commit(backport(FIX_6, FIX_6_SUBJECT))
    found = read(catalog, history.path)
    assert not found.complete
    assert about(found).presence is P
    assert about(found, "116e04ba1459").presence is U


def test_a_shallow_clone_gives_unknown_and_never_absent(
    catalog: Catalog, stable: History, tmp_path: Path, walker: str
) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit("net: later\n")
    stable.commit("net: last\n")
    clone = tmp_path / "shallow"
    git("clone", "-q", "--depth", "2", "--no-local", f"file://{stable.path}", str(clone))
    found = read(catalog, clone)
    assert not found.complete
    assert about(found).presence is U
    assert "shallow" in about(found).detail
    assert "unshallow" in str(about(found).settle)
    deeper = tmp_path / "deeper"
    git("clone", "-q", "--depth", "3", "--no-local", f"file://{stable.path}", str(deeper))
    assert about(read(catalog, deeper)).presence is P
    assert about(read(catalog, deeper), "116e04ba1459").presence is U


@pytest.mark.parametrize("kind", ["blob:none", "tree:0"])
def test_a_partial_clone_is_read_without_fetching(
    catalog: Catalog, stable: History, tmp_path: Path, walker: str, kind: str
) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    git("config", "uploadpack.allowFilter", "true", cwd=stable.path)
    clone = tmp_path / "partial"
    git("clone", "-q", "--bare", f"--filter={kind}", f"file://{stable.path}", str(clone))
    before = sorted(path.name for path in clone.rglob("*"))
    repository = pygit2.Repository(str(clone))
    found = read_history(catalog, repository, str(repository.head.target), None)
    assert about(found).presence is P
    assert sorted(path.name for path in clone.rglob("*")) == before


def test_a_bare_repository_and_a_worktree_are_read(
    catalog: Catalog, stable: History, tmp_path: Path, walker: str
) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    git("clone", "-q", "--bare", str(stable.path), str(tmp_path / "bare.git"))
    assert about(read(catalog, tmp_path / "bare.git")).presence is P
    git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD", cwd=stable.path)
    found = read(catalog, tmp_path / "linked")
    assert about(found).presence is P
    assert found.complete


def test_a_merged_topic_branch_counts(catalog: Catalog, stable: History, walker: str) -> None:
    fork = str(stable.repository.head.target)
    topic = stable.commit(backport(FIX_6, FIX_6_SUBJECT), parents=[fork])
    main = stable.commit("net: on the other side\n", parents=[fork])
    stable.commit("Merge branch 'topic'\n", parents=[main, topic])
    assert about(read(catalog, stable.path)).presence is P


def test_the_5_15_form_of_another_commit_counts_on_5_15_only(catalog: Catalog, tmp_path: Path) -> None:
    message = (
        "bpf: Move bpf map owner out of common struct\n\n[ Upstream commit fd1c98f0ef5cbcec842209776505d9e70d8fcd53 ]\n"
    )
    old = stable_branch(tmp_path / "old", "5.15.200")
    old.commit(message)
    assert about(read(catalog, old.path), "c04992612ed4").presence is P
    new = stable_branch(tmp_path / "new", "6.1.160")
    new.commit(message)
    assert about(read(catalog, new.path), "c04992612ed4").presence is A
    assert about(read(catalog, new.path), "1c123c567fb1").presence is A


@pytest.mark.parametrize(
    "message",
    [
        b"net: caf\xe9 \xff\xfe\n\n\x80\x81 [ Upstream commit \xff ]\n",
        b"x" * 100_000 + b"\n\nbody\n",
        b"net: \x1b]0;owned\x07\x1b[2J\n\n\x1b[31m\n",
        b"",
        b"\n\n\n",
        b'Revert "' * 2000 + b"\n",
        b"This reverts commit " + b"f" * 40 + b".\n",
        b"commit " * 50_000,
    ],
)
def test_hostile_messages_hide_nothing(catalog: Catalog, stable: History, message: bytes, walker: str) -> None:
    stable.commit(backport(FIX_6, FIX_6_SUBJECT))
    stable.commit(message)
    found = read(catalog, stable.path)
    assert about(found).presence is P
    assert found.walked == 3


def test_escapes_of_a_subject_do_not_reach_the_citation(catalog: Catalog, stable: History) -> None:
    stable.commit(f"{FIX_6_SUBJECT}\x1b[2J\x07\n\n[ Upstream commit {FIX_6} ]\n")
    item = about(read(catalog, stable.path))
    assert item.presence is P
    assert "\x1b" not in item.citation + item.detail


def test_a_not_fix_of_the_catalogue_is_none(catalog: Catalog, stable: History) -> None:
    stable.commit(f"selftests/bpf: Add testcases for tailcall infinite loop fixing\n\n[ Upstream commit {FIX_3} ]\n")
    assert about(read(catalog, stable.path), FIX_3[:12]).presence is A
    stable.commit(backport(FIX_3, FIX_3_SUBJECT))
    assert about(read(catalog, stable.path), FIX_3[:12]).presence is P


def test_a_wrong_id_with_the_right_first_digits_is_no_match(catalog: Catalog, stable: History) -> None:
    stable.commit(f"bpf: forged\n\n[ Upstream commit {FIX_6[:12]}{'0' * 28} ]\n")
    assert about(read(catalog, stable.path)).presence is A


def test_a_missing_object_breaks_the_walk_and_absence_with_it(catalog: Catalog, stable: History, walker: str) -> None:
    victim = stable.commit("net: this one gets lost\n")
    stable.commit("net: later\n")
    (stable.path / ".git/objects" / victim[:2] / victim[2:]).unlink()
    found = read(catalog, stable.path)
    assert not found.complete
    assert about(found).presence is U


def test_the_walk_stops_at_its_bound(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walker: str
) -> None:
    monkeypatch.setattr(history_module, "_MAX_WITHOUT_BASE", 3)
    history = History(tmp_path / "linux", "6.1.170")
    for number in range(8):
        history.commit(f"net: {number}\n")
    found = read(catalog, history.path)
    assert found.walked == 3
    assert not found.complete


def test_a_clone_that_is_cut_on_a_side_branch_proves_no_absence(catalog: Catalog, tmp_path: Path) -> None:
    """The base is reached, and what the side branch brought before its cut is not in the clone."""
    history = stable_branch(tmp_path / "linux", "6.1.170")
    base = str(history.repository.references["refs/tags/v6.1"].target)
    main = history.commit("net: main line\n")
    side = history.commit("net: a side branch\n", parents=[base])
    history.commit("Merge branch 'side'\n", parents=[main, side])
    assert about(read(catalog, history.path)).presence is A
    (history.path / ".git/shallow").write_text(f"{side}\n")
    assert about(read(catalog, history.path)).presence is U


def _known_mainline(catalog: Catalog, commit: str) -> Catalog:
    """The catalogue, in which mainline's v6.1 is a commit of a made history."""
    return catalog._replace(branches={**catalog.branches, "6.1": catalog.branches["6.1"]._replace(mainline=commit)})


def test_mainlines_own_commit_is_the_base_where_its_tag_was_moved_or_is_missing(
    catalog: Catalog, stable: History, walker: str
) -> None:
    base = str(stable.repository.references["refs/tags/v6.1"].target)
    known = _known_mainline(catalog, base)
    found = read(known, stable.path)
    assert found.base is not None
    assert (found.base.how, found.base.commit) == ("tag v6.1", base)
    stray = stable.commit("a commit elsewhere\n", parents=[])
    stable.commit("HEAD\n", parents=[base])
    for move in (True, False):
        if move:
            stable.repository.references.create("refs/tags/v6.1", stray, force=True)
        else:
            stable.repository.references.delete("refs/tags/v6.1")
        found = read(known, stable.path)
        assert found.complete
        assert found.base is not None
        assert (found.base.how, found.base.commit) == ("mainline's commit of v6.1", base)


@pytest.mark.parametrize("cut", ["tag", "commit"])
def test_a_tag_that_is_cut_off_is_not_the_base(catalog: Catalog, stable: History, walker: str, cut: str) -> None:
    """libgit2 reads a loose object that is cut off as if it were whole, so that any of it may be wrong."""
    commit = str(stable.repository.references["refs/tags/v6.1"].target)
    signature = pygit2.Signature("A", "a@example.org", 1_600_000_000, 0)
    stable.repository.references.delete("refs/tags/v6.1")
    tag = str(stable.repository.create_tag("v6.1", commit, pygit2.enums.ObjectType.COMMIT, signature, "x" * 4096))
    head, version = str(stable.repository.head.target), parse_version("6.1.170")
    found = read_history(catalog, stable.repository, head, version)
    assert found.base is not None
    assert found.base.how == "tag v6.1"
    name = tag if cut == "tag" else commit
    loose = stable.path / ".git/objects" / name[:2] / name[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:-12])
    found = read_history(catalog, pygit2.Repository(str(stable.path)), head, version)
    assert found.base is None or found.base.how != "tag v6.1"
    assert cut == "tag" or not found.complete


def test_a_repository_without_a_commit_has_no_history(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path / "linux"), initial_head="master")
    for path in ("kernel/bpf", "include/linux"):
        (tmp_path / "linux" / path).mkdir(parents=True)
    (tmp_path / "linux/Makefile").write_bytes(makefile("6.1.170"))
    (tmp_path / "linux/Kconfig").write_bytes(b"\n")
    (report,) = audit(trees=[str(tmp_path / "linux")], arch="x86_64", only=["freplace-loop"]).targets
    assert report.identity["upstream"] == "6.1.170"
    assert not any(item.kind is EvidenceKind.HISTORY for item in report.verdicts[0].evidence)
