"""The command that an unknown build's report names is run as it stands, and decides the build afterwards.

The repositories have the layout of createrepo_c, and entries as each vendor writes them: openEuler leaves out what
uname -r has behind the version, Amazon and SUSE name no version, and SUSE's packages count their rebuilds.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tailcall_audit.analyzer.app.main import main
from tests.reports import whole_verdicts
from tests.repositories import FIX_6_SUBJECT

_XML = "http://linux.duke.edu/metadata"


class _Package(NamedTuple):
    """An RPM in a repository: its name, version and release, and its entries (version or None, lines), newest first."""

    name: str
    version: str
    release: str
    entries: Sequence[tuple[str | None, Sequence[str]]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def _element(package: _Package, author: str) -> str:
    entries = "".join(
        f'<changelog author="N N &lt;{author}&gt;{"" if version is None else version}" date="{1_700_000_000 - number * 9_000_000}">'
        f"{''.join(f'- {line}&#10;' for line in lines)}</changelog>"
        for number, (version, lines) in reversed(list(enumerate(package.entries)))
    )
    named = hashlib.sha256(repr(package).encode()).hexdigest()
    return (
        f'<package pkgid="{named}" name="{package.name}" arch="x86_64">'
        f'<version epoch="0" ver="{package.version}" rel="{package.release}"/>{entries}</package>'
    )


def _repository(folder: Path, *packages: _Package, author: str = "n@example.org") -> str:
    """Writes a repository's indexes, and returns the folder's name."""
    other = gzip.compress(
        f'<?xml version="1.0"?><otherdata xmlns="{_XML}/other" packages="{len(packages)}">'
        f"{''.join(_element(item, author) for item in packages)}</otherdata>".encode()
    )
    digest = hashlib.sha256(other).hexdigest()
    (folder / "repodata").mkdir(parents=True)
    (folder / "repodata/other.xml.gz").write_bytes(other)
    (folder / "repodata/repomd.xml").write_text(
        f'<?xml version="1.0"?><repomd xmlns="{_XML}/repo"><data type="other"><checksum type="sha256">{digest}</checksum>'
        '<location href="repodata/other.xml.gz"/></data></repomd>'
    )
    return str(folder)


def _verdict(kernel: str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    main(["--kernel", kernel, "--only", "freplace-loop", "--arch", "x86_64", "--json", *more])
    return whole_verdicts(json.loads(capsys.readouterr().out))[0]


_RHEL = (
    (" [5.14.0-503.40.1.el9_5]", [f"{FIX_6_SUBJECT} (N N) [RHEL-1]"]),
    (" [5.14.0-503.el9]", ["mm: x (N N) [RHEL-2]"]),
)
_UEK = (
    (" [5.15.0-300.163.18.el9uek]", [f"{FIX_6_SUBJECT} (N N)  [Orabug: 1]"]),
    (" [5.15.0-300.161.13.el9uek]", ["x"]),
)
_OPENEULER = ((" - 6.6.0-28.0.0.34", [FIX_6_SUBJECT]), (" - 6.6.0-27.0.0.33", ["net: x"]))
_WITHOUT = ((None, [f"{FIX_6_SUBJECT} (N N)"]), (None, ["mm: x (N N)"]))
_SUSE = ((None, [f"{FIX_6_SUBJECT} (git-fixes).", "commit 798b26b"]), (None, ["mm: x (git-fixes).", "commit 0d32003"]))
_AZURE = ((" - 6.6.64.2-1", [FIX_6_SUBJECT]), (" - 6.6.57.1-7", ["mm: x"]))

_FAMILIES = {
    "5.14.0-503.40.1.el9_5.x86_64": _Package("kernel-core", "5.14.0", "503.40.1.el9_5", _RHEL),
    "5.15.0-300.163.18.el9uek.x86_64": _Package("kernel-uek-core", "5.15.0", "300.163.18.el9uek", _UEK),
    "6.6.0-28.0.0.34.oe2403.x86_64": _Package("kernel", "6.6.0", "28.0.0.34.oe2403", _OPENEULER),
    "6.1.115-126.197.amzn2023.x86_64": _Package("kernel", "6.1.115", "126.197.amzn2023", _WITHOUT),
    "6.4.0-150600.23.25-default": _Package("kernel-default", "6.4.0", "150600.23.25.1", _SUSE),
    "6.4.0-150600.8.17-azure": _Package("kernel-azure", "6.4.0", "150600.8.17.1", _SUSE),
}


@pytest.mark.parametrize("kernel", _FAMILIES)
def test_the_command_that_an_unknown_names_teaches_it(
    kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _verdict(kernel, capsys)
    assert before["verdict"] == "unknown"
    command, _, remark = before["settle"].partition("   ")
    assert f"{_FAMILIES[kernel].name} of this build" in remark
    place = _repository(tmp_path / "repository", _FAMILIES[kernel])
    words = shlex.split(command.replace("URL", place))
    assert words[0] == "tailcall-audit"
    assert main(words[1:]) in (0, 1)  # 1: what is made here contradicts the real builds' survey
    capsys.readouterr()
    after = _verdict(kernel, capsys)
    assert after["verdict"] == "fixed"
    assert any("survey" in item["citation"] for item in after["evidence"])
    # The place was kept too: without the survey, the build is looked up there.
    main(["survey", "list", "--json"])
    (kept,) = json.loads(capsys.readouterr().out)["surveys"]
    main(["survey", "forget", kept["name"]])
    capsys.readouterr()
    assert _verdict(kernel, capsys)["verdict"] == "unknown"
    assert _verdict(kernel, capsys, "--online")["verdict"] == "fixed"


@pytest.mark.parametrize(
    "other",
    [
        "6.4.0-150600.23.22-default",  # before it
        "6.4.0-150700.53.3-default",  # the next service pack, which left the common history before
        "6.4.0-150600.99.1-azure",  # numbers of its own
        "6.4.0-150600.99.1-rt",
    ],
)
def test_a_fix_in_a_service_pack_of_suse_is_on_its_own_line_only(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = _repository(tmp_path / "repository", _FAMILIES["6.4.0-150600.23.25-default"])
    main(["survey", "--repo", place, "--write"])
    capsys.readouterr()
    assert _verdict("6.4.0-150600.23.30-default", capsys)["verdict"] == "fixed"
    assert _verdict(other, capsys)["verdict"] == "unknown"


def test_a_fix_in_an_update_of_uek_is_not_in_the_next_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = _repository(tmp_path / "repository", _FAMILIES["5.15.0-300.163.18.el9uek.x86_64"])
    main(["survey", "--repo", place, "--write"])
    capsys.readouterr()
    assert _verdict("5.15.0-300.163.19.el9uek.x86_64", capsys)["verdict"] == "fixed"
    assert _verdict("5.15.0-301.163.5.2.el9uek.x86_64", capsys)["verdict"] == "unknown"


def test_a_kept_survey_of_azure_linux_costs_no_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its versions have four numbers: 6.6.64.2."""
    place = _repository(tmp_path / "repository", _Package("kernel", "6.6.64.2", "1.azl3", _AZURE))
    assert main(["survey", "--repo", place, "--write"]) == 0
    capsys.readouterr()
    assert _verdict("6.6.64.2-1.azl3", capsys)["verdict"] in ("fixed", "not-affected")
    assert _verdict("6.6.64.2-3.azl3", capsys)["verdict"] in ("fixed", "not-affected")
    assert _verdict("6.6.57.1-7.azl3", capsys)["verdict"] != "fixed"


