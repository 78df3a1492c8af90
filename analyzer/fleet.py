"""Audits the kernels of a list of nodes. The list is read in a separate process, and each kernel is judged once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tailcall_audit.analyzer.judging import judge_subject
from tailcall_audit.analyzer.limits import limits_of
from tailcall_audit.analyzer.model import AuditError, Node, Report, TargetReport
from tailcall_audit.analyzer.subjects.nodes import NodeBatch, NodeKernel, nodes_of_list, subject_of_kernel
from tailcall_audit.analyzer.subjects.subject import Request
from tailcall_audit.analyzer.worker import work_apart

__all__ = ["LookUp", "audit_nodes"]

LookUp = Callable[[Sequence[NodeKernel], Sequence[TargetReport]], tuple[TargetReport, ...]]
"""Returns the reports on kernels, those with unknown verdicts looked up."""


def _read(request: Request, name: str) -> Iterator[NodeKernel | NodeBatch]:
    if not request.apart:
        return nodes_of_list(request, name)
    return work_apart(
        lambda progress: nodes_of_list(request._replace(progress=progress), name),
        limits_of("nodes", name),
        request.catalog,
        request.progress,
        (NodeKernel, NodeBatch),
    )


def audit_nodes(request: Request, name: str, look_up: LookUp | None = None) -> Report:
    """Audits the kernels of a list of nodes, and looks the open ones up with `look_up`. Raises AuditError if no node
    names a kernel.

    The kernels are judged in this process, so that kernels with the same verdict share one object.
    """
    request = request._replace(online=None)
    kernels: list[NodeKernel] = []
    targets: list[TargetReport] = []
    nodes: list[Node] = []
    for item in _read(request, name):
        if isinstance(item, NodeKernel):
            request.progress(f"judging {item.text}")
            kernels.append(item)
            targets.append(judge_subject(subject_of_kernel(request, item), request))
        else:
            nodes += [Node(*node) for node in item.nodes]
    if not targets:
        reasons = dict.fromkeys(node.skipped for node in nodes if node.skipped)
        raise AuditError(f"none of {len(nodes):,} nodes names a kernel: {'; '.join(list(reasons)[:3])}")
    judged = tuple(targets) if look_up is None else look_up(kernels, targets)
    return Report(judged, request.catalog, today=request.today, nodes=tuple(nodes))
