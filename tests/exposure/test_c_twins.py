"""C sources that meet a condition, and their twins, a word apart: built with clang, read from the object."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.programs.objects import read_object
from tests.programs.compiled import build

_CATALOG = shipped_catalog()
_HEAD = """\
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#define ARRAY(name, entries, context, ...) struct { \\
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, entries); __uint(key_size, 4); \\
	__array(values, int(context)); } name SEC(".maps") = { .values = { __VA_ARGS__ } }
char _license[] SEC("license") = "GPL";
int entry(struct __sk_buff *skb);
ARRAY(jmp, 3, struct __sk_buff *, [0] = &entry);
static __noinline int step(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jmp, 0);
	return 0;
}
"""
_PACKET = """
SEC("tc") int entry(struct __sk_buff *skb)
{
	char *data = (char *)(long)skb->data, *end = (char *)(long)skb->data_end;
	if (data + 1 > end)
		return 0;
	step(skb);
	return SEEN;
}
"""
_CONNECT = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
int other(struct bpf_sock_addr *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __uint(key_size, 4);
	__array(values, int(struct bpf_sock_addr *)); } jmp SEC(".maps") = { .values = { [0] = &other } };
SEC("cgroup/connect4") int entry(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &jmp, 0);
	return 1;
}
SEC("cgroup/connectVERSION") int other(struct bpf_sock_addr *ctx) { return 1; }
"""
_LOOP = """
static int each(unsigned int index, void *ctx)
{
	struct __sk_buff *skb = *(struct __sk_buff **)ctx;
	BODY
	return 0;
}
SEC("tc") int entry(struct __sk_buff *skb)
{
	struct __sk_buff *kept = skb;
	bpf_loop(2, each, &kept, 0);
	return 0;
}
"""
_LOCKED = """
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
SEC("tc") int entry(struct __sk_buff *skb)
{
	bpf_rcu_read_lock();
	FIRST;
	SECOND;
	return 0;
}
"""


_BRANCH = """
static __noinline int ask(struct __sk_buff *skb)
{
	int answer;
	BODY
	asm volatile("%0 = 0" : "=r"(answer));
	return answer;
}
SEC("tc") int entry(struct __sk_buff *skb)
{
	if (ask(skb))
		skb->mark = 1;
	return 0;
}
"""


class Source(NamedTuple):
    """A defect, a source with a word to fill in, and what meets the condition and what does not."""

    defect: str
    text: str
    met: tuple[tuple[str, str], ...]
    twin: tuple[tuple[str, str], ...]


_STACK = 'SEC("tc") int entry(struct __sk_buff *skb) { volatile KIND seen = 1; step(skb); return seen; }'
_INDEX = 'SEC("tc") int entry(struct __sk_buff *skb) { bpf_tail_call(skb, &jmp, KEY); return 0; }'
_TAIL_CALL = "bpf_tail_call(skb, &jmp, 0)"
_DIVIDED = """
static __noinline unsigned int ask(struct __sk_buff *skb) { return skb->len; }
SEC("tc") int entry(struct __sk_buff *skb)
{
	skb->mark = 1000 OPERATION (ask(skb) | 1);
	bpf_tail_call(skb, &jmp, 0);
	return 0;
}
"""
"""The verifier replaces a division by a register by several instructions: the tail call behind it moves."""
SOURCES = (
    Source("x86-count-offset", _HEAD + _STACK, (("KIND", "int"),), (("KIND", "long"),)),
    Source("tailcall-pkt-pointers", _HEAD + _PACKET, (("SEEN", "*data"),), (("SEEN", "0"),)),
    Source("tailcall-verifier-return-model", _HEAD + _BRANCH, (("BODY", f"{_TAIL_CALL};"),), (("BODY", ";"),)),
    Source("mixed-tailcall-subprog-null-deref", _HEAD + _DIVIDED, (("OPERATION", "/"),), (("OPERATION", "*"),)),
    Source("poke-desc-tnum-oob", _HEAD + _INDEX, (("KEY", "3"),), (("KEY", "2"),)),
    Source("tailcall-compat-expected-attach-type", _CONNECT, (("VERSION", "6"),), (("VERSION", "4"),)),
    Source("tailcall-direct-in-callback", _HEAD + _LOOP, (("BODY", f"{_TAIL_CALL};"),), (("BODY", "step(skb);"),)),
    Source("tailcall-via-callback-subprog", _HEAD + _LOOP, (("BODY", "step(skb);"),), (("BODY", f"{_TAIL_CALL};"),)),
    Source(
        "tailcall-locks-rcu-preempt",
        _HEAD + _LOCKED,
        (("FIRST", _TAIL_CALL), ("SECOND", "bpf_rcu_read_unlock()")),
        (("FIRST", "bpf_rcu_read_unlock()"), ("SECOND", _TAIL_CALL)),
    ),
)


def _state(source: Source, words: tuple[tuple[str, str], ...], folder: Path) -> State:
    text = source.text
    for word, value in words:
        text = text.replace(word, value)
    found = read_object(str(build(text, folder)))
    (item,) = expose(_CATALOG, found, closed=True, defects=_CATALOG.find(source.defect))
    return item.state


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.defect)
def test_a_source_meets_a_condition_and_its_twin_does_not(source: Source, tmp_path: Path) -> None:
    assert _state(source, source.met, tmp_path) is State.MET
    assert _state(source, source.twin, tmp_path) is State.NOT_MET


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.defect)
def test_what_is_met_names_a_line_of_the_source(source: Source, tmp_path: Path) -> None:
    text = source.text
    for word, value in source.met:
        text = text.replace(word, value)
    path = build(text, tmp_path)
    (item,) = expose(_CATALOG, read_object(str(path)), closed=True, defects=_CATALOG.find(source.defect))
    lines = [place.line for place in item.finding.where if place.line is not None]
    if source.defect == "tailcall-compat-expected-attach-type":
        assert not lines  # it is about programs, not about a line
    else:
        assert any(line.startswith(f"{path.with_suffix('.c')}:") for line in lines)