_ALMA = "Linux version {} (mockbuild@x64-builder02.almalinux.org) (gcc (GCC) 11.5.0)"
_BUILD = "5.14.0-503.40.1.el9_5.x86_64"
_REBUILT = _Package(
    "kernel-core",
    "5.14.0",
    "503.40.1.el9_5",
    (
        (" [5.14.0-503.40.1.el9_5]", [f"{FIX_6_SUBJECT} (N N)"]),
        (" [5.14.0-503.el9]", ["mm: x (N N)"]),
        (" [5.14.0-1.el9]", ["the first build (N N)"]),
    ),
)


@pytest.mark.parametrize("place", ["almalinux/9/BaseOS", "BaseOS"])
def test_what_a_rebuilder_wrote_is_about_its_own_builds(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose it is shows in the repository's address or in the author of the newest entries."""
    url = _repository(tmp_path / place, _REBUILT, author="x@example.org" if "alma" in place else "releng@almalinux.org")
    main(["survey", "--repo", url, "--write"])
    assert "surveys/rhel-5.14-el9.5-almalinux.json" in capsys.readouterr().err
    ours = _verdict(_ALMA.format(_BUILD), capsys)
    assert ours["verdict"] == "not-affected"  # it lists all that it takes, and lacks what the defect needs
    # Red Hat's build of this name has what is listed, with less confidence; its other builds have nothing of it.
    original = _verdict(_BUILD, capsys)
    assert (original["verdict"], original["confidence"]) == ("fixed", "medium")
    assert "by the changelog of AlmaLinux, whose build has the same name" in original["reason"]
    for later in ("5.14.0-503.41.1.el9_5.x86_64", "5.14.0-504.el9.x86_64"):
        assert _verdict(later, capsys)["verdict"] == "unknown"


def test_a_rebuild_inherits_what_the_original_lists_and_lacks_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["survey", "--repo", _repository(tmp_path / "BaseOS", _REBUILT), "--write"])
    capsys.readouterr()
    assert _verdict(_BUILD, capsys)["verdict"] == "not-affected"
    rebuilt = _verdict(_ALMA.format(_BUILD), capsys)
    assert (rebuilt["verdict"], rebuilt["confidence"]) == ("fixed", "medium")
    assert "by the changelog of Red Hat Enterprise Linux, of whose build this is one more" in rebuilt["reason"]
    assert _verdict(_ALMA.format("5.14.0-503.el9.x86_64"), capsys)["verdict"] == "unknown"


