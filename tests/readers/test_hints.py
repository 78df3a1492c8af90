"""Patch files and CVEs that hint at a commit: how far a cut name goes, and that a commit is hinted at once."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import parse_changelog
from tailcall_audit.analyzer.model import Confidence, Evidence, Presence
from tailcall_audit.analyzer.readers.hints import file_name_of, names_commit, read_hints

SUBJECT = "bpf: Prevent tailcall infinite loop caused by freplace"
NAME = "bpf-Prevent-tailcall-infinite-loop-caused-by-freplace"
FIX_6 = "d6083f040d5d"
SPEC = """\
Name: linux
Version: 6.1.83
Release: 9
{patches}
%changelog
* Thu Jan 30 2025 N N <n@example.org> 6.1.83-9
{items}
"""


def test_the_name_is_what_git_format_patch_makes() -> None:
    # As git 2.39 names them, without number and suffix.
    assert file_name_of(SUBJECT) == NAME
    assert file_name_of("bpf, x64: Fix tailcall hierarchy...") == "bpf-x64-Fix-tailcall-hierarchy"


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        (f"{NAME}.patch", True),
        (f"0001-{NAME}.patch", True),
        (f"patches.suse/{NAME}.patch", True),
        (f"12.0003_{NAME.upper()}.patch", True),
        # Cut: 40 letters are enough, 39 are the beginning of too many subjects.
        (f"0001-{NAME[:40]}.patch", True),
        (f"0001-{NAME[:39]}.patch", False),
        (f"{NAME[:40]}.patch", True),
        (f"{NAME[:39]}.patch", False),
        # 40 letters with the number are fewer of the name.
        (f"0001-{NAME[:36]}.patch", False),
        (f"0001-{NAME}-again.patch", False),
        (f"{NAME[1:]}.patch", False),
        ("x.patch", False),
        (".patch", False),
    ],
)
def test_a_patch_file_names_a_commit_by_enough_of_its_name(patch: str, expected: bool) -> None:
    assert names_commit(patch, SUBJECT) is expected


def _hints(
    catalog: Catalog, patches: str = "", items: str = "- x", known: frozenset[str] = frozenset()
) -> list[Evidence]:
    changelog = parse_changelog(SPEC.format(patches=patches, items=items), "linux.spec")
    return list(read_hints(catalog, changelog, changelog.entries, known))


def test_a_patch_list_hints_at_a_commit_once(catalog: Catalog) -> None:
    (hint,) = _hints(catalog, f"Patch200: 0001-{NAME}.patch\nPatch201: 0002-{NAME}.patch\n")
    assert (hint.commit, hint.presence, hint.confidence) == (FIX_6, Presence.UNKNOWN, Confidence.LOW)
    assert hint.citation == "linux.spec:4"
    assert hint.settle is not None


def test_an_entry_hints_at_a_commit_once_by_a_patch(catalog: Catalog) -> None:
    (hint,) = _hints(catalog, items=f"- add 0001-{NAME}.patch\n- and {NAME}.patch again")
    assert hint.commit == FIX_6
    assert hint.detail.startswith("entry 6.1.83-9 names the patch")


def test_a_cve_hints_at_the_fixes_of_its_defects_once(catalog: Catalog) -> None:
    (defect,) = catalog.find("freplace-loop")
    hints = _hints(catalog, items=f"- Fix {defect.cves[0]}\n- Fix {defect.cves[0]} again")
    assert [item.commit for item in hints] == [FIX_6]
    assert defect.cves[0] in hints[0].detail


def test_what_is_known_better_is_not_hinted_at(catalog: Catalog) -> None:
    known = frozenset((FIX_6,))
    (defect,) = catalog.find("freplace-loop")
    assert _hints(catalog, f"Patch200: 0001-{NAME}.patch\n", f"- {NAME}.patch\n- {defect.cves[0]}", known) == []
