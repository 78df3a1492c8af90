"""The options that count as set while a commit's code is read: those that every defect of the commit needs, and no others.

An option too many would take code for compiled that a real configuration leaves out.
"""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.expression import parse_expression
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.conditionals import Assumptions
from tailcall_audit.analyzer.readers.assumptions import assumptions_by_commit


def _assumed(catalog: Catalog, *configs: object) -> Assumptions:
    """What is assumed for a commit that matters for a defect of each of these configurations."""
    (defect,) = catalog.find("freplace-loop")
    made = tuple(
        defect._replace(slug=str(number), config=parse_expression(config)) for number, config in enumerate(configs)
    )
    return assumptions_by_commit(catalog._replace(defects=made))["d6083f040d5d"]


@pytest.mark.parametrize(
    ("config", "on", "off"),
    [
        ("BPF_JIT", {"CONFIG_BPF_JIT"}, set()),
        ({"all": ["BPF_JIT", "NET"]}, {"CONFIG_BPF_JIT", "CONFIG_NET"}, set()),
        ({"any": ["BPF_JIT", "NET"]}, set(), set()),
        ({"any": [{"all": ["BPF_JIT", "NET"]}, {"all": ["BPF_JIT", "SMP"]}]}, {"CONFIG_BPF_JIT"}, set()),
        ({"not": "PREEMPT_RT"}, set(), {"CONFIG_PREEMPT_RT"}),
        ({"all": ["BPF_JIT", {"not": "PREEMPT_RT"}]}, {"CONFIG_BPF_JIT"}, {"CONFIG_PREEMPT_RT"}),
        ({"any": [{"not": "A"}, {"not": "B"}]}, set(), set()),
        ({"any": [{"not": "A"}, {"all": [{"not": "A"}, "B"]}]}, set(), {"CONFIG_A"}),
        # Without A or without B: neither is known to be off, and none is known to be on.
        ({"not": {"all": ["A", "B"]}}, set(), set()),
    ],
)
def test_an_option_is_assumed_if_every_alternative_needs_it(
    catalog: Catalog, config: object, on: set[str], off: set[str]
) -> None:
    assert _assumed(catalog, config) == Assumptions(frozenset(on), frozenset(off))


def test_a_commit_of_several_defects_has_what_all_of_them_need(catalog: Catalog) -> None:
    both = _assumed(
        catalog, {"all": ["BPF_JIT", "NET", {"not": "A"}]}, {"all": ["BPF_JIT", "SMP", {"not": "A"}, {"not": "B"}]}
    )
    assert both == Assumptions(frozenset(("CONFIG_BPF_JIT",)), frozenset(("CONFIG_A",)))


def test_every_commit_of_a_defect_has_its_assumptions(catalog: Catalog) -> None:
    (defect,) = catalog.find("freplace-loop")
    found = assumptions_by_commit(catalog._replace(defects=(defect,)))
    assert found.keys() == set(defect.commits)
    assert len(set(found.values())) == 1
