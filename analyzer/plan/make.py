"""Makes a plan for a tree: audit, choose, find, try, audit again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import shallow_commits
from tailcall_audit.analyzer.kernelfiles.loose_objects import common_directory
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import AuditError, State, Verdict
from tailcall_audit.analyzer.plan.attempt import Trial, Wanted, attempt
from tailcall_audit.analyzer.plan.audited import Audited, audit_committed
from tailcall_audit.analyzer.plan.choose import Choice, Pick, choose
from tailcall_audit.analyzer.plan.fetching import fetch_command
from tailcall_audit.analyzer.plan.locate import Located, Tip, locate, nearest, tip_of
from tailcall_audit.analyzer.plan.order import dependencies, in_order
from tailcall_audit.analyzer.plan.patches import Overlay, PatchTrial, read_patches
from tailcall_audit.analyzer.plan.predict import predict
from tailcall_audit.analyzer.plan.scratch import MissingObjectError, Scratch
from tailcall_audit.analyzer.plan.types import Left, Outcome, Plan, Result, Step, short
from tailcall_audit.analyzer.plan.upstream import Lender, lenders
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.analyzer.subjects.locate_tree import KernelTree
from tailcall_audit.analyzer.subjects.subject import Request
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Asked", "make_plan"]


class Asked(NamedTuple):
    """The request for a plan: the tree, where to look for commits and patches, and whether undecided defects are
    planned for. `scratch` is an empty folder that the caller deletes.
    """

    path: str
    upstream: tuple[str, ...]
    scratch: Path
    unknown: bool = False
    patches: str | None = None


def _planned(audited: Audited, request: Request, unknown: bool) -> tuple[list[Verdict], list[Left]]:
    """Returns the verdicts to plan for, and the undecided ones that are not planned for."""
    slugs = {defect.slug for defect in request.defects}
    asked = [verdict for verdict in audited.verdicts if verdict.defect.slug in slugs]
    planned = [verdict for verdict in asked if verdict.state is State.AFFECTED]
    open_ones = [verdict for verdict in asked if verdict.state is State.UNKNOWN]
    if unknown:
        return planned + open_ones, []
    return planned, [Left(verdict.defect.slug, verdict.reason, verdict.settle) for verdict in open_ones]


def _wanted(
    catalog: Catalog, choice: Choice, located: Located, ids: dict[str, str], own: UpstreamVersion | None
) -> dict[str, Wanted]:
    rank = nearest(catalog, own)
    after = dependencies(catalog, choice.picks)
    found = {}
    for key, pick in choice.picks.items():
        commit = catalog.commits[key]
        fetch = fetch_command(commit, rank, "" if own is None else own.branch)
        found[key] = Wanted(
            key=key,
            upstream=commit.id,
            subject=commit.subject,
            role=pick.role,
            defects=pick.defects,
            needed_by=tuple(ids[other] for other in pick.needed_by),
            follows=tuple(ids[other] for other in pick.follows),
            origins=tuple(located.origins.get(key, ())),
            after=after[key],
            dependencies=tuple(located.dependencies.get(key, ())),
            cves=_cves(catalog, pick),
            changes=tuple(map(str, commit.changes)),
            missing=fetch.origin,
            fetch=fetch.command,
        )
    return found


def _cves(catalog: Catalog, pick: Pick) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cve for slug in pick.defects for defect in catalog.find(slug) for cve in defect.cves))


def _untested(wanted: Wanted, notes: tuple[str, ...]) -> Step:
    return wanted.step(Outcome.UNTESTED, wanted.missing)._replace(notes=notes, fetch=wanted.fetch)


def _times(scratch: Scratch, commits: Sequence[Commit]) -> dict[str, int]:
    """Returns the times of mainline's commits that are here, by key."""
    found = {}
    for commit in commits:
        try:
            found[commit.key] = int(scratch.commit(commit.id).commit_time)
        except MissingObjectError:
            continue
    return found


def _tips(scratch: Scratch, lent: Sequence[Lender], head: str) -> list[Tip]:
    """Returns the branches to look in, one for each that their Makefiles name: the newest."""
    found: dict[str, Tip] = {}
    for lender in lent:
        for name, commit in lender.refs.items():
            tip = None if commit == head else tip_of(scratch, name, commit)
            if tip is None or tip.version is None:
                continue
            known = found.get(tip.source)
            if known is None or known.version is None or known.version < tip.version:
                found[tip.source] = tip
    return list(found.values())


