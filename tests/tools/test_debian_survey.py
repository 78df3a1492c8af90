"""Debian's ABI numbers, from changelogs as Debian writes them."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tools.debian_survey import Upload, merge, packages_of_abi, read_uploads, survey, whole_series

CHANGELOG = """\
linux (6.1.82-1) bookworm; urgency=medium

  * New upstream stable update:
    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.77
    - bpf, x64: Fix tailcall infinite loop

  [ Salvatore Bonaccorso ]
  * Bump ABI to 19

 -- N N <n@example.org>  Thu, 28 Mar 2024 10:00:00 +0100

linux (6.1.76-1~bpo11+1) bullseye-backports; urgency=medium

  * Rebuild for bullseye-backports

 -- N N <n@example.org>  Fri, 02 Feb 2024 10:00:00 +0100

linux (6.1.76-1) bookworm; urgency=medium

  * Bump ABI to 18

 -- N N <n@example.org>  Thu, 01 Feb 2024 10:00:00 +0100

linux (6.0.12-1) unstable; urgency=medium

  * Bump ABI to 6

 -- N N <n@example.org>  Fri, 09 Dec 2022 10:00:00 +0100

linux (5.19.11-1) unstable; urgency=medium

  * Bump ABI to 2

 -- N N <n@example.org>  Sat, 24 Sep 2022 10:00:00 +0200
"""


def upload(version: str, abi: str | None = None) -> Upload:
    return Upload(version, abi, frozenset())


def test_uploads_have_their_numbers_and_backports_are_left_out() -> None:
    found = list(read_uploads(CHANGELOG, "x"))
    assert [(series, item.version, item.abi) for series, item in found] == [
        ("6.1", "6.1.82-1", "19"),
        ("6.1", "6.1.76-1", "18"),
        ("6.0", "6.0.12-1", "6"),
        ("5.19", "5.19.11-1", "2"),
    ]
    assert "bpf, x64: Fix tailcall infinite loop" in found[0][1].subjects
    assert whole_series(found) == {"6.0"}
    assert [item.version for item in merge([found])["6.1"]] == ["6.1.76-1", "6.1.82-1"]


def test_a_number_is_closed_by_the_next_one() -> None:
    uploads = [upload("6.1.38-1", "10"), upload("6.1.38-2"), upload("6.1.38-3", "11"), upload("6.1.38-4")]
    assert packages_of_abi(uploads, {}) == {"10": ["6.1.38-1", "6.1.38-2"]}


def test_between_two_known_numbers_each_upload_has_bounds() -> None:
    uploads = [upload("6.1.147-1", "38"), upload("6.1.148-1"), upload("6.1.153-1"), upload("6.1.158-1")]
    assert packages_of_abi(uploads, {"6.1.158-1": 41}) == {
        "38": ["6.1.147-1"],
        "39": ["6.1.148-1"],
        "40": ["6.1.153-1"],
    }
    assert packages_of_abi(uploads, {"6.1.158-1": 40}) == {
        "38": ["6.1.147-1", "6.1.148-1"],
        "39": ["6.1.148-1", "6.1.153-1"],
    }


def test_a_subject_with_debian_s_mark_of_an_architecture_is_listed(catalog: Catalog, tmp_path: Path) -> None:
    # As Debian's 6.5.6-1 has it. Linux kernel commit a192103a1146 ("s390/bpf: Pass through tail call counter in
    # trampolines") (in v6.6)
    path = tmp_path / "changelog"
    path.write_text(
        "linux (6.5.6-1) unstable; urgency=medium\n\n  * New upstream stable update:\n"
        "    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.5.6\n"
        "    - [s390x] bpf: Pass through tail call counter in trampolines\n\n"
        " -- N N <n@example.org>  Sat, 07 Oct 2023 12:00:00 +0200\n"
    )
    series = survey(catalog, [path], [])["series"]
    assert series == {"6.5": {"abi": {}, "whole": False, "lists": ["a192103a1146"]}}
