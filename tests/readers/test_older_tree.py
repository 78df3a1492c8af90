"""A tree without a commit's names, as words: a longer name that holds one is another name."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.commit import Signature
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.older_tree import OlderTree
from tailcall_audit.analyzer.version import UpstreamVersion
from tests.memory import MemoryReader

_WITNESSES = ("kernel/bpf/core.c", "kernel/bpf/verifier.c", "include/linux/bpf.h", "include/linux/filter.h")


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        (b"int other(void);\n", True),
        (b"int run_it(void);\n", True),
        (b"int is_run;\n", True),
        (b"int run(void);\n", False),
        (b"\tx->run = 1;\n", False),
        (b"#define RUN(x) run\n", False),
    ],
)
def test_a_name_counts_as_a_whole_word_however_short_it_is(catalog: Catalog, text: bytes, absent: bool) -> None:
    part = {"name": "it runs", "files": ["kernel/bpf/run.c"], "scope": {"functions": [["run"]]}, "present": [["x"]]}
    commit = catalog.commits["1c123c567fb1"]._replace(signature_data=Signature([part]))
    files = dict.fromkeys((*_WITNESSES, "arch/x86/net/bpf_jit_comp.c"), b"\n") | {"kernel/bpf/arraymap.c": text}
    older = OlderTree(MemoryReader(files), UpstreamVersion(5, 10, 1))
    found = older.without(commit, "kernel/bpf/run.c")
    assert (found is not None) == absent
    assert found is None or found.presence is Presence.ABSENT
