"""The report as JSON: what verdicts share is in it once, and a report of many kernels is written target by target."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.formats.json import pieces, render, report_as_data, report_schema_path
from tailcall_audit.analyzer.formats.json_parts import whole_verdict
from tailcall_audit.analyzer.formats.registry import View, find_format
from tailcall_audit.analyzer.model import (
    Agreement,
    Disagreement,
    Observation,
    ObservationState,
    Report,
    State,
    Waiver,
)
from tests.reports import whole_verdicts

MANY = [f"6.1.{number}" for number in range(140, 172)]


@pytest.fixture(scope="module")
def many() -> Report:
    return audit(kernels=MANY, arch="x86_64")


def test_the_report_of_many_kernels_is_the_same_data_in_lines(many: Report) -> None:
    text = render(many, View())
    data = json.loads(text)
    jsonschema.Draft202012Validator(json.loads(report_schema_path().read_text())).validate(data)
    assert data == json.loads(json.dumps(report_as_data(many, data["tool_version"])))
    assert [json.loads(line.rstrip(","))["name"] for line in text.splitlines() if line.startswith('{"name"')] == MANY


def test_the_text_of_many_kernels_is_what_json_writes_of_each(many: Report) -> None:
    waiver = Waiver("freplace-tailcallee", "6.1.*", 'a "reason" in ünicode', "2030-01-01", "me")
    every = many.targets[0].verdicts
    seen = Observation(ObservationState.PRESENT, "ran", Agreement.CONFIRMED, State.AFFECTED, "a guest")
    changed = (
        every[0]._replace(waiver=waiver, disagreements=(Disagreement("0123456789ab", "no\x1b[2J"),)),
        every[1]._replace(observation=seen, settle=None),
        *every[2:],
    )
    report = many._replace(targets=(many.targets[0]._replace(verdicts=changed), *many.targets[1:]))
    text = render(report, View())
    assert text.isascii() and "\x1b" not in text
    data = json.loads(text)
    lines = [json.loads(line) for line in find_format("jsonl").render(report, View()).splitlines()]
    for number, target in enumerate(report.targets):
        whole = [whole_verdict(item, report.catalog) for item in target.verdicts]
        assert lines[number]["verdicts"] == whole
        assert [without_detail(item) for item in whole_verdicts(data, number)] == whole


def without_detail(verdict: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in verdict.items() if name != "detail"}


def test_a_target_is_written_before_the_next_one_is_looked_at(many: Report) -> None:
    written = "".join(piece for piece, _ in zip(pieces(many, View()), range(4), strict=False))
    assert '"name":"6.1.140"' in written
    assert '"name":"6.1.150"' not in written


def test_what_kernels_share_stands_there_once(many: Report) -> None:
    data = json.loads(render(many, View()))
    statements = [json.dumps(item) for item in data["evidence"]]
    assert len(set(statements)) == len(statements)
    # 6.1.168 to 6.1.170 have the same fixes: 48 defects each, and not 48 reasons each.
    assert len(data["details"]) < 6 * len(many.targets[0].verdicts)


def test_a_detail_is_that_of_its_verdict(many: Report) -> None:
    data = json.loads(render(many, View()))
    for number, target in enumerate(many.targets):
        for verdict, found in zip(target.verdicts, whole_verdicts(data, number), strict=True):
            assert (found["defect"], found["reason"]) == (verdict.defect.slug, verdict.reason)
            assert [item["detail"] for item in found["evidence"]] == [item.detail for item in verdict.evidence]
            assert found["title"] == verdict.defect.title


def test_a_format_without_pieces_has_one(many: Report) -> None:
    plain = find_format("plain")
    assert "".join(plain.pieces(many, View())) == plain.render(many, View())


def test_in_a_report_of_few_kernels_each_verdict_has_all_of_it() -> None:
    """The frame that the first version promised: no number has to be looked up."""
    report = audit(kernels=MANY[:20], arch="x86_64", only=["freplace-loop"])
    data = json.loads(render(report, View()))
    jsonschema.Draft202012Validator(json.loads(report_schema_path().read_text())).validate(data)
    (verdict,) = data["targets"][0]["verdicts"]
    assert (verdict["pitfall"], verdict["severity"], verdict["verdict"]) == (6, "critical", "affected")
    assert {"rule", "reason", "settle", "disagreements", "observation"} <= verdict.keys()
    assert {"kind", "commit", "presence", "citation"} <= verdict["evidence"][0].keys()
    assert not {"defects", "details", "evidence"} & data.keys()
