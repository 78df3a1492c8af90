"""Converts between numbers and names of the kernel's program, map, attach and link types, and of helpers.

The names are those of include/uapi/linux/bpf.h of Linux 7.3, in lower case and without their prefix. A larger number,
from a later kernel, is its own name.
"""

from __future__ import annotations

__all__ = [
    "attach_number",
    "attach_type",
    "helper_name",
    "helper_number",
    "link_number",
    "link_type",
    "map_number",
    "map_type",
    "program_number",
    "program_type",
]


def _words(text: str) -> list[str]:
    return text.split()


_PROGRAMS = _words(
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in "
    "lwt_out lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local "
    "lirc_mode2 sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing "
    "struct_ops ext lsm sk_lookup syscall netfilter "
)
_MAPS = _words(
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash "
    "lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage "
    "reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf "
    "inode_storage task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array rhash "
)
_ATTACHMENTS = _words(
    "cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_sock_ops sk_skb_stream_parser "
    "sk_skb_stream_verdict cgroup_device sk_msg_verdict cgroup_inet4_bind cgroup_inet6_bind "
    "cgroup_inet4_connect cgroup_inet6_connect cgroup_inet4_post_bind cgroup_inet6_post_bind "
    "cgroup_udp4_sendmsg cgroup_udp6_sendmsg lirc_mode2 flow_dissector cgroup_sysctl cgroup_udp4_recvmsg "
    "cgroup_udp6_recvmsg cgroup_getsockopt cgroup_setsockopt trace_raw_tp trace_fentry trace_fexit "
    "modify_return lsm_mac trace_iter cgroup_inet4_getpeername cgroup_inet6_getpeername "
    "cgroup_inet4_getsockname cgroup_inet6_getsockname xdp_devmap cgroup_inet_sock_release xdp_cpumap "
    "sk_lookup xdp sk_skb_verdict sk_reuseport_select sk_reuseport_select_or_migrate perf_event "
    "trace_kprobe_multi lsm_cgroup struct_ops netfilter tcx_ingress tcx_egress trace_uprobe_multi "
    "cgroup_unix_connect cgroup_unix_sendmsg cgroup_unix_recvmsg cgroup_unix_getpeername "
    "cgroup_unix_getsockname netkit_primary netkit_peer trace_kprobe_session trace_uprobe_session "
    "trace_fsession trace_fentry_multi trace_fexit_multi trace_fsession_multi "
)
_LINKS = _words(
    "unspec raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter tcx "
    "uprobe_multi netkit sockmap tracing_multi "
)
_HELPERS = _words(
    "unspec map_lookup_elem map_update_elem map_delete_elem probe_read ktime_get_ns trace_printk "
    "get_prandom_u32 get_smp_processor_id skb_store_bytes l3_csum_replace l4_csum_replace tail_call "
    "clone_redirect get_current_pid_tgid get_current_uid_gid get_current_comm get_cgroup_classid skb_vlan_push "
    "skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key perf_event_read redirect get_route_realm "
    "perf_event_output skb_load_bytes get_stackid csum_diff skb_get_tunnel_opt skb_set_tunnel_opt "
    "skb_change_proto skb_change_type skb_under_cgroup get_hash_recalc get_current_task probe_write_user "
    "current_task_under_cgroup skb_change_tail skb_pull_data csum_update set_hash_invalid get_numa_node_id "
    "skb_change_head xdp_adjust_head probe_read_str get_socket_cookie get_socket_uid set_hash setsockopt "
    "skb_adjust_room redirect_map sk_redirect_map sock_map_update xdp_adjust_meta perf_event_read_value "
    "perf_prog_read_value getsockopt override_return sock_ops_cb_flags_set msg_redirect_map msg_apply_bytes "
    "msg_cork_bytes msg_pull_data bind xdp_adjust_tail skb_get_xfrm_state get_stack skb_load_bytes_relative "
    "fib_lookup sock_hash_update msg_redirect_hash sk_redirect_hash lwt_push_encap lwt_seg6_store_bytes "
    "lwt_seg6_adjust_srh lwt_seg6_action rc_repeat rc_keydown skb_cgroup_id get_current_cgroup_id "
    "get_local_storage sk_select_reuseport skb_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release "
    "map_push_elem map_pop_elem map_peek_elem msg_push_data msg_pop_data rc_pointer_rel spin_lock spin_unlock "
    "sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock skc_lookup_tcp tcp_check_syncookie sysctl_get_name "
    "sysctl_get_current_value sysctl_get_new_value sysctl_set_new_value strtol strtoul sk_storage_get "
    "sk_storage_delete send_signal tcp_gen_syncookie skb_output probe_read_user probe_read_kernel "
    "probe_read_user_str probe_read_kernel_str tcp_send_ack send_signal_thread jiffies64 read_branch_records "
    "get_ns_current_pid_tgid xdp_output get_netns_cookie get_current_ancestor_cgroup_id sk_assign "
    "ktime_get_boot_ns seq_printf seq_write sk_cgroup_id sk_ancestor_cgroup_id ringbuf_output ringbuf_reserve "
    "ringbuf_submit ringbuf_discard ringbuf_query csum_level skc_to_tcp6_sock skc_to_tcp_sock "
    "skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock get_task_stack load_hdr_opt "
    "store_hdr_opt reserve_hdr_opt inode_storage_get inode_storage_delete d_path copy_from_user snprintf_btf "
    "seq_printf_btf skb_cgroup_classid redirect_neigh per_cpu_ptr this_cpu_ptr redirect_peer task_storage_get "
    "task_storage_delete get_current_task_btf bprm_opts_set ktime_get_coarse_ns ima_inode_hash sock_from_file "
    "check_mtu for_each_map_elem snprintf sys_bpf btf_find_by_name_kind sys_close timer_init "
    "timer_set_callback timer_start timer_cancel get_func_ip get_attach_cookie task_pt_regs "
    "get_branch_snapshot trace_vprintk skc_to_unix_sock kallsyms_lookup_name find_vma loop strncmp "
    "get_func_arg get_func_ret get_func_arg_cnt get_retval set_retval xdp_get_buff_len xdp_load_bytes "
    "xdp_store_bytes copy_from_user_task skb_set_tstamp ima_file_hash kptr_xchg map_lookup_percpu_elem "
    "skc_to_mptcp_sock dynptr_from_mem ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr "
    "dynptr_read dynptr_write dynptr_data tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 "
    "tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6 ktime_get_tai_ns user_ringbuf_drain "
    "cgrp_storage_get cgrp_storage_delete "
)
_NUMBERS = {name: number for number, name in enumerate(_HELPERS)}