def _scratch(asked: Asked, tree: KernelTree, lent: Sequence[Lender]) -> Scratch:
    assert tree.repository is not None  # the caller's condition
    objects = [common_directory(tree.repository) / "objects", *(lender.objects for lender in lent)]
    scratch = Scratch(asked.scratch, objects)
    # The commits at which a clone was cut name parents that are not there: git needs the same list here.
    cut = shallow_commits(tree.repository) | {name for lender in lent for name in lender.cut}
    if cut:
        (asked.scratch / "shallow").write_text("".join(f"{name}\n" for name in sorted(cut)), encoding="ascii")
    return scratch


def make_plan(request: Request, asked: Asked) -> Plan:
    """Makes the plan for a tree; raises AuditError if the tree or an upstream cannot be read."""
    audited = audit_committed(request, asked.path)
    planned, unknown = _planned(audited, request, asked.unknown)
    choice = choose(request.catalog, audited.facts, audited.verdicts, planned, _branch(audited))
    affected = tuple(dict.fromkeys(verdict.defect.slug for verdict in planned))
    without = tuple(Left(slug, "no commit that mends it is known") for slug in choice.without_fix)
    tried = _tried(request, asked, audited, choice)
    result = tried.result._replace(open=(*tried.result.open, *without))
    return Plan(
        name=audited.subject.label,
        identity=audited.subject.identity,
        affected=affected,
        unknown=tuple(unknown),
        steps=tried.steps,
        result=result,
        notes=tuple(dict.fromkeys((*tried.notes, *audited.notes))),
        lenders=tried.lenders,
    )


class _Tried(NamedTuple):
    """The steps in order, their result, notes, and the repositories that commits were read from."""

    steps: tuple[Step, ...]
    result: Result
    notes: tuple[str, ...] = ()
    lenders: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _tried(request: Request, asked: Asked, audited: Audited, choice: Choice) -> _Tried:
    """Returns the steps in order, each tried if possible, and their result."""
    tree = audited.tree
    if tree.repository is None or tree.commit is None:
        return _by_patches(request, asked, audited, choice)
    if asked.patches is not None:
        raise AuditError(
            "--patches is for sources without git: this tree has objects to try commits on, --upstream lends others"
        )
    lent = lenders(asked.upstream, tree.repository, _branch(audited))
    if not choice.picks:
        return _Tried((), Result(True, (), ()))
    return _by_objects(request, asked, audited, choice, lent)


def _branch(audited: Audited) -> str:
    return "" if audited.version is None else audited.version.branch


def _slugs(choice: Choice) -> tuple[str, ...]:
    return tuple(dict.fromkeys(slug for pick in choice.picks.values() for slug in pick.defects))


def _by_objects(request: Request, asked: Asked, audited: Audited, choice: Choice, lent: Sequence[Lender]) -> _Tried:
    """Returns the steps, each merged on top of the last in a scratch repository."""
    catalog, tree, slugs = request.catalog, audited.tree, _slugs(choice)
    assert tree.commit is not None  # the caller's condition
    keys = list(choice.picks)
    ids = {key: catalog.commits[key].id for key in keys}
    scratch = _scratch(asked, tree, lent)
    head = str(tree.commit.id)
    tips = _tips(scratch, lent, head)
    located = locate(scratch, catalog, keys, tips, head, audited.version, request.progress)
    ids |= {key: items[0].id for key, items in located.origins.items() if items}
    wanted = _wanted(catalog, choice, located, ids, audited.version)
    matcher = Matcher(catalog, _branch(audited))
    trial = Trial(
        scratch, head, str(tree.commit.tree_id), request.progress, lambda name: _full_id(catalog, matcher, name)
    )
    order = in_order(catalog, choice.picks, _times(scratch, [catalog.commits[key] for key in keys]))
    attempt(trial, wanted, order)
    request.progress("reading the tree that the steps lead to")
    files = BlobReader(scratch.repository, _commit_of(scratch, trial.tree, head))
    fixed, left = predict(catalog, audited.subject, files, audited.version, audited.verdicts, slugs)
    fixed, left = _without_lacking(trial.steps, fixed, left)
    tried = all(step.outcome not in (Outcome.OBJECT_MISSING, Outcome.UNTESTED) for step in trial.steps)
    # If a step conflicts or is missing, the tree after the plan is not known.
    whole = tried and all(step.outcome is not Outcome.CONFLICTS for step in trial.steps)
    looked_in = {tip.name for tip in tips}
    blank = [
        f"--upstream {lender.place}: no branch of a kernel is in it; commits are found there by their ids only"
        for lender in lent
        if lender.place is not None and looked_in.isdisjoint(lender.refs)
    ]
    places = tuple((lender.place, tuple(looked_in & lender.refs.keys())) for lender in lent if lender.place is not None)
    steps = tuple(_with_picked_ids(trial.steps))
    return _Tried(steps, Result(tried, fixed, left, trial.tree if whole else None), (*blank, *located.notes), places)


