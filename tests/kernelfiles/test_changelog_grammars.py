"""The grammars of changelogs: what an entry and an item are, in the forms of each distribution."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.debian import parse_debian
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError, parse_changelog, read_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family, arch_neutral, clean_subject, split_tags
from tailcall_audit.analyzer.kernelfiles.changelog.identity import of_distribution
from tailcall_audit.analyzer.kernelfiles.changelog.rpm import parse_rpm
from tailcall_audit.analyzer.kernelfiles.changelog.suse import parse_suse
from tests.readers.test_changelog import FIX_3, FIX_6, debian


# --------------------------------------------------------------------------------------------------------- grammars
def test_folded_lines_nested_lists_and_two_headings_over_one_list() -> None:
    body = (
        "  * New upstream stable update:\n"
        "    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.9\n"
        "    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.10\n"
        "    - [x86] bpf, x64: Fix tailcall\n      infinite loop\n      (CVE-2024-0001)\n"
        "    - [amd64] Preparation for mitigating RETbleed:\n      + KVM/VMX: Use TEST\n        instead of CMP\n      + second\n"
        "\n  [ A Developer ]\n  * own change (Closes: #12)\n"
    )
    entry = parse_debian(debian([("6.1.10-1", body)]), "x").entries[0]
    assert [item.subject for item in entry.items] == [
        FIX_3,
        "Preparation for mitigating RETbleed:",
        "KVM/VMX: Use TEST instead of CMP",
        "second",
        "own change",
    ]
    assert entry.items[0].cves == ("CVE-2024-0001",)
    assert entry.items[0].line == 6
    assert [(str(item.version), item.listed) for item in entry.updates] == [("6.1.9", 4), ("6.1.10", 4)]
    assert entry.date == "Mon, 01 Jan 2024 00:00:00 +0000"


IN_UBUNTU_S_FORM = """linux (5.15.0-164.174) jammy; urgency=medium

  * CVE-2024-53218
    - f2fs: fix race in concurrent f2fs_stop_gc_thread

 -- A Developer <a@example.org>  Fri, 14 Nov 2025 17:49:39 +0100