def _named(names: list[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"type {number}"


def program_type(number: int) -> str:
    """Returns the name of a program type (enum bpf_prog_type): ``sched_cls``."""
    return _named(_PROGRAMS, number)


def map_type(number: int) -> str:
    """Returns the name of a map type (enum bpf_map_type): ``prog_array``."""
    return _named(_MAPS, number)


def attach_type(number: int) -> str:
    """Returns the name of an attach type (enum bpf_attach_type): ``trace_fentry``."""
    return _named(_ATTACHMENTS, number)


def link_type(number: int) -> str:
    """Returns the name of a link type (enum bpf_link_type): ``tracing``."""
    return _named(_LINKS, number)


def program_number(name: str) -> int:
    """Returns the number of a program type, 0 (unspec) for an unknown name."""
    return _number(_PROGRAMS, name)


def map_number(name: str) -> int:
    """Returns the number of a map type, 0 (unspec) for an unknown name."""
    return _number(_MAPS, name)


def attach_number(name: str) -> int | None:
    """Returns the number of an attach type by the kernel's name or bpftool's, None for an unknown name.

    bpftool shortens names: ``fentry`` is ``trace_fentry``, ``connect4`` is ``cgroup_inet4_connect``.
    """
    kernels = _BPFTOOL.get(name, name)
    return _ATTACHMENTS.index(kernels) if kernels in _ATTACHMENTS else None


def link_number(name: str) -> int:
    """Returns the number of a link type, 0 (unspec) for an unknown name."""
    return _number(_LINKS, name)


def _number(names: list[str], name: str) -> int:
    if name in names:
        return names.index(name)
    numbered = name.removeprefix("type ")
    return int(numbered) if numbered.isascii() and numbered.isdigit() and len(numbered) < 6 else 0


_SHORT = {
    "ingress": "cgroup_inet_ingress", "egress": "cgroup_inet_egress", "sock_create": "cgroup_inet_sock_create",
    "sock_release": "cgroup_inet_sock_release", "sock_ops": "cgroup_sock_ops", "device": "cgroup_device",
    "bind4": "cgroup_inet4_bind", "bind6": "cgroup_inet6_bind", "connect4": "cgroup_inet4_connect",
    "connect6": "cgroup_inet6_connect", "connect_unix": "cgroup_unix_connect", "post_bind4": "cgroup_inet4_post_bind",
    "post_bind6": "cgroup_inet6_post_bind", "getpeername4": "cgroup_inet4_getpeername",
    "getpeername6": "cgroup_inet6_getpeername", "getpeername_unix": "cgroup_unix_getpeername",
    "getsockname4": "cgroup_inet4_getsockname", "getsockname6": "cgroup_inet6_getsockname",
    "getsockname_unix": "cgroup_unix_getsockname", "sendmsg4": "cgroup_udp4_sendmsg", "sendmsg6": "cgroup_udp6_sendmsg",
    "sendmsg_unix": "cgroup_unix_sendmsg", "recvmsg4": "cgroup_udp4_recvmsg", "recvmsg6": "cgroup_udp6_recvmsg",
    "recvmsg_unix": "cgroup_unix_recvmsg", "sysctl": "cgroup_sysctl", "getsockopt": "cgroup_getsockopt",
    "setsockopt": "cgroup_setsockopt",
}  # fmt: skip
_TRACE = {name.removeprefix("trace_"): name for name in _ATTACHMENTS if name.startswith("trace_")}
_BPFTOOL = {**_TRACE, **_SHORT, "mod_ret": "modify_return"}
"""bpftool's own names of attach types (bpf_attach_type_input_str() in libbpf, attach_type_name in bpftool's
common.c).
"""


def helper_name(number: int) -> str | None:
    """Returns the name of a helper (enum bpf_func_id) without ``bpf_``, such as ``tail_call``; None for an unknown
    number.
    """
    return _HELPERS[number] if 0 < number < len(_HELPERS) else None


def helper_number(name: str) -> int | None:
    """Returns the number of a helper by its name without ``bpf_``; None for an unknown name."""
    return _NUMBERS.get(name)