def _without_lacking(
    steps: Sequence[Step], fixed: tuple[str, ...], left: tuple[Left, ...]
) -> tuple[tuple[str, ...], tuple[Left, ...]]:
    """Returns the defects that are fixed and open. A step whose code uses names that the tree lacks mends nothing,
    since it does not compile.
    """
    lacking = {slug: step for step in steps if step.lacks for slug in step.defects if slug in fixed}
    more = tuple(
        Left(slug, f"{short(step.commit)} uses {', '.join(step.lacks)}, which the tree lacks")
        for slug, step in lacking.items()
    )
    return tuple(slug for slug in fixed if slug not in lacking), (*left, *more)


def _by_patches(request: Request, asked: Asked, audited: Audited, choice: Choice) -> _Tried:
    """Returns the steps for sources without git: tried with patch files, if there are any."""
    if asked.upstream:
        raise AuditError(
            f"--upstream: {audited.tree.root} has no git history to pick onto; --patches applies patch files"
        )
    slugs = _slugs(choice)
    ids = {key: request.catalog.commits[key].id for key in choice.picks}
    wanted = _wanted(request.catalog, choice, Located(), ids, audited.version)
    order = in_order(request.catalog, choice.picks, {})
    if not order:
        return _Tried((), Result(True, (), ()))
    if asked.patches is None:
        why = ("there are no git objects to try it on: --patches applies mails or git format-patch files",)
        steps = tuple(_untested(wanted[key], why) for key in order)
        return _Tried(steps, Result(False, (), tuple(Left(slug, "the steps were not tried") for slug in slugs)))
    mails, notes = read_patches(asked.patches, request.catalog, _branch(audited))
    trial = PatchTrial(Overlay(audited.tree.files), mails, asked.patches, request.progress)
    attempt(trial, wanted, order)
    fixed, left = predict(request.catalog, audited.subject, trial.files, audited.version, audited.verdicts, slugs)
    tried = all(step.outcome is not Outcome.UNTESTED for step in trial.steps)
    return _Tried(tuple(trial.steps), Result(tried, fixed, left), tuple(notes))


def _full_id(catalog: Catalog, matcher: Matcher, name: str) -> str | None:
    key = matcher.key(name)
    return None if key is None else catalog.commits[key].id


def _with_picked_ids(steps: Sequence[Step]) -> list[Step]:
    """Returns the steps with `needed_by` naming the commits that are picked: another form of a commit than the nearest
    may be.
    """
    picked = {step.upstream: step.commit for step in steps} | {step.commit: step.commit for step in steps}

    def named(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(picked.get(name, name) for name in names)

    return [step._replace(needed_by=named(step.needed_by), follows=named(step.follows)) for step in steps]


def _commit_of(scratch: Scratch, tree: str, parent: str) -> pygit2.Commit:
    """A commit of the scratch repository with this tree, since a reader of files reads a commit's."""
    who = pygit2.Signature("tailcall-audit", "plan@localhost", 0, 0)
    with pygit2_errors(lambda words: AuditError(f"the scratch repository cannot be written: {words}")):
        name = scratch.repository.create_commit(None, who, who, "plan", tree, [parent])
    return scratch.commit(str(name))
