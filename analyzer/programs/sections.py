"""Derives program type and attachment from the name of a section, as libbpf does.

`_DEFINITIONS` is section_defs[] of tools/lib/bpf/libbpf.c in Linux 7.3. A name that ends in ``+`` stands for itself and
for NAME/WHAT. Before libbpf 1.0, most names also matched as a prefix of a section's name (``classifier/0``). Other
loaders (iproute2, cilium/ebpf) still do so; prefixes are therefore tried second.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tailcall_audit.analyzer.programs.types import Attachment

__all__ = ["SectionName", "read_section_name"]

_NONE = "none"
"""The expected attach type of a program that is loaded without one (0)."""
_DEFINITIONS = """
socket socket_filter
sk_reuseport/migrate sk_reuseport sk_reuseport_select_or_migrate
sk_reuseport sk_reuseport sk_reuseport_select
kprobe+ kprobe
uprobe+ kprobe
uprobe.s+ kprobe none s
kretprobe+ kprobe
uretprobe+ kprobe
uretprobe.s+ kprobe none s
kprobe.multi+ kprobe trace_kprobe_multi
kretprobe.multi+ kprobe trace_kprobe_multi
kprobe.session+ kprobe trace_kprobe_session
uprobe.multi+ kprobe trace_uprobe_multi
uretprobe.multi+ kprobe trace_uprobe_multi
uprobe.session+ kprobe trace_uprobe_session
uprobe.multi.s+ kprobe trace_uprobe_multi s
uretprobe.multi.s+ kprobe trace_uprobe_multi s
uprobe.session.s+ kprobe trace_uprobe_session s
ksyscall+ kprobe
kretsyscall+ kprobe
usdt+ kprobe
usdt.s+ kprobe none s
tc/ingress sched_cls tcx_ingress
tc/egress sched_cls tcx_egress
tcx/ingress sched_cls tcx_ingress
tcx/egress sched_cls tcx_egress
tc sched_cls
classifier sched_cls
action sched_act
netkit/primary sched_cls netkit_primary
netkit/peer sched_cls netkit_peer
tracepoint+ tracepoint
tracepoint.s+ tracepoint none s
tp.s+ tracepoint none s
tp+ tracepoint
raw_tracepoint+ raw_tracepoint
raw_tp+ raw_tracepoint
raw_tracepoint.s+ raw_tracepoint none s
raw_tp.s+ raw_tracepoint none s
raw_tracepoint.w+ raw_tracepoint_writable
raw_tp.w+ raw_tracepoint_writable
tp_btf+ tracing trace_raw_tp
tp_btf.s+ tracing trace_raw_tp s
fentry+ tracing trace_fentry
fmod_ret+ tracing modify_return
fexit+ tracing trace_fexit
fsession+ tracing trace_fsession
fentry.s+ tracing trace_fentry s
fmod_ret.s+ tracing modify_return s
fexit.s+ tracing trace_fexit s
fsession.s+ tracing trace_fsession s
fentry.multi+ tracing trace_fentry_multi
fexit.multi+ tracing trace_fexit_multi
fsession.multi+ tracing trace_fsession_multi
fentry.multi.s+ tracing trace_fentry_multi s
fexit.multi.s+ tracing trace_fexit_multi s
fsession.multi.s+ tracing trace_fsession_multi s
freplace+ ext
lsm+ lsm lsm_mac
lsm.s+ lsm lsm_mac s
lsm_cgroup+ lsm lsm_cgroup
iter+ tracing trace_iter
iter.s+ tracing trace_iter s
syscall syscall none s
xdp.frags/devmap xdp xdp_devmap
xdp/devmap xdp xdp_devmap
xdp.frags/cpumap xdp xdp_cpumap
xdp/cpumap xdp xdp_cpumap
xdp.frags xdp xdp
xdp xdp xdp
perf_event perf_event
lwt_in lwt_in
lwt_out lwt_out
lwt_xmit lwt_xmit
lwt_seg6local lwt_seg6local
sockops sock_ops cgroup_sock_ops
sk_skb/stream_parser sk_skb sk_skb_stream_parser
sk_skb/stream_verdict sk_skb sk_skb_stream_verdict
sk_skb/verdict sk_skb sk_skb_verdict
sk_skb sk_skb
sk_msg sk_msg sk_msg_verdict
lirc_mode2 lirc_mode2 lirc_mode2
flow_dissector flow_dissector flow_dissector
cgroup_skb/ingress cgroup_skb cgroup_inet_ingress
cgroup_skb/egress cgroup_skb cgroup_inet_egress
cgroup/skb cgroup_skb
cgroup/sock_create cgroup_sock cgroup_inet_sock_create
cgroup/sock_release cgroup_sock cgroup_inet_sock_release
cgroup/sock cgroup_sock cgroup_inet_sock_create
cgroup/post_bind4 cgroup_sock cgroup_inet4_post_bind
cgroup/post_bind6 cgroup_sock cgroup_inet6_post_bind
cgroup/bind4 cgroup_sock_addr cgroup_inet4_bind
cgroup/bind6 cgroup_sock_addr cgroup_inet6_bind
cgroup/connect4 cgroup_sock_addr cgroup_inet4_connect
cgroup/connect6 cgroup_sock_addr cgroup_inet6_connect
cgroup/connect_unix cgroup_sock_addr cgroup_unix_connect
cgroup/sendmsg4 cgroup_sock_addr cgroup_udp4_sendmsg
cgroup/sendmsg6 cgroup_sock_addr cgroup_udp6_sendmsg
cgroup/sendmsg_unix cgroup_sock_addr cgroup_unix_sendmsg
cgroup/recvmsg4 cgroup_sock_addr cgroup_udp4_recvmsg
cgroup/recvmsg6 cgroup_sock_addr cgroup_udp6_recvmsg
cgroup/recvmsg_unix cgroup_sock_addr cgroup_unix_recvmsg
cgroup/getpeername4 cgroup_sock_addr cgroup_inet4_getpeername
cgroup/getpeername6 cgroup_sock_addr cgroup_inet6_getpeername
cgroup/getpeername_unix cgroup_sock_addr cgroup_unix_getpeername
cgroup/getsockname4 cgroup_sock_addr cgroup_inet4_getsockname
cgroup/getsockname6 cgroup_sock_addr cgroup_inet6_getsockname
cgroup/getsockname_unix cgroup_sock_addr cgroup_unix_getsockname
cgroup/sysctl cgroup_sysctl cgroup_sysctl
cgroup/getsockopt cgroup_sockopt cgroup_getsockopt
cgroup/setsockopt cgroup_sockopt cgroup_setsockopt
cgroup/dev cgroup_device cgroup_device
struct_ops+ struct_ops
struct_ops.s+ struct_ops none s
sk_lookup sk_lookup sk_lookup
netfilter netfilter netfilter
"""
_FUNCTIONS = frozenset(("trace_fentry", "trace_fexit", "modify_return", "trace_fsession"))
"""Attach types of programs that attach to a function of the kernel, or of a program that user space chooses at load
time.
"""
_SLOT = re.compile(r"(?:0x)?[0-9a-fA-F]{1,8}/(?:0x)?[0-9a-fA-F]{1,8}")


class SectionName(NamedTuple):
    """The properties that a section's name implies: type, expected attach type ("none": none) and sleepable. Unknown
    ones are None.

    `manual` is True for a program that a loader skips unless it is requested (``?``).
    """

    type: str | None
    expected_attach_type: str | None
    attachment: Attachment | None
    sleepable: bool | None
    manual: bool


class _Definition(NamedTuple):
    name: str
    extended: bool
    type: str
    attach: str
    sleepable: bool


def _parse() -> tuple[_Definition, ...]:
    rows = []
    for line in _DEFINITIONS.split("\n"):
        if words := line.split():
            name, kind, attach, sleeps = (*words, *("none", "")[len(words) - 2 :])[:4]
            rows.append(_Definition(name.rstrip("+"), name.endswith("+"), kind, attach, sleeps == "s"))
    return tuple(rows)


_ROWS = _parse()
_BY_NAME = {row.name: row for row in _ROWS}
_BY_LENGTH = tuple(sorted(_ROWS, key=lambda row: -len(row.name)))


def read_section_name(section: str) -> SectionName:
    """Returns the properties that a section's name implies. For a name that no loader knows, all are None."""
    manual = section.startswith("?")
    name = section[1:] if manual else section
    row = _find(name)
    if row is None:
        return SectionName(None, None, None, None, manual)
    what = name[len(row.name) :].lstrip("/")
    return SectionName(row.type, row.attach, _attachment(row, what), row.sleepable, manual)


def _find(name: str) -> _Definition | None:
    row = _BY_NAME.get(name)
    if row is not None:
        return row
    first, slash, _ = name.partition("/")
    if slash and (row := _BY_NAME.get(first)) is not None and row.extended:
        return row
    if _SLOT.fullmatch(name):
        return None
    # Names from before libbpf 1.0, such as "tc_entry", "classifier/0", "xdp_frags/x".
    return next((row for row in _BY_LENGTH if not row.extended and name.startswith(row.name)), None)


def _attachment(row: _Definition, what: str) -> Attachment | None:
    """Returns the attachment that the section's name gives.

    A traced function may belong to the kernel or to a program that user space chooses; `hook` and `function` are then
    both set.
    """
    if row.type == "ext":
        return Attachment(None, None, what or None)
    if not row.extended:
        return Attachment(row.name, None, None) if row.attach != _NONE else None
    if not what:
        return None
    return Attachment(what, None, what if row.attach in _FUNCTIONS else None)
