"""Every format: what all promise, and the official schemas of those that have one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from tailcall_audit import Catalog, State
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.formats.kernel import fingerprint, subjects
from tailcall_audit.analyzer.formats.registry import find_format, format_names
from tailcall_audit.analyzer.formats.status import names_of
from tailcall_audit.analyzer.model import Node, Report
from tests.formats.examples import HOSTILE, VIEW, by_state, hostile, plain, whole

SCHEMAS = Path(__file__).with_name("schemas")
NAMES = (
    "csaf",
    "csv",
    "cyclonedx",
    "html",
    "json",
    "junit",
    "markdown",
    "openvex",
    "plain",
    "prometheus",
    "sarif",
    "table",
)
VEX = ("openvex", "csaf", "cyclonedx")


def rendered(name: str, report: Report) -> str:
    return find_format(name).render(report, VIEW)


def document(name: str, report: Report) -> Any:
    return json.loads(rendered(name, report))


def test_these_are_the_formats() -> None:
    assert set(NAMES) <= set(format_names())
    assert {"matrix", "lab", "compared"}.isdisjoint(format_names())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("report", [plain, whole, hostile], ids=["plain", "whole", "hostile"])
def test_a_format_is_text_that_ends_in_one_line_break(name: str, report: Any) -> None:
    text = rendered(name, report())
    assert text.endswith("\n")
    assert not text.endswith("\n\n\n")
    if name != "table":  # its colours are control sequences
        assert {letter for letter in text if not letter.isprintable()} <= {"\n"}, name
    assert rendered(name, report()) == text


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prometheus"])
def test_waivers_and_what_was_skipped_are_shown(name: str) -> None:
    """VEX documents have no place for what was not judged: they claim nothing about it. Prometheus counts."""
    text = rendered(name, whole())
    assert "no program mixes both" in text
    assert "2027-01-31" in text
    if name not in VEX:
        assert "vmlinuz-broken" in text


def test_sarif_is_valid() -> None:
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text())
    for report in (plain(), whole(), hostile()):
        data = document("sarif", report)
        jsonschema.Draft4Validator(schema).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate({**data, "version": "2.0.0"})


def fleet() -> Report:
    return plain()._replace(nodes=(Node("worker-2", 0), Node("worker-1", 0), Node("worker-3\x1b[2J", 0)))


def test_sarif_names_the_nodes_of_a_kernel_once() -> None:
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text())
    data = document("sarif", fleet())
    jsonschema.Draft4Validator(schema).validate(data)
    (run,) = data["runs"]
    named = {place["name"]: place.get("properties") for place in run["logicalLocations"]}
    assert named[plain().targets[0].name] == {"nodes": ["worker-1", "worker-2", "worker-3\ufffd[2J"]}
    assert named[plain().targets[1].name] is None
    for result in run["results"]:
        (place,) = result["locations"][0]["logicalLocations"]
        assert run["logicalLocations"][place["index"]]["name"] == place["name"]
        assert ("; on 3 nodes: worker-1, worker-2, " in result["message"]["text"]) == (place["index"] == 0)


def test_nodes_do_not_change_a_fingerprint() -> None:
    prints = [
        [item["partialFingerprints"] for item in document("sarif", report)["runs"][0]["results"]]
        for report in (plain(), fleet())
    ]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", VEX)
def test_a_vex_document_counts_the_nodes_and_names_none(name: str) -> None:
    text = rendered(name, fleet())
    assert "worker" not in text
    assert ('"tailcall-audit:nodes"' if name == "cyclonedx" else f"{plain().targets[0].name} · 3 nodes") in json.dumps(
        json.loads(text), ensure_ascii=False
    )
    if name == "csaf":
        assert [error.message for error in csaf_validator().iter_errors(json.loads(text))] == []


def csaf_validator() -> jsonschema.Draft202012Validator:
    schemas = [json.loads(path.read_text()) for path in sorted(SCHEMAS.glob("*.json")) if "sarif" not in path.name]
    pairs = [(item.get("$id") or item["id"], Resource.from_contents(item)) for item in schemas]
    address = "https://www.first.org/cvss/"
    pairs += [
        (f"{address}{path.name}", Resource.from_contents(json.loads(path.read_text())))
        for path in SCHEMAS.glob("cvss*")
    ]
    registry: Registry[Any] = Registry().with_resources(pairs)
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / "csaf-2.0.json").read_text()), registry=registry)


def test_csaf_is_valid() -> None:
    validator = csaf_validator()
    for report in (plain(), whole(), hostile()):
        data = document("csaf", report)
        assert [error.message for error in validator.iter_errors(data)] == []
    assert list(validator.iter_errors({**data, "document": {}}))


def test_csaf_keeps_the_rules_of_its_profile() -> None:
    """Section 6.1 of the standard, as far as it is about what we write: products, remediations, impacts, versions."""
    data = document("csaf", whole())
    known = {item["product_id"] for item in data["product_tree"]["full_product_names"]}
    assert len(known) == len(data["product_tree"]["full_product_names"])
    for item in data["vulnerabilities"]:
        statuses = item["product_status"]
        listed = [product for products in statuses.values() for product in products]
        assert len(listed) == len(set(listed))  # 6.1.6: no product has two statuses
        assert set(listed) <= known
        mended = {product for entry in item.get("remediations", ()) for product in entry["product_ids"]}
        assert mended == set(statuses.get("known_affected", ()))  # 6.1.27.10
        explained = {product for entry in item["threats"] for product in entry["product_ids"]}
        assert set(statuses.get("known_not_affected", ())) <= explained  # 6.1.27.9
        flagged = [product for entry in item.get("flags", ()) for product in entry["product_ids"]]
        assert len(flagged) == len(set(flagged))
        assert set(flagged) <= set(statuses.get("known_not_affected", ()))
    tracking = data["document"]["tracking"]
    assert tracking["version"] == tracking["revision_history"][-1]["number"]


def test_a_document_without_a_publisher_is_a_draft() -> None:
    data = json.loads(find_format("csaf").render(plain(), VIEW._replace(publisher="", namespace="")))
    assert [error.message for error in csaf_validator().iter_errors(data)] == []
    assert (data["document"]["tracking"]["status"], data["document"]["tracking"]["version"]) == ("draft", "0")


def test_cyclonedx_is_valid() -> None:
    pytest.importorskip("cyclonedx", reason="the extra formats is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for report in (plain(), whole(), hostile()):
        assert validator.validate_str(rendered("cyclonedx", report)) is None
    assert validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "extra": 1}') is not None


def statuses(name: str, report: Report) -> list[str]:
    """The status of each verdict in a VEX document, in the words of OpenVEX."""
    data = document(name, report)
    if name == "openvex":
        return [item["status"] for item in data["statements"]]
    words = {"exploitable": "affected", "resolved": "fixed", "in_triage": "under_investigation"}
    return [words.get(state := item["analysis"]["state"], state) for item in data["vulnerabilities"]]


@pytest.mark.parametrize("name", ["openvex", "cyclonedx"])
def test_no_verdict_is_better_in_vex(name: str) -> None:
    found = statuses(name, whole())
    for word, state in (
        ("affected", State.AFFECTED),
        ("fixed", State.FIXED),
        ("not_affected", State.NOT_AFFECTED),
        ("under_investigation", State.UNKNOWN),
    ):
        assert found.count(word) == by_state(whole(), state)
    assert by_state(whole(), State.AFFECTED, waived=True) == 1
    assert by_state(whole(), State.UNKNOWN, waived=True) == 1


def test_a_waived_defect_stays_affected_with_the_waiver_in_what_to_do() -> None:
    found = [
        item
        for item in document("openvex", whole())["statements"]
        if item["vulnerability"]["name"] == "x86-hierarchy" and item["status"] == "affected"
    ]
    assert len(found) == 1
    assert found[0]["action_statement"].startswith(
        "Accepted by a waiver: until 2027-01-31, by platform team: no program mixes both (/etc/w.toml:2). "
        "Use a kernel with the fix: 116e04ba1459"
    )


def test_openvex_has_what_each_status_needs() -> None:
    """OpenVEX 0.2.0: an affected product needs an action statement, one that is not affected a reason."""
    statements = document("openvex", whole())["statements"]
    assert {item["status"] for item in statements} == {"affected", "fixed", "not_affected", "under_investigation"}
    for item in statements:
        assert ("action_statement" in item) is (item["status"] == "affected")
        assert ("impact_statement" in item) is (item["status"] == "not_affected")
        assert "justification" not in item or item["status"] == "not_affected"
        assert all(product["@id"].startswith("pkg:generic/linux@") for product in item["products"])


def test_a_cve_that_two_defects_share_names_neither(catalog: Catalog) -> None:
    """CVE-2024-43837 is of pitfall 5's two defects: one may be there without the other."""
    names = names_of(catalog)
    assert names["freplace-attached-panic"].name == "freplace-attached-panic"
    assert names["freplace-loop"].name == "CVE-2024-47794"
    assert names["freplace-loop"].aliases == ("freplace-loop",)
    assert len({item.name for item in names.values()}) == len(catalog.defects)


