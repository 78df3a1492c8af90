"""Objects as clang makes them: what a reader of them sees is what their source says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.programs.objects import read_object
from tailcall_audit.analyzer.programs.types import Attachment, Reach, Slot
from tests.programs.compiled import build

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);
  __array(values, int (struct __sk_buff *)); } jumps SEC(".maps");
const volatile int debug;
int calls;
__attribute__((noinline)) int sub(struct __sk_buff *skb) {
  char text[20];
  __builtin_memset((void *)text, 1, 20);
  asm volatile("" :: "r"(text) : "memory");
  bpf_tail_call_static(skb, &jumps, 0);
  calls++;
  return text[3];
}
static __attribute__((noinline)) long each(__u32 index, void *context) { calls += index; return 0; }
SEC("tc") int entry(struct __sk_buff *skb) {
  void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
  if (data + 10 > end) return 0;
  if (debug) bpf_tail_call(skb, &jumps, skb->len);
  int found = sub(skb);
  bpf_loop(3, each, 0, 0);
  return found + *(char *)data;
}
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);
  __array(values, int (struct __sk_buff *)); } filled SEC(".maps") = { .values = { [1] = (void *)&entry } };
SEC("tc") int second(struct __sk_buff *skb) { bpf_tail_call_static(skb, &filled, 1); return 0; }
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize(("target", "big"), [("bpfel", False), ("bpfeb", True)])
def test_an_object_says_what_its_source_says(tmp_path: Path, target: str, big: bool) -> None:
    (found,) = read_object(str(build(SOURCE, tmp_path, target=target)))
    assert (found.big_endian, found.notes) == (big, ())
    entry, second = found.programs
    assert (entry.key, entry.section, entry.type, entry.license_gpl) == ("entry", "tc", "sched_cls", True)
    assert [function.name for function in entry.functions] == ["entry", "sub", "each"]
    main, sub, each = entry.functions
    assert (main.is_global, sub.is_global, each.is_global) == (True, True, False)
    assert [item.callee for item in main.calls] == ["sub"]
    assert [(item.callee, item.helper) for item in main.callbacks] == [("each", 181)]
    assert [(item.map, item.key, item.reach) for item in main.tail_calls] == [("jumps", None, Reach.MAYBE_DEAD)]
    assert [(item.map, item.key, item.reach) for item in sub.tail_calls] == [("jumps", 0, Reach.LIVE)]
    assert sub.stack == 24  # clang aligns 20 bytes
    assert main.packet_across_calls is not None
    assert main.calls[0].instruction in main.packet_across_calls
    assert [(item.map, item.key) for item in second.functions[0].tail_calls] == [("filled", 1)]
    filled = found.map("filled")
    assert filled is not None
    assert (filled.type, filled.max_entries, filled.slots) == ("prog_array", 2, (Slot(1, "entry"),))
    line = entry.line_of(main.calls[0].instruction)
    assert line is not None
    assert (Path(line.file).name, line.text) == ("prog.bpf.c", "int found = sub(skb);")
    assert SOURCE.splitlines()[line.line - 1].strip() == line.text


STRUCT_OPS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct tcp_congestion_ops { void (*init)(void *); void (*release)(void *); char name[16]; } __attribute__((preserve_access_index));
SEC("struct_ops/other") void start(void *sk) { bpf_ktime_get_ns(); }
SEC("struct_ops") void stop(void *sk) { bpf_ktime_get_ns(); }
SEC(".struct_ops") struct tcp_congestion_ops mine = { .init = (void *)start, .release = (void *)stop, .name = "mine" };
char _license[] SEC("license") = "GPL";
"""


def test_a_program_of_a_struct_ops_names_the_member_that_it_implements(tmp_path: Path) -> None:
    (found,) = read_object(str(build(STRUCT_OPS, tmp_path)))
    assert {item.name: (item.type, item.attachments) for item in found.programs} == {
        "start": ("struct_ops", (Attachment("tcp_congestion_ops.init", None, None),)),
        "stop": ("struct_ops", (Attachment("tcp_congestion_ops.release", None, None),)),
    }
