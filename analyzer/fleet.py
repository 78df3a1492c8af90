"""Audits the kernels of a list of nodes. The list is read in a separate process, and each kernel is judged once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tailcall_audit.analyzer.limits import limits_of
from tailcall_audit.analyzer.model import AuditError, Node, Report, TargetReport
from tailcall_audit.analyzer.subjects.nodes import NodeBatch, NodeKernel, nodes_of_list, subject_of_kernel
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.worker import work_apart

__all__ = ["audit_nodes"]


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


def audit_nodes(request: Request, name: str, judge: Callable[[Subject, Request], TargetReport]) -> Report:
    """Audits the kernels of a list of nodes. Raises AuditError if no node names a kernel.

    The kernels are judged in this process, so that kernels with the same verdict share one object.
    """
    targets: list[TargetReport] = []
    nodes: list[Node] = []
    for item in _read(request, name):
        if isinstance(item, NodeKernel):
            request.progress(f"judging {item.text}")
            targets.append(judge(subject_of_kernel(request, item), request))
        else:
            nodes += [Node(*node) for node in item.nodes]
    if not targets:
        reasons = dict.fromkeys(node.skipped for node in nodes if node.skipped)
        raise AuditError(f"none of {len(nodes):,} nodes names a kernel: {'; '.join(list(reasons)[:3])}")
    return Report(tuple(targets), request.catalog, today=request.today, nodes=tuple(nodes))
