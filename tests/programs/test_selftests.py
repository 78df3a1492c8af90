"""The kernel's own selftests of tail calls are read, and hold what their sources say."""

from __future__ import annotations

import re

import pytest

from tailcall_audit.analyzer.programs.objects import read_object
from tailcall_audit.analyzer.programs.sections import read_section_name
from tests.programs.selftests import PROGS, SERIES, selftests

_SECTION = re.compile(
    r'^SEC\("([^"]+)"\)\s*(?:__\w+(?:\([^)]*\))?\s*)*\n?\s*(?:__\w+\s+)*(?:int|long|void|__u32)\s+(?:BPF_PROG\()?(\w+)',
    re.M,
)


@pytest.mark.parametrize("series", SERIES)
def test_every_one_that_builds_is_read_and_has_the_programs_of_its_source(series: str) -> None:
    found = selftests(series)
    assert len(found.objects) >= 26, found.failed
    for name, path in found.objects.items():
        (programs,) = read_object(str(path))
        source = (found.sources / PROGS / f"{name}.c").read_text()
        written = {
            function: section
            for section, function in _SECTION.findall(source)
            if not section.startswith((".maps", "license"))
        }
        seen = {item.name: item.section for item in programs.programs}
        assert written.items() <= seen.items(), name
        for item in programs.programs:
            assert item.type == read_section_name(item.section or "").type
        assert programs.notes == (), name
        if name.startswith("tailcall") and "fentry" not in name and "fexit" not in name:
            calls = [call for item in programs.programs for function in item.functions for call in function.tail_calls]
            assert calls, name
            # hierarchy3 hands its subprogram one of two maps; the others name one in the instruction before the call.
            assert all(call.map is not None for call in calls) or name == "tailcall_bpf2bpf_hierarchy3", name
