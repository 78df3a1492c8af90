"""Indexes of repositories: Packages, repomd.xml and the changelogs in other.xml."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.strategies.archives import PACKERS
from tests.strategies.case import Case
from tests.strategies.changelogs import SUBJECTS
from tests.strategies.mutate import draw_mutated, mutated

__all__ = ["PACKAGES", "index_cases", "repodata_cases"]

_VERSIONS = st.sampled_from(("6.1.170-3", "6.12.117-1", "7.0~rc2-1~exp1", "1:2", "x", "", "6.1.170-3+b1", "9" * 300))
_ARCHITECTURES = st.sampled_from(("amd64", "arm64", "alpha", "m68k", "all", "x y", "\x1b[2J"))
PACKAGES = st.lists(
    st.builds(
        "Package: linux-image-{}-amd64\nSource: linux\nVersion: {}\nArchitecture: {}\nDepends: x (= 1)\n".format,
        st.sampled_from(("6.1.0-47", "6.12.117+deb13", "7.0~rc2", "6.1")),
        _VERSIONS,
        _ARCHITECTURES,
    ),
    max_size=5,
).map(lambda rows: "\n".join(rows).encode())


@st.composite
def index_cases(draw: st.DrawFn) -> Case:
    """A Packages file, compressed or not."""
    data = draw(mutated(PACKAGES, (b"\n\n", b"Package: linux-image-6.1.0-1-amd64\n", b"\nVersion: ", b"\n ")))
    suffix = draw(st.sampled_from(("", ".gz", ".xz")))
    return {f"Packages{suffix}": PACKERS[suffix](data)}


_XML = (
    b"<",
    b">",
    b"<package name='kernel'>",
    b"]]>",
    b"&amp;",
    b"&#0;",
    b"<!DOCTYPE a>",
    b"<?x?>",
    b"<changelog date='-1'>",
)


@st.composite
def _other(draw: st.DrawFn) -> bytes:
    out = ['<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="1">']
    for name in draw(st.lists(st.sampled_from(("kernel", "kernel-core", "bash", "kernel-default")), max_size=3)):
        out.append(
            f'<package pkgid="x" name="{name}" arch="{draw(st.sampled_from(("x86_64", "aarch64", "src", "?")))}">'
        )
        release = draw(st.sampled_from(("427.el9", "", "1~rc1", "x" * 40)))
        out.append(f'<version epoch="0" ver="{draw(st.sampled_from(("5.14.0", "", "a")))}" rel="{release}"/>')
        for subject in draw(st.lists(SUBJECTS, max_size=3)):
            date = draw(st.sampled_from(("1709553600", "99999999999", "-1", "")))
            shown = subject.replace('"', "&quot;")
            out.append(f'<changelog author="A [5.14.0-427.el9]" date="{date}">- {shown}</changelog>')
        out.append("</package>")
    return "\n".join((*out, "</otherdata>")).encode()


@st.composite
def repodata_cases(draw: st.DrawFn) -> Case:
    """A repomd.xml and the file of changelogs that it names."""
    suffix = draw(st.sampled_from(("", ".gz", ".zst")))
    href = draw(st.sampled_from((f"repodata/other.xml{suffix}",) * 4 + ("../x", "/etc/passwd", "http://127.0.0.1/x")))
    repomd = (
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="other"><location href="{href}"/></data></repomd>'
    ).encode()
    other = PACKERS[suffix](draw(mutated(_other(), _XML)))
    return {
        "repodata/repomd.xml": draw_mutated(draw, repomd, _XML) if draw(st.booleans()) else repomd,
        f"repodata/other.xml{suffix}": draw_mutated(draw, other) if draw(st.integers(0, 4)) == 0 else other,
    }
