"""Changelogs of Debian, Ubuntu, RPMs and SUSE, and texts in no one's form."""

from __future__ import annotations

import gzip

from hypothesis import strategies as st

from tests.strategies.case import Case
from tests.strategies.mutate import mutated

__all__ = ["CHANGELOGS", "DEBIAN", "RPM", "SUSE", "changelog_cases"]

SUBJECTS = st.sampled_from(
    (
        "bpf: Prevent tailcall infinite loop caused by freplace",
        "bpf, x64: Fix tailcall infinite loop",
        "bpf: Fix too early release of tcx_entry",
        'Revert "bpf: Prevent tailcall infinite loop caused by freplace"',
        "[arm64,x86_64] bpf: Fix tail call limit",
        "bpf: Resolve fext program type when checking map compatibility (CVE-2024-47794)",
        "net: usb: x",
        "[amd64] x",
        "drop bpf, x64: Fix tailcall infinite loop",
        "   ",
        "bpf: " + "x" * 300,
    )
)
_VERSIONS = st.sampled_from(("6.1.170-3", "6.1.169-1", "5.14-1", "6.12~rc3-1~exp1", "5.15.0-164.174", "1:2-3", "6.1"))
_STABLE = st.sampled_from(
    (
        "  * New upstream stable update:",
        "    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.170",
        "  [ Salvatore Bonaccorso ]",
        "  * Jammy update: v5.15.168 upstream stable release (LP: #2089340)",
        "  * CVE-2024-47794",
    )
)


@st.composite
def _debian(draw: st.DrawFn) -> bytes:
    out = []
    for version in draw(st.lists(_VERSIONS, min_size=1, max_size=4)):
        out.append(f"linux ({version}) {draw(st.sampled_from(('bookworm', 'unstable', 'jammy')))}; urgency=medium\n")
        for _ in range(draw(st.integers(0, 5))):
            bullet = draw(st.sampled_from(("  * ", "    - ", "      + ", "      ")))
            out.append(draw(st.one_of(_STABLE, SUBJECTS.map(bullet.__add__))))
        out.append("\n -- A B <a@example.org>  Thu, 12 Mar 2026 10:00:00 +0100\n")
    return "\n".join(out).encode()


@st.composite
def _rpm(draw: st.DrawFn) -> bytes:
    out = []
    for _ in range(draw(st.integers(1, 4))):
        version = draw(st.sampled_from(("[5.14.0-427.13.1.el9_4]", "- 5.14.0-1", "[4.18.0-553.el8]", "", "6.8.5-1")))
        out.append(f"* Mon Mar 04 2024 A B <a@example.org> {version}")
        out += [f"- {draw(SUBJECTS)} (A B) [RHEL-{number}]" for number in range(draw(st.integers(0, 4)))]
        out.append("")
    return "\n".join(out).encode()


@st.composite
def _suse(draw: st.DrawFn) -> bytes:
    out = []
    for _ in range(draw(st.integers(1, 4))):
        out += ["-" * 67, "Tue Mar 12 10:11:12 CET 2024 - a@suse.com", ""]
        for subject in draw(st.lists(SUBJECTS, max_size=4)):
            out.append(f"- {subject} (git-fixes bsc#1234567 CVE-2024-1234).")
            out += draw(st.sampled_from(([], ["- commit 1a2b3c4"], ["- Delete patches.suse/x.patch."])))
        out.append("")
    return "\n".join(out).encode()


DEBIAN, RPM, SUSE = _debian(), _rpm(), _suse()
CHANGELOGS = st.one_of(DEBIAN, RPM, SUSE)
_WORDS = (b"; urgency=", b"\n- ", b"%changelog\n", b"\n  * ", b"[a] " * 20, b"Upstream commit ", b" (", b"bsc#")


@st.composite
def changelog_cases(draw: st.DrawFn) -> Case:
    """A changelog, now and then compressed."""
    data = draw(mutated(CHANGELOGS, _WORDS))
    return {"changelog": gzip.compress(data, 1) if draw(st.integers(0, 9)) == 0 else data}
