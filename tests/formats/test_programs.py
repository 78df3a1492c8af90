"""Every format says what kernels mean for the programs that were given: a hit, a refusal, and what is not reached."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailcall_audit.analyzer.formats.registry import View, find_format, format_names
from tailcall_audit.analyzer.model import Report
from tests.exposure.shapes import caller, filled, packet
from tests.exposure.test_join import on

_VIEW = View(made=1_700_000_000.0, publisher="Example", namespace="https://example.org/vex")
_VERDICTS = [name for name in format_names() if name not in ("prometheus", "fleet", "compared")]


def rendered(name: str, report: Report) -> str:
    return "".join(find_format(name).pieces(report, _VIEW))


def hit() -> Report:
    return on(filled(caller(2)), "6.1.170", only=("x86-hierarchy", "tailcall-pkt-pointers"))


def refused() -> Report:
    return on(filled(packet("call")), "6.12.94", only=("tailcall-pkt-pointers",))


@pytest.mark.parametrize("name", _VERDICTS)
def test_a_hit_and_a_refusal_are_in_every_format(name: str) -> None:
    one, other = rendered(name, hit()), rendered(name, refused())
    if name in ("json", "jsonl"):
        assert '"hit": true' in one.replace('":true', '": true')
        assert '"refused": "yes"' in other.replace('":"', '": "')
    elif name == "csv":
        assert ",met,yes,no" in one
        assert ",met,no,yes" in other
    else:
        assert "HIT" in one
        assert "refused" in other


@pytest.mark.parametrize("name", ["cyclonedx", "csaf", "openvex", "html", "junit", "sarif"])
def test_a_refusal_is_explained_by_the_words_of_the_verifier(name: str) -> None:
    assert "EACCES: invalid mem access" in rendered(name, refused())


def test_prometheus_has_gauges_for_programs_and_none_without() -> None:
    found = {
        (sample.name.removeprefix("tailcall_audit_programs_"), sample.labels["defect"]): sample.value
        for report in (hit(), refused())
        for family in text_string_to_metric_families(rendered("prometheus", report))
        for sample in family.samples
        if "_programs_" in sample.name and sample.value
    }
    assert found == {
        ("hit", "x86-hierarchy"): 1.0,
        ("not_reached", "tailcall-pkt-pointers"): 1.0,
        ("refused", "tailcall-pkt-pointers"): 1.0,
    }
    assert "_programs_" not in rendered("prometheus", hit()._replace(targets=()))


def test_sarif_downgrades_what_is_not_reached_and_has_what_is_refused() -> None:
    (run,) = json.loads(rendered("sarif", hit()))["runs"]
    levels = {item["ruleId"]: (item["level"], item["properties"]["hit"]) for item in run["results"]}
    assert levels == {"x86-hierarchy": ("error", True), "tailcall-pkt-pointers": ("note", False)}
    (run,) = json.loads(rendered("sarif", refused()))["runs"]
    (result,) = run["results"]
    assert (result["level"], result["properties"]["verdict"]) == ("error", "fixed")
    assert result["properties"]["refused"] == "yes"