def test_sarif_has_what_is_there_or_may_be_there() -> None:
    (run,) = document("sarif", whole())["runs"]
    results = run["results"]
    assert len(results) == by_state(whole(), State.AFFECTED) + by_state(whole(), State.UNKNOWN)
    levels: dict[str, set[str]] = {item["properties"]["verdict"]: set() for item in results}
    for item in results:
        levels[item["properties"]["verdict"]].add(item["level"])
        assert run["tool"]["driver"]["rules"][item["ruleIndex"]]["id"] == item["ruleId"]
    assert levels["unknown"] == {"note"}
    assert levels["affected"] == {"error", "warning"}
    suppressed = [item["ruleId"] for item in results if item.get("suppressions")]
    assert suppressed == ["x86-hierarchy", "freplace-loop"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert document("sarif", plain())["runs"][0]["invocations"][0]["executionSuccessful"] is True


def test_a_fingerprint_is_of_the_defect_and_the_kernel() -> None:
    first = next(subjects(plain()))
    moved = first.target._replace(
        label="/elsewhere/vmlinuz", identity={**first.target.identity, "config": "/x/.config"}
    )
    verdicts = first.target.verdicts
    prints = {fingerprint(first.target, item) for item in verdicts}
    assert len(prints) == len(verdicts)
    assert {fingerprint(moved, item) for item in verdicts} == prints
    other = first.target._replace(identity={**first.target.identity, "release": "6.1.171"})
    assert prints.isdisjoint(fingerprint(other, item) for item in verdicts)


def test_two_kernels_of_one_name_have_names_of_their_own() -> None:
    names = [subject.kernel.name for subject in subjects(hostile())]
    assert names[1] == f"{names[0]} (2)"


def test_what_mends_a_kernel_is_a_fix_of_the_catalogue(catalog: Catalog) -> None:
    categories = set()
    for item in document("csaf", plain())["vulnerabilities"]:
        (defect,) = catalog.find(item["ids"][0]["text"])
        for entry in item.get("remediations", ()):
            categories.add(entry["category"])
            fixes = list(leaves(defect.fixed))
            assert entry["category"] == ("vendor_fix" if fixes else "none_available")
            assert all(key in entry["details"] for key in fixes)
    assert "vendor_fix" in categories


def test_no_words_of_an_input_act_in_a_page() -> None:
    page = rendered("html", hostile())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    text = rendered("markdown", hostile())
    assert "\\[a\\]\\(https:\\//e.example" in text
    words = re.sub(r"`[^`\n]*`", "", text.replace("\\`", ""))  # code is shown as it is
    assert "<script>" not in words
    assert "://" not in words
    assert rendered("csv", hostile()).count("'=cmd") > 0
    assert HOSTILE not in page + text
