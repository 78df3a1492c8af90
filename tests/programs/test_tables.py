"""The tables of names are the kernel's own: libbpf's section names, and the numbers of include/uapi/linux/bpf.h."""

from __future__ import annotations

import re

import pytest

from tailcall_audit.analyzer.kernelfiles.deb import read_deb_file
from tailcall_audit.analyzer.programs import names
from tailcall_audit.analyzer.programs.sections import SectionName, read_section_name
from tailcall_audit.analyzer.programs.types import Attachment
from tests.kernels import package_file
from tests.programs.selftests import sources

_DEFINITION = re.compile(r'SEC_DEF\("([^"]+)",\s*(\w+),\s*(\w+),\s*([^,)]+)')


def test_every_section_name_of_libbpf_says_what_libbpf_takes_it_for() -> None:
    text = (sources("7.3") / "tools/lib/bpf/libbpf.c").read_text()
    table = text[text.index("section_defs[] = {") :]
    rows = _DEFINITION.findall(table[: table.index("\n};")])
    assert len(rows) > 110
    for name, kind, attach, flags in rows:
        expected = "none" if attach == "0" else attach.removeprefix("BPF_").lower()
        for section in (name.rstrip("+"), *([f"{name[:-1]}/what"] if name.endswith("+") else [])):
            for manual in (False, True):
                found = read_section_name(f"?{section}" if manual else section)
                assert (found.type, found.expected_attach_type) == (kind.lower(), expected), section
                assert (found.sleepable, found.manual) == ("SLEEPABLE" in flags, manual), section


@pytest.mark.parametrize(
    ("section", "attachment"),
    [
        ("fentry/tcp_connect", Attachment("tcp_connect", None, "tcp_connect")),
        ("fexit.s/tcp_connect", Attachment("tcp_connect", None, "tcp_connect")),
        ("freplace/subprog", Attachment(None, None, "subprog")),
        ("freplace", Attachment(None, None, None)),
        ("kprobe/do_unlinkat", Attachment("do_unlinkat", None, None)),
        ("tp/sched/sched_switch", Attachment("sched/sched_switch", None, None)),
        ("lsm.s/bpf", Attachment("bpf", None, None)),
        ("cgroup/connect4", Attachment("cgroup/connect4", None, None)),
        ("fentry", None),
        ("tc", None),
    ],
)
def test_a_section_says_what_a_program_is_attached_to(section: str, attachment: Attachment | None) -> None:
    assert read_section_name(section).attachment == attachment


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("classifier/0", "sched_cls"),
        ("tc_entry", "sched_cls"),
        ("xdp_filter/ipv4", "xdp"),
        ("socket/7", "socket_filter"),
        ("mine", None),
        ("2/7", None),
        ("0x2/7", None),
        ("fentryless/x", None),
        ("", None),
    ],
)
def test_names_of_before_libbpf_1_0_are_a_second_try(section: str, kind: str | None) -> None:
    found = read_section_name(section)
    assert found.type == kind
    if kind is None:
        assert found == SectionName(None, None, None, None, False)


def test_the_numbers_are_those_of_the_kernels_header() -> None:
    package = package_file("linux-libc-dev", "7.3.4-1~bpo13+1")
    text = read_deb_file(package, "usr/include/linux/bpf.h", 4 << 20).decode()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for enum, prefix, named in (
        ("bpf_prog_type", "BPF_PROG_TYPE_", names.program_type),
        ("bpf_map_type", "BPF_MAP_TYPE_", names.map_type),
        ("bpf_attach_type", "BPF_", names.attach_type),
        ("bpf_link_type", "BPF_LINK_TYPE_", names.link_type),
    ):
        body = text[text.index(f"enum {enum} {{") :]
        entries = re.findall(r"^\s*(\w+)(?:\s*=\s*(\w+))?,?", body[body.index("{") + 1 : body.index("}")], re.MULTILINE)
        plain = [name for name, value in entries if not name.startswith("__MAX") and not value.startswith("BPF_")]
        assert len(plain) > 15
        for number, name in enumerate(plain):
            assert named(number) == name.removeprefix(prefix).removesuffix("_DEPRECATED").lower()
        assert named(len(plain)) == f"type {len(plain)}"
    helpers = re.findall(r"\bFN\((\w+), (\d+), ", text)
    assert len(helpers) == 212
    for name, digits in helpers[1:]:
        assert (names.helper_name(int(digits)), names.helper_number(name)) == (name, int(digits))
    assert names.helper_name(212) is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("fentry", 24),
        ("trace_fentry", 24),
        ("connect4", 10),
        ("cgroup_inet4_connect", 10),
        ("mod_ret", 26),
        ("tcx_ingress", 46),
        ("new", None),
    ],
)
def test_attach_types_have_bpftools_names_too(name: str, number: int | None) -> None:
    assert names.attach_number(name) == number
