"""Builds that a release string names are looked up where the user says so: at servers with the layouts that Debian,
Ubuntu and RPM repositories have.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Confidence, Presence, TargetReport
from tailcall_audit.analyzer.subjects.subject import Fleet
from tailcall_audit.analyzer.web.repositories import KnownRepository
from tests.reports import whole_verdicts
from tests.web.servers import Answer, Web, serve

SUBJECT_3 = "bpf, x64: Fix tailcall infinite loop"
SUBJECT_4 = "bpf, x64: Fix tailcall hierarchy"
_POOL = "/ubuntu/pool/main/l"

_COMMAND = (
    "tailcall-audit --kernel 5.15.0-103-generic --online"
    "   (fetches its changelog; without a network, on that host: tailcall-audit)"
)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "http"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)  # in this checkout a survey would be written to its catalogue
    with serve() as server:
        monkeypatch.setenv("TAILCALL_AUDIT_DEBIAN_CHANGELOGS", f"{server.url}/debian")
        monkeypatch.setenv("TAILCALL_AUDIT_UBUNTU_CHANGELOGS", f"{server.url}/ubuntu")
        yield server


def listing(names: Sequence[str]) -> Answer:
    """A folder as Apache lists it: both Debian's and Ubuntu's servers do."""
    rows = "".join(
        f'<tr><td><a href="{name}">{name[:22]}..&gt;</a></td><td align="right">2026-07-09 10:11  </td></tr>\n'
        for name in names
    )
    return Answer(f'<html><body><table><a href="/pool/">Parent Directory</a>\n{rows}</table></body></html>'.encode())


def ubuntu_entry(version: str, items: Sequence[str], source: str = "linux") -> str:
    lines = "".join(f"    - {item}\n" for item in items)
    return (
        f"{source} ({version}) jammy; urgency=medium\n\n  * Jammy update: v5.15.150 upstream stable release (LP: #1)\n"
        f"{lines}\n -- A B <a@example.org>  Fri, 14 Nov 2025 17:49:39 +0100\n\n"
    )


def publish_ubuntu(web: Web, versions: Sequence[str], source: str = "linux") -> None:
    """Publishes the changelogs of these versions, oldest first; from the third on they list the fix of pitfall 3."""
    text = ""
    for number, version in enumerate(versions):
        text = ubuntu_entry(version, ["net: a fix", *([SUBJECT_3] if number == 2 else [])], source) + text
        web.answers[f"{_POOL}/{source}/{source}_{version}/changelog"] = Answer(text.encode())
    web.answers[f"{_POOL}/{source}/"] = listing([f"{source}_{version}/" for version in versions])


def states(target: TargetReport) -> dict[str, State]:
    return {slug: state for slug, state in target.states.items() if state is not State.UNKNOWN}


def test_nothing_is_asked_without_the_option(web: Web) -> None:
    report = audit(kernels=["5.15.0-103-generic"], arch="x86_64", only=["x86-trampoline-loop"])
    assert report.has(State.UNKNOWN)
    assert not web.requests
    assert report.targets[0].verdicts[0].settle == _COMMAND


def test_what_is_known_is_not_asked(web: Web) -> None:
    # Pitfall 2 is fixed in mainline before 6.8.
    report = audit(kernels=["6.8.0-35-generic"], arch="x86_64", only=["x86-count-offset"], online=True)
    assert not report.has(State.UNKNOWN)
    assert not web.requests


def test_ubuntu_s_number_is_found_in_the_listing(web: Web) -> None:
    publish_ubuntu(web, ["5.15.0-101.111", "5.15.0-102.112", "5.15.0-103.113", "5.15.0-104.114"])
    report = audit(
        kernels=["5.15.0-102-generic", "5.15.0-103-generic", "5.15.0-104-generic"],
        arch="x86_64",
        only=["x86-trampoline-loop"],
        online=True,
    )
    assert [target.states["x86-trampoline-loop"] for target in report.targets] == [
        State.UNKNOWN,
        State.FIXED,
        State.FIXED,
    ]
    assert report.targets[1].name == "5.15.0-103-generic"
    assert report.targets[1].identity["package"] == "5.15.0-103.113"
    assert any(
        f"looked up: {web.url}{_POOL}/linux/linux_5.15.0-103.113/changelog" in note for note in report.targets[1].notes
    )


@pytest.mark.parametrize("flavour", ["aws", "azure", "generic"])
def test_a_build_looked_up_is_what_the_package_is(web: Web, catalog: Catalog, flavour: str) -> None:
    source = "linux" if flavour == "generic" else f"linux-{flavour}"
    first = 30 if flavour == "generic" else 1070
    bare = catalog._replace(series=(), path="made")  # the shipped surveys know of real uploads with these numbers
    versions = [f"5.15.0-{first + number}.{first + 10 + number}" for number in range(4)]
    publish_ubuntu(web, versions, source)
    for number, version in enumerate(versions):
        release = f"5.15.0-{first + number}-{flavour}"
        by_name = audit(kernels=[release], arch="x86_64", online=True, catalog=bare).targets[0]
        by_package = audit(
            packages=[f"linux-image-{release}={version}"], distro="ubuntu", arch="x86_64", catalog=bare
        ).targets[0]
        assert by_name.states == by_package.states
        for ours, theirs in zip(by_name.verdicts, by_package.verdicts, strict=True):
            assert (ours.state, ours.confidence, ours.brief) == (theirs.state, theirs.confidence, theirs.brief)


def test_a_fleet_of_10_000_nodes_with_30_kernels_asks_30_times_and_then_not_at_all(web: Web) -> None:
    versions = [f"5.15.0-{number}.{number + 10}" for number in range(101, 131)]
    publish_ubuntu(web, versions)
    del web.answers[f"{_POOL}/linux/linux_5.15.0-130.140/changelog"]  # one that the server does not have
    # Each node has a line of its own.
    nodes = [
        f"Linux node{number} 5.15.0-{101 + number % 30}-generic #{111 + number % 30}-Ubuntu SMP Mon Jan 8 10:00:00 UTC 2024"
        for number in range(10_000)
    ]
    report = audit(kernels=nodes, arch="x86_64", only=["x86-trampoline-loop"], online=True)
    assert len(report.targets) == 10_000
    assert len(web.requests) == 30
    assert len({path for path, _ in web.requests}) == 30
    fixed = [target.states["x86-trampoline-loop"] is State.FIXED for target in report.targets[:30]]
    assert fixed == [False, False, *[True] * 27, False]
    again = audit(kernels=nodes[:60], arch="x86_64", only=["x86-trampoline-loop"], online=True)
    assert len(web.requests) == 30
    assert [target.states for target in again.targets[:30]] == [target.states for target in report.targets[:30]]
    assert any("had nothing there a short while ago" in note for note in again.targets[29].notes)


def test_a_list_of_10_000_nodes_asks_30_times_and_then_not_at_all(web: Web, tmp_path: Path) -> None:
    publish_ubuntu(web, [f"5.15.0-{number}.{number + 10}" for number in range(101, 131)])
    path = tmp_path / "nodes.json"
    rows = [
        {"name": f"node{number}", "kernel": f"5.15.0-{101 + number % 30}-generic", "arch": "x86_64"}
        for number in range(10_000)
    ]
    path.write_text(json.dumps(rows))
    for apart in (False, True):
        report = audit(fleet=Fleet(nodes=str(path)), only=["x86-trampoline-loop"], online=True, apart=apart)
        assert (len(report.targets), len(report.nodes)) == (30, 10_000)
        # The listing of the source package is asked for once, and the changelog of each upload.
        assert len(web.requests) == 31
        assert len({path for path, _ in web.requests}) == 31
        states = {target.name: target.states["x86-trampoline-loop"] for target in report.targets}
        assert states["5.15.0-101-generic"] is State.UNKNOWN
        assert states["5.15.0-103-generic"] is states["5.15.0-130-generic"] is State.FIXED


def test_an_unknown_of_a_node_names_the_look_up(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text('[{"name": "a", "kernel": "5.15.0-103-generic", "arch": "x86_64"}]')
    report = audit(fleet=Fleet(nodes=str(path)), only=["x86-trampoline-loop"])
    assert not web.requests
    assert report.targets[0].verdicts[0].settle == _COMMAND


def test_two_uploads_of_one_number_are_held_against_each_other(web: Web) -> None:
    publish_ubuntu(web, ["5.15.0-101.110", "5.15.0-101.111", "5.15.0-102.112"])
    web.answers[f"{_POOL}/linux/"] = listing(["linux_5.15.0-101.110/", "linux_5.15.0-101.111/"])
    report = audit(kernels=["5.15.0-101-generic"], arch="x86_64", only=["x86-trampoline-loop"], online=True)
    assert any("may be of 5.15.0-101.110, 5.15.0-101.111" in note for note in report.targets[0].notes)
    assert report.targets[0].states["x86-trampoline-loop"] is State.UNKNOWN


def test_a_server_that_cannot_be_reached_costs_no_verdict(web: Web) -> None:
    web.answers[f"{_POOL}/linux/"] = Answer(status=503)
    plain = audit(kernels=["5.15.0-103-generic"], arch="x86_64").targets[0]
    asked = audit(kernels=["5.15.0-103-generic"], arch="x86_64", online=True).targets[0]
    assert asked.states == plain.states
    assert any("looked up without an answer" in note and "503" in note for note in asked.notes)


def debian_entry(version: str, items: Sequence[str]) -> str:
    lines = "".join(f"  * {item}\n" if item.startswith("Bump") else f"    - {item}\n" for item in items)
    return f"linux ({version}) bookworm; urgency=medium\n\n{lines}\n -- A B <a@example.org>  Mon, 01 Jun 2026 10:00:00 +0000\n\n"


def test_debian_s_number_is_found_by_the_entry_that_sets_it(web: Web) -> None:
    pool = "/debian/main/l/linux"
    text = (
        debian_entry("6.1.230-1", ["Bump ABI to 62"])
        + debian_entry("6.1.229-2", ["a fix"])
        + debian_entry("6.1.229-1", ["Bump ABI to 61"])
    )
    web.answers[f"{pool}/"] = listing(
        ["linux_6.1.229-1_changelog", "linux_6.1.230-1_changelog", "linux_6.12.9-1_changelog", "bookworm_changelog"]
    )
    web.answers[f"{pool}/linux_6.1.230-1_changelog"] = Answer(text.encode())
    newest = audit(kernels=["6.1.0-62-amd64"], online=True).targets[0]
    assert newest.identity["package"] == "6.1.230-1"
    assert newest.identity["upstream"] == "6.1.230"
    several = audit(kernels=["6.1.0-61-amd64"], online=True).targets[0]
    assert any("may be of 6.1.229-1, 6.1.229-2" in note for note in several.notes)
    lacking = audit(kernels=["6.1.0-63-amd64"], online=True).targets[0]
    assert any("lists no package of 6.1.0-63-amd64" in note for note in lacking.notes)


ENTRIES = (
    ("5.14.0-427.13.1.el9_4", "net: x (A B) [RHEL-1]"),
    ("5.14.0-427.el9", f"{SUBJECT_4} (A B) [RHEL-2]"),
    ("5.14.0-362.el9", "mm: y (A B) [RHEL-3]"),
    ("5.14.0-1.el9", "the first build (A B)"),
)


def publish_rpms(web: Web, path: str, author: str = "N N <n@redhat.com>", versions: Sequence[str] = ()) -> str:
    """Publishes a repository as createrepo_c writes it, with a kernel-core for each version (the newest alone)."""
    packages = []
    for version in versions or (ENTRIES[0][0],):
        since = [build for build, _ in ENTRIES].index(version)
        entries = "".join(
            f'<changelog author="{author.replace("<", "&lt;").replace(">", "&gt;")} [{build}]" date="{1709550000 - 86400 * 30 * number}">- {item}</changelog>'
            for number, (build, item) in reversed(list(enumerate(ENTRIES)))
            if number >= since
        )
        number, _, release = version.partition("-")
        packages.append(
            f'<package pkgid="{hashlib.sha256(version.encode()).hexdigest()}" name="kernel-core" arch="x86_64">'
            f'<version epoch="0" ver="{number}" rel="{release}"/>{entries}</package>'
        )
    other = gzip.compress(
        f'<?xml version="1.0"?><otherdata xmlns="http://linux.duke.edu/metadata/other" packages="{len(packages)}">'
        f"{''.join(packages)}</otherdata>".encode(),
        mtime=0,
    )
    digest = hashlib.sha256(other).hexdigest()
    web.answers[f"{path}/repodata/{digest}-other.xml.gz"] = Answer(other)
    web.answers[f"{path}/repodata/repomd.xml"] = Answer(
        f'<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other">'
        f'<checksum type="sha256">{digest}</checksum><location href="repodata/{digest}-other.xml.gz"/></data></repomd>'.encode()
    )
    return f"{web.url}{path}"


BUILD = "5.14.0-427.13.1.el9_4.x86_64"
ALMA = f"Linux version {BUILD} (mockbuild@x64-builder02.almalinux.org) (gcc (GCC) 11.4.1)"


def bare(catalog: Catalog) -> Catalog:
    """The catalogue without what it knows of series, so that the changelog decides."""
    return catalog._replace(series=(), path="made")


def test_a_repository_is_named_once_and_asked_afterwards(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    place = publish_rpms(web, "/BaseOS/x86_64/os", versions=[version for version, _ in ENTRIES[:3]])
    main(["--kernel", BUILD, "--only", "x86-hierarchy", "--json"])
    verdict = whole_verdicts(json.loads(capsys.readouterr().out))[0]
    assert verdict["verdict"] == "unknown"
    assert verdict["settle"].startswith("tailcall-audit survey --repo URL --write")
    assert not web.requests
    # It contradicts what is shipped about these builds, because its entries are made.
    assert main(["survey", "--repo", place, "--write", "--name", "el9"]) == 1
    assert f"--online looks builds of rhel up in {place}" in capsys.readouterr().err
    seen = len(web.requests)
    assert main(["--kernel", BUILD, "--only", "x86-hierarchy", "--json"]) == 0
    assert whole_verdicts(json.loads(capsys.readouterr().out))[0]["verdict"] == "fixed"
    main(["survey", "forget", "el9"])
    capsys.readouterr()
    main(["--kernel", BUILD, "--only", "x86-hierarchy", "--json"])
    assert whole_verdicts(json.loads(capsys.readouterr().out))[0]["settle"].endswith(f"{BUILD} --online")
    assert main(["--kernel", BUILD, "--only", "x86-hierarchy", "--json", "--online"]) == 0
    assert whole_verdicts(json.loads(capsys.readouterr().out))[0]["verdict"] == "fixed"
    assert len(web.requests) == seen, "the repository is read once a day"


def test_a_rebuild_has_what_the_original_lists_with_medium_confidence_and_lacks_nothing(
    web: Web, catalog: Catalog
) -> None:
    known = [KnownRepository(publish_rpms(web, "/rhel"), ("rhel",))]
    own = audit(kernels=[BUILD], catalog=bare(catalog), online=True, repositories=known).targets[0]
    rebuilt = audit(kernels=[ALMA], catalog=bare(catalog), online=True, repositories=known).targets[0]
    assert own.states["x86-hierarchy"] is State.FIXED
    assert rebuilt.states["x86-hierarchy"] is State.FIXED
    by_slug = {item.defect.slug: item for item in rebuilt.verdicts}
    assert by_slug["x86-hierarchy"].confidence is Confidence.MEDIUM
    assert "by the changelog of Red Hat Enterprise Linux" in by_slug["x86-hierarchy"].reason
    assert own.states["freplace-loop"] is not State.UNKNOWN
    assert rebuilt.states["freplace-loop"] is State.UNKNOWN
    silent = [entry for item in rebuilt.verdicts for entry in item.evidence if entry.kind.value.startswith("changelog")]
    assert all(entry.presence is Presence.PRESENT for entry in silent)


@pytest.mark.parametrize(
    ("path", "author"),
    [("/rocky", "Release Engineering <releng@rockylinux.org>"), ("/pub/rockylinux/BaseOS", "N N <n@example.org>")],
)
def test_a_rebuilder_s_repository_under_the_original_s_name_is_said(
    web: Web, catalog: Catalog, path: str, author: str
) -> None:
    known = [KnownRepository(publish_rpms(web, path, author), ("rhel",))]
    found = audit(kernels=[BUILD], catalog=bare(catalog), online=True, repositories=known).targets[0]
    verdict = next(item for item in found.verdicts if item.defect.slug == "x86-hierarchy")
    assert (verdict.state, verdict.confidence) == (State.FIXED, Confidence.MEDIUM)
    assert "by the changelog of Rocky Linux" in verdict.reason
    assert found.states["freplace-loop"] is State.UNKNOWN


def test_builds_in_one_repository_read_it_once(web: Web, catalog: Catalog) -> None:
    known = [KnownRepository(publish_rpms(web, "/rhel", versions=[version for version, _ in ENTRIES[:3]]), ("rhel",))]
    builds = [f"{version}.x86_64" for version, _ in ENTRIES[:3]] + ["5.14.0-500.el9.x86_64"]
    for apart in (False, True):
        report = audit(kernels=builds, catalog=bare(catalog), online=True, repositories=known, apart=apart)
        by_slug = [target.states["x86-hierarchy"] for target in report.targets]
        assert by_slug == [State.FIXED, State.FIXED, State.AFFECTED, State.UNKNOWN]
        assert any("has no changelog of 5.14.0-500.el9" in note for note in report.targets[3].notes)
    assert len(web.requests) == 2


def test_a_hostile_changelog_costs_its_own_build_only(web: Web) -> None:
    publish_ubuntu(web, ["5.15.0-101.111", "5.15.0-102.112", "5.15.0-103.113"])
    web.answers[f"{_POOL}/linux/linux_5.15.0-101.111/changelog"] = Answer(b"\x1f\x8b" + b"\0" * 64)
    report = audit(
        kernels=["5.15.0-101-generic", "5.15.0-103-generic"],
        arch="x86_64",
        only=["x86-trampoline-loop"],
        online=True,
        apart=True,
    )
    assert report.targets[1].states["x86-trampoline-loop"] is State.FIXED
    assert any("looked up without an answer" in note for note in report.targets[0].notes)


def test_the_options_that_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AuditError, match="looks up the builds"):
        audit(online=True)
    assert main(["--online", "--offline", "--kernel", "5.15.0-101-generic"]) == 2
    assert "contradict each other" in capsys.readouterr().err