def test_a_service_pack_of_openeuler_has_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """oe2403 is the start of oe2403sp1, and another release."""
    place = _repository(tmp_path / "repository", _FAMILIES["6.6.0-28.0.0.34.oe2403.x86_64"])
    main(["survey", "--repo", place, "--write"])
    capsys.readouterr()
    assert _verdict("6.6.0-29.0.0.35.oe2403.x86_64", capsys)["verdict"] == "fixed"
    assert _verdict("6.6.0-29.0.0.35.oe2403sp9.x86_64", capsys)["verdict"] == "unknown"


_OTHER = "x86-hierarchy"
"""A defect whose fix no entry here lists."""


def _settle(kernel: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(["--kernel", kernel, "--only", _OTHER, "--arch", "x86_64", "--json"])
    (found,) = whole_verdicts(json.loads(capsys.readouterr().out))
    assert found["verdict"] == "unknown"
    return str(found["settle"])


def test_after_a_survey_that_proves_no_absence_an_unknown_names_the_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To look the same changelog up again would add nothing. What it was not read through is looked up as before."""
    kernel = "6.6.0-28.0.0.34.oe2403.x86_64"
    assert _settle(kernel, capsys).startswith("tailcall-audit survey --repo URL --write   ")
    main(["survey", "--repo", _repository(tmp_path / "repository", _FAMILIES[kernel]), "--write"])
    capsys.readouterr()
    for read in (kernel, "6.6.0-27.0.0.33.oe2403.x86_64", "6.6.0-27.0.0.33.oe2403.aarch64"):
        assert _settle(read, capsys) == (
            "tailcall-audit --tree PATH   on the sources that it was built from; survey openeuler-6.6-oe2403 has read its"
            " changelog, which leaves this open"
        )
    for beyond in (
        "6.6.0-29.0.0.35.oe2403.x86_64",  # a later build
        "6.6.0-28.1.0.34.oe2403.x86_64",  # another line, which left the main one at 28
        "6.6.0-28.0.0.34.oe2403sp9.x86_64",  # a service pack
    ):
        assert _settle(beyond, capsys) == f"tailcall-audit --kernel {beyond} --online"


def test_a_commit_that_a_series_took_back_is_looked_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No fact states which builds have it, and the changelog of a build does."""
    reverted = _Package(
        "kernel",
        "6.6.0",
        "28.0.0.34.oe2403",
        (
            (" - 6.6.0-28.0.0.34", [f'Revert "{FIX_6_SUBJECT}"']),
            (" - 6.6.0-27.0.0.33", [FIX_6_SUBJECT]),
            (" - 6.6.0-26.0.0.32", ["net: x"]),
        ),
    )
    before = reverted._replace(release="27.0.0.33.oe2403", entries=reverted.entries[1:])
    main(["survey", "--repo", _repository(tmp_path / "repository", reverted, before), "--write"])
    capsys.readouterr()
    found = _verdict("6.6.0-27.0.0.33.oe2403.x86_64", capsys)
    assert (found["verdict"], found["settle"].endswith("--online")) == ("unknown", True)
    assert _settle("6.6.0-27.0.0.33.oe2403.x86_64", capsys).startswith("tailcall-audit --tree PATH ")
    assert _verdict("6.6.0-27.0.0.33.oe2403.x86_64", capsys, "--online")["verdict"] == "fixed"


def test_a_survey_older_than_the_catalogue_may_lack_its_commits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = "6.6.0-28.0.0.34.oe2403.x86_64"
    place = _repository(tmp_path / "repository", _FAMILIES[kernel])
    main(["survey", "--repo", place, "--write", "--date", "2020-01-01"])
    capsys.readouterr()
    assert _settle(kernel, capsys).endswith("--online")


def test_whose_builds_a_survey_without_a_claim_read_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RHEL has rebuilders, and what they wrote shows in the claims alone."""
    kernel = "5.14.0-503.40.1.el9_5.x86_64"
    entries = ((" [5.14.0-503.40.1.el9_5]", ["mm: x (N N) [RHEL-2]"]),)
    package = _Package("kernel-core", "5.14.0", "503.40.1.el9_5", entries)
    main(["survey", "--repo", _repository(tmp_path / "repository", package), "--write"])
    capsys.readouterr()
    assert _settle(kernel, capsys).endswith("--online")


def test_what_a_rebuilder_s_changelog_leaves_open_the_original_s_may_settle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _repository(tmp_path / "almalinux/9", _REBUILT._replace(entries=_REBUILT.entries[:2]))
    main(["survey", "--repo", url, "--write"])
    capsys.readouterr()
    assert "has read its changelog" in _settle(_ALMA.format(_BUILD), capsys)
    assert "has read its changelog" not in _settle(_BUILD, capsys)


@pytest.mark.parametrize("kernel", ["5.15.0-1075-aws", "6.1.0-99-amd64"])
def test_without_a_network_the_host_itself_settles_it(kernel: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, remark = _settle(kernel, capsys).partition("   ")
    assert command == f"tailcall-audit --kernel {kernel} --online"
    assert remark == "(fetches its changelog; without a network, on that host: tailcall-audit)"
