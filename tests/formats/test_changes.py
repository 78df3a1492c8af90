"""What a fix changes for programs: in the catalogue, in the report of a fixed verdict and in a defect's story."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from tailcall_audit import Catalog, State, audit
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.formats.json import report_as_data, report_schema_path
from tailcall_audit.analyzer.formats.story import render_story
from tests.kernels import kernel_source
from tests.reports import whole_verdicts

WORDS = sorted(
    {change.words for commit in load_catalog().commits.values() for change in commit.changes if change.words}
)


@pytest.mark.parametrize("words", WORDS)
def test_the_verifier_of_debian_7_3_has_the_words(words: str) -> None:
    """What the verifier fills in ('scalar', the name of the operation) is left out."""
    folder, _ = kernel_source("7.3")
    text = "".join((folder / "kernel/bpf" / name).read_text() for name in ("verifier.c", "fixups.c"))
    pieces = [piece for piece in re.split(r"'[^']*'|^tail_call ", words) if piece]
    assert pieces
    assert all(piece in text for piece in pieces)


def test_a_fixed_verdict_has_what_its_fix_refuses() -> None:
    report = audit(kernels=["6.12.117", "6.1.170"], arch="x86_64", only=["freplace-loop"])
    data = report_as_data(report, "0")
    jsonschema.validate(data, json.loads(report_schema_path().read_text()))
    fixed, affected = (whole_verdicts(data, number)[0] for number in (0, 1))
    assert (fixed["verdict"], affected["verdict"]) == ("fixed", "affected")
    # prog_fd_array_get_ptr() and bpf_freplace_check_tgt_prog() of Debian 7.3.4: see also the probes of pitfall 6.
    assert [(change["commit"], change["errno"]) for change in fixed["changes_for_programs"]] == [
        ("d6083f040d5d", "EINVAL"),
        ("d6083f040d5d", "EBUSY"),
        ("d6083f040d5d", "EBUSY"),
    ]
    assert affected["changes_for_programs"] == []


def test_only_the_fix_that_is_there_counts(catalog: Catalog) -> None:
    """Two commits fix the hook's prototype; 5.15.192 has another one than mainline."""
    for kernel, commit in (("6.12.117", "28ead3eaabc1"), ("5.15.200", "c04992612ed4")):
        report = audit(kernels=[kernel], arch="x86_64", only=["tailcall-compat-attach-func-proto"])
        (verdict,) = report.targets[0].verdicts
        assert verdict.state is State.FIXED
        (found,) = whole_verdicts(report_as_data(report, "0"))
        assert {change["commit"] for change in found["changes_for_programs"]} == {commit}


def test_the_story_says_what_is_refused_and_how(catalog: Catalog) -> None:
    text = " ".join(render_story(catalog, catalog.find("tailcall-direct-in-callback")).split())
    assert (
        "what changes for programs: - a callback may not tail-call itself (EINVAL: cannot tail call within callback)"
        in text
    )
    text = " ".join(render_story(catalog, catalog.find("6")).split())
    assert "an extension cannot be attached to a program that is in a prog array (EBUSY)" in text