linux (5.15.0-163.173) jammy; urgency=medium

  * A heading that is folded, as those with a long
    title are (LP: #1)
    - SAUCE: a patch of the distribution's whose subject is
      folded, too

  * Jammy update: v5.15.193 upstream stable release (LP: #2)
    - [Config] an option
    - Linux 5.15.193

  * Jammy update: v5.15.192 upstream stable release (LP: #3)
    - bpf: Move bpf map owner out of common struct
    - Linux 5.15.192

 -- A Developer <a@example.org>  Fri, 10 Oct 2025 17:49:39 +0200
"""
IN_RED_HAT_S_FORM = f"""* Mon Mar 04 2024 A Developer <a@example.org> [5.14.0-427.1.1.el9_4]
- config: wifi: enable an option (A Developer) [RHEL-1]
Resolves: RHEL-1, RHEL-2

* Wed Feb 21 2024 A Developer <a@example.org> [5.14.0-425.el9]
- {FIX_3} (A Developer) [RHEL-3]
- tty: n_gsm: initialize more members at gsm_alloc_mux() (A Developer) [RHEL-4 RHEL-5] {{CVE-2023-6546}}
"""
IN_SUSE_S_FORM = f"""{"-" * 67}
Wed Jan 10 12:34:56 CET 2024 - a@example.org

- {FIX_3} (git-fixes).
- commit 798b26b
"""


@pytest.mark.parametrize(
    ("text", "family", "versions"),
    [
        (IN_UBUNTU_S_FORM, Family.DEBIAN, ["5.15.0-164.174", "5.15.0-163.173"]),
        (IN_RED_HAT_S_FORM, Family.RPM, ["5.14.0-427.1.1.el9_4", "5.14.0-425.el9"]),
        (IN_SUSE_S_FORM, Family.SUSE, None),
    ],
    ids=["ubuntu", "rpm", "suse"],
)
def test_the_form_of_a_changelog_is_found_out(
    tmp_path: Path, text: str, family: Family, versions: list[str] | None
) -> None:
    (tmp_path / "changelog").write_text(text)
    changelog = read_changelog(str(tmp_path / "changelog"))
    assert changelog.family is family
    assert versions is None or [entry.version for entry in changelog.entries] == versions
    items = [item for entry in changelog.entries for item in entry.items]
    subjects = [item.subject for item in items if not item.is_downstream]
    if family is Family.DEBIAN:
        assert [str(item.version) for item in changelog.entries[1].updates] == ["5.15.193", "5.15.192"]
        assert "bpf: Move bpf map owner out of common struct" in subjects
        downstream = [item.text for item in items if item.is_downstream]
        assert any(item.startswith("SAUCE: ") and item.endswith("folded, too") for item in downstream)
        assert "Linux 5.15.192" in downstream
    else:
        assert FIX_3 in subjects
    if family is Family.RPM:
        assert "tty: n_gsm: initialize more members at gsm_alloc_mux()" in subjects


def test_the_ubuntu_excerpt_is_read(lab: Path, catalog: Catalog) -> None:
    changelog = read_changelog(str(lab / "changelogs/ubuntu-jammy-5.15.0-164.174.txt"))
    assert of_distribution(catalog, changelog).family is Family.UBUNTU
    assert [entry.version for entry in changelog.entries] == ["5.15.0-164.174", "5.15.0-163.173"]
    assert [str(item.version) for item in changelog.entries[1].updates] == ["5.15.193", "5.15.192"]
    subjects = [item.subject for item in changelog.entries[1].items]
    assert "bpf: Move bpf map owner out of common struct" in subjects
    own = [item.text for item in changelog.entries[1].items if item.is_downstream]
    assert any(text.startswith("SAUCE: ") for text in own)
    assert "Linux 5.15.192" in own


def test_the_rhel_excerpt_is_read(lab: Path) -> None:
    changelog = read_changelog(str(lab / "changelogs/rhel-9.txt"))
    assert changelog.family is Family.RPM
    by_version = {entry.version: entry for entry in changelog.entries}
    assert FIX_3 in [item.subject for item in by_version["5.14.0-425.el9"].items]
    assert "tty: n_gsm: initialize more members at gsm_alloc_mux()" in [
        item.subject for item in by_version["5.14.0-425.el9"].items
    ]


def test_the_suse_excerpt_is_read(lab: Path) -> None:
    changelog = read_changelog(str(lab / "changelogs/suse.txt"))
    assert changelog.family is Family.SUSE
    assert FIX_3 in [item.subject for entry in changelog.entries for item in entry.items if not item.is_downstream]


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (f"- {FIX_3} (Felix Maurer) [RHEL-21459]", FIX_3),
        (f"- {FIX_3} (Felix Maurer) [2120968] {{CVE-2024-0001}}", FIX_3),
        (
            "- VMCI: Fix it in vmci_resource_remove() (David Fernandez Gonzalez)\n[Orabug: 37037205] {CVE-2024-46738}",
            "VMCI: Fix it in vmci_resource_remove()",
        ),
        (f"- {FIX_6}(CVE-2024-47794)", FIX_6),
        (f"- {FIX_6}", FIX_6),
    ],
)
def test_rpm_items_lose_author_and_references(text: str, subject: str) -> None:
    entry = parse_rpm(f"* Wed Feb 21 2024 A B <a@example.org> [5.14.0-425.el9]\n{text}\n", "x").entries[0]
    assert [item.subject for item in entry.items] == [subject]


@pytest.mark.parametrize(
    ("header", "version"),
    [
        ("* Wed Feb 21 2024 A B <a@example.org> [5.14.0-425.el9]", "5.14.0-425.el9"),
        ("* Tue Jul 30 2024 CBL-Mariner Servicing Account <c@microsoft.com> - 6.6.43.1-1", "6.6.43.1-1"),
        ("* Mon Nov 13 2023 Release Engineering <releng@openela.org> - %{specversion}", "%{specversion}"),
        ("* Tue Dec 10 2024 Greg Rose <g@ciq.com> - None-284.30.1%{?buildid}", "None-284.30.1%{?buildid}"),
        ("* Fri May 09 2025 A <a@redhat.com> [6.14.6-0]", "6.14.6-0"),
    ],
)
def test_rpm_headers(header: str, version: str) -> None:
    assert parse_rpm(f"{header}\n- x\n", "x").entries[0].version == version


def test_a_spec_file_is_read_from_its_changelog_on() -> None:
    text = "Name: kernel\n%prep\n- not an item\n%changelog\n* Wed Feb 21 2024 A <a@b.c> [5.14.0-425.el9]\n- one (A B) [RHEL-1]\n"
    changelog = parse_changelog(text, "kernel.spec")
    assert [item.subject for item in changelog.entries[0].items] == ["one"]


def test_suse_metadata_is_no_fix() -> None:
    head = "-" * 67 + "\nWed Jan 10 12:34:56 CET 2024 - a@suse.com\n\n"
    text = f"{head}- Update patches.suse/bpf.patch\n  (git-fixes bsc#1 CVE-2024-1).\n- {FIX_3} (git-fixes).\n- commit 798b26b\n"
    items = parse_suse(text, "x").entries[0].items
    assert [(item.subject, item.is_downstream) for item in items if not item.is_downstream] == [(FIX_3, False)]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("[x86] a", ("x86_64", "i386")),
        ("[arm64,armhf] a", ("arm64", "arm")),
        ("[s390x] a", ("s390x",)),
        ("[powerpc*] a", ("powerpc32",)),
        ("[mips64el,mipsel] a", ("mips64", "mips")),
        ("[PATCH] a", ()),
    ],
)
def test_architecture_tags(text: str, tags: tuple[str, ...]) -> None:
    assert split_tags(text)[0] == tags


def test_debian_moves_the_architecture_into_a_tag() -> None:
    assert arch_neutral("s390/bpf: Pass through tail call counter in trampolines") == arch_neutral(
        "bpf: Pass through tail call counter in trampolines"
    )
    assert arch_neutral("riscv, bpf: x") == "bpf: x"
    assert arch_neutral("net: x") == "net: x"


@given(st.text(max_size=400), st.sampled_from(list(Family)))
def test_garbage_is_an_error_or_a_changelog(text: str, family: Family) -> None:
    with contextlib.suppress(ChangelogError):
        assert parse_changelog(text, "x", family).entries


BODIES = st.lists(
    st.sampled_from(
        ["  * a\n", "    - b\n", "      folded\n", "      + c\n", "\n", "  [ Name ]\n", "x\n", " -- bad trailer\n"]
    ),
    max_size=8,
).map("".join)


@given(st.lists(BODIES, min_size=1, max_size=8))
def test_no_debian_entry_is_lost(bodies: list[str]) -> None:
    text = debian([(f"6.1.{number}-1", body) for number, body in enumerate(bodies)])
    assert [entry.version for entry in parse_debian(text, "x").entries] == [
        f"6.1.{number}-1" for number in range(len(bodies))
    ]


@given(
    st.lists(st.lists(st.from_regex(r"[a-z]{1,9}: [a-z ()]{0,30}", fullmatch=True), max_size=4), min_size=1, max_size=8)
)
def test_no_rpm_entry_or_item_is_lost(entries: list[list[str]]) -> None:
    text = "".join(
        f"* Wed Feb 21 2024 A <a@b.c> [5.14.0-{number}.el9]\n" + "".join(f"- {item}\n" for item in items) + "\n"
        for number, items in enumerate(entries)
    )
    parsed = parse_rpm(text, "x").entries
    assert [len(entry.items) for entry in parsed] == [len(items) for items in entries]


def test_references_are_stripped_and_functions_kept() -> None:
    assert clean_subject("bpf: x in y() (CVE-2024-1234) (Closes: #1)") == "bpf: x in y()"
