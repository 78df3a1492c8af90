"""The state of the tree after the steps, by its code alone: the messages of a plan's own commits are no evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader
from tailcall_audit.analyzer.model import Rule, State, Verdict
from tailcall_audit.analyzer.plan.types import Left
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.readers.source import SourceReader
from tailcall_audit.analyzer.subjects.subject import Subject
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["predict"]

_RULED_OUT = (Rule.OTHER_ARCHITECTURE, Rule.CONFIG_EXCLUDES)
_SAFE = (State.FIXED, State.NOT_AFFECTED)


def _by_slug(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.defect.slug, []).append(verdict)
    return found


def _outcome(slug: str, before: Sequence[Verdict], after: Sequence[Verdict]) -> Left | bool:
    """True for a planned defect that the code shows fixed wherever the tree had it, else why it is open.

    False for one that the steps would have brought and did not, because a step is missing: it is neither fixed nor
    open.
    """
    was_safe = all(item.state in _SAFE for item in before)
    safe = {name for item in before if item.state in _SAFE for name in item.architectures}
    concerned = [
        item
        for item in after
        if item.rule not in _RULED_OUT
        and (was_safe or not item.architectures or not safe.issuperset(item.architectures))
    ]
    for item in concerned:
        if item.state is not State.FIXED and not (was_safe and item.state is State.NOT_AFFECTED):
            return Left(slug, f"by the code afterwards {item.state.value}: {item.reason}", item.settle)
    if any(item.state is State.FIXED for item in concerned):
        return True
    return False if was_safe else Left(slug, "no signature of the code answers for it afterwards")


def predict(
    catalog: Catalog,
    subject: Subject,
    files: FileReader,
    version: UpstreamVersion | None,
    verdicts: Sequence[Verdict],
    planned: Sequence[str],
) -> tuple[tuple[str, ...], tuple[Left, ...]]:
    """Returns the planned defects (slugs) that the code of `files` shows fixed, and what is open.

    `verdicts` are those of the tree before the steps. A defect that was none of this tree before and is one now is
    open, too.
    """
    evidence = SourceReader(files, version=version).evidence(catalog)
    facts = Facts(evidence, subject.architecture, subject.config, subject.config_applies, subject.live_patches)
    before, after = _by_slug(verdicts), _by_slug(judge_all(catalog, facts, catalog.defects))
    fixed: list[str] = []
    left: list[Left] = []
    for slug in planned:
        found = _outcome(slug, before.get(slug, ()), after.get(slug, ()))
        if isinstance(found, Left):
            left.append(found)
        elif found:
            fixed.append(slug)
    for slug, items in after.items():
        was_safe = all(item.state in _SAFE for item in before.get(slug, ()))
        worse = next((item for item in items if item.state is State.AFFECTED), None)
        if slug not in planned and was_safe and worse is not None:
            left.append(Left(slug, f"the steps bring it: {worse.reason}"))
    return tuple(fixed), tuple(left)
