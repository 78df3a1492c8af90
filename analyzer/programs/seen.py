"""What the interpretation of a function needs to know of its program, and what it yields."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.programs.names import helper_number
from tailcall_audit.analyzer.programs.values import Value

__all__ = ["CHANGES_PACKET", "Layout", "Seen"]

_PACKET_CHANGERS = (
    "skb_store_bytes l3_csum_replace l4_csum_replace clone_redirect skb_vlan_push skb_vlan_pop skb_change_proto "
    "skb_change_head skb_change_tail skb_pull_data xdp_adjust_head xdp_adjust_meta xdp_adjust_tail skb_adjust_room "
    "msg_pull_data msg_push_data msg_pop_data lwt_push_encap lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action "
    "store_hdr_opt"
)
CHANGES_PACKET = frozenset(filter(None, map(helper_number, _PACKET_CHANGERS.split())))
"""The helpers that invalidate all packet pointers (bpf_helper_changes_pkt_data() in net/core/filter.c)."""


class Layout(NamedTuple):
    """The context offsets, in bytes, from which a program reads a pointer to the start of its packet. None: any pointer
    read from the context may be one.
    """

    packet: frozenset[int] | None


class Seen(NamedTuple):
    """The result of interpreting a function, by instruction.

    `tail_calls` has the map and the key. `arguments` are the values of R1 to R5 at calls of subprograms. `addresses`
    are the functions that are passed to a call. `undecided` are the blocks that end in a jump on a value that is
    constant at load time, `visited` the blocks that constants in the code do not rule out. `stack` is the deepest
    offset in bytes, None if an offset varies. `crossed` are the calls across which a packet pointer is kept and then
    used; None if a pointer of unknown origin is used after a call. `returned` is the value of R0 at all exits.
    `complete` is False if the function was too large to be interpreted fully.
    """

    tail_calls: dict[int, tuple[Value, Value]]
    arguments: dict[int, tuple[Value, ...]]
    addresses: dict[int, tuple[int, ...]]
    undecided: frozenset[int]
    visited: frozenset[int]
    stack: int | None
    crossed: frozenset[int] | None
    returned: Value
    complete: bool
