"""The lines of a text report."""

from __future__ import annotations

from tailcall_audit import audit
from tailcall_audit.analyzer.formats.lines import summary
from tailcall_audit.analyzer.policy.agreement import observe_all
from tailcall_audit.probes.probe import ABSENT, PRESENT, Result


def test_the_last_line_counts_verdicts_and_what_probes_saw() -> None:
    (target,) = audit(kernels=["6.1.170"], arch="x86_64", pitfalls=True).targets
    assert summary(target, everything=False) == "2 affected, 5 fixed, 0 not-affected, 0 unknown"
    results = {
        "freplace-loop": Result(PRESENT, "it looped"),
        "x86-hierarchy": Result(PRESENT, "it counted 89"),
        "x86-count-offset": Result(ABSENT, "it counted 34", conclusive=True),
    }
    seen = observe_all(target, results, "in a guest")
    assert summary(seen, everything=False) == ("2 affected, 5 fixed, 0 not-affected, 0 unknown; probes: 3 confirmed")
