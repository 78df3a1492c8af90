"""Every probe, in the order in which they run: those that could end a guest come last."""

from __future__ import annotations

from tailcall_audit.probes.defects import (
    freplace_attached_panic,
    freplace_attached_refused,
    freplace_loop,
    freplace_tailcallee,
    tailcall_cgroup_storage_bridge,
    tailcall_cgroup_storage_oob,
    tailcall_compat_attach_func_proto,
    tailcall_compat_expected_attach_type,
    tailcall_pkt_pointers,
    tailcall_verifier_return_model,
    tailcall_via_callback_subprog,
    tracing_dst_prog_type_confusion,
    x86_count_offset,
    x86_hierarchy,
    x86_trampoline_loop,
)

__all__ = ["PROBES"]

PROBES = (
    freplace_tailcallee.PROBE,
    x86_count_offset.PROBE,
    x86_trampoline_loop.PROBE,
    x86_hierarchy.PROBE,
    freplace_loop.PROBE,
    tailcall_compat_attach_func_proto.PROBE,
    tailcall_compat_expected_attach_type.PROBE,
    tailcall_cgroup_storage_oob.PROBE,
    tailcall_cgroup_storage_bridge.PROBE,
    tailcall_pkt_pointers.PROBE,
    tailcall_verifier_return_model.PROBE,
    tailcall_via_callback_subprog.PROBE,
    tracing_dst_prog_type_confusion.PROBE,
    freplace_attached_refused.PROBE,
    freplace_attached_panic.PROBE,
)
