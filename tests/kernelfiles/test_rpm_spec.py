"""Specs: macros, conditions, what %prep applies; and lists of patches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.patch_series import ListedPatch, read_series
from tailcall_audit.analyzer.kernelfiles.rpm_spec import read_spec

RHEL = """%define specversion 5.14.0
%define specrelease 284.30.1%{?buildid}%{?dist}
%define pkg_release %{specrelease}
Name: kernel
Version: %{specversion}
Release: %{pkg_release}
%if 0%{?fedora}
Patch1: patch-%{specversion}-redhat.patch
%endif
Patch2: two-%{specversion}.patch
Patch3: three-%{nowhere}.patch
%package -n bpftool
Version: 7.0.0
%prep
%patch2 -p1
"""


def test_a_spec_of_rhel_names_its_build() -> None:
    spec = read_spec(RHEL)
    assert (spec.name, spec.version, spec.release, spec.built) == ("kernel", "5.14.0", "284.30.1", "5.14.0-284.30.1")
    assert spec.patches == (
        ListedPatch(8, "patch-5.14.0-redhat.patch", None),
        ListedPatch(10, "two-5.14.0.patch", True),
    )


def test_a_version_on_a_condition_or_with_two_macros_is_not_known() -> None:
    assert read_spec("Name: kernel\n%if 1\nVersion: 6.1\n%endif\nVersion: 6.2\nRelease: 1\n").version is None
    assert read_spec("%define v 6.1\n%define v 6.2\nVersion: %{v}\n").version is None
    assert read_spec("%define v %{v}x\nVersion: %{v}\n").version is None  # without end
    assert read_spec("%define v %(uname -r)\nVersion: %{v}\n").version is None  # nothing is run


def test_guards_and_options_of_a_series() -> None:
    lines = b"a.patch -p1\n\t+rt\tb.patch # why\n- c.patch\nd.patch -R\n# e.patch\n\n+x\n"
    assert list(read_series(lines)) == [
        ListedPatch(1, "a.patch", True),
        ListedPatch(2, "b.patch", None),
        ListedPatch(3, "c.patch", False),
        ListedPatch(4, "d.patch", True, True),
    ]


@given(st.text(max_size=300))
def test_any_text_is_a_spec_or_a_series(text: str) -> None:
    spec = read_spec(text)
    assert spec.version is None or "%" not in spec.version
    assert all(item.line <= text.count("\n") + 1 for item in (*spec.patches, *read_series(text.encode())))


@given(
    st.lists(
        st.sampled_from(["%if x", "%endif", "%else", "Patch1: a.patch", "%prep", "%patch1", "%build"]), max_size=12
    )
)
def test_a_patch_on_a_condition_is_never_certain(lines: list[str]) -> None:
    spec = read_spec("\n".join(["%if outer", *lines]))
    if lines.count("%endif") == 0:
        assert not any(patch.applied for patch in spec.patches)
