"""Stubs for the functions that all kernel code calls: locks, messages, memory. None of them replaces code that is
judged.

memset(), memcpy() and memmove() have stubs too: a booted kernel picks a version for its processor, and the emulator
does not have the newest instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tailcall_audit.analyzer.emulator.calls import Call, Stub
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why

__all__ = ["STANDARD", "TRACER_ENTRIES", "allocator", "copier", "install", "returns", "tracer_entries"]

_LARGEST = 16 << 20
"""The largest allocation, in bytes. No function that is run here asks for as much."""


def returns(value: int) -> Stub:
    """Returns a stub that returns a value and does nothing."""
    return lambda _: value


def allocator(argument: int | None, element: int | None = None) -> Stub:
    """Returns a stub that allocates zeroed memory. The size is in `argument`, multiplied by the number in `element` if
    that is given; it is a page without `argument`.
    """

    def stub(call: Call) -> int:
        if argument is None:
            return call.machine.allocate(1)
        size = call.argument(argument) & 0xFFFF_FFFF
        if element is not None:
            size *= call.argument(element) & 0xFFFF_FFFF
        return call.machine.allocate(size) if size <= _LARGEST else 0

    return stub


def _keep_flags(call: Call) -> int:
    """Returns saved interrupt flags, as `_raw_spin_lock_irqsave()` does."""
    del call
    return 0x200


def _set(call: Call) -> int:
    """Does memset(address, byte, length)."""
    length = call.argument(2)
    if length > _LARGEST:
        raise EmulationError(Why.MEMORY, f"{call.name}() of {length} bytes")
    call.machine.write(call.argument(0), bytes([call.argument(1) & 255]) * length)
    return call.argument(0)


def copier(largest: int, why: Why) -> Stub:
    """Returns a stub for memcpy(target, source, length) and its like. A longer copy than `largest` bytes is an error."""

    def stub(call: Call) -> int:
        length = call.argument(2)
        if length > largest:
            raise EmulationError(why, f"{call.name}() of {length} bytes")
        call.machine.write(call.argument(0), call.machine.read(call.argument(1), length))
        return call.argument(0)

    return stub


_NOTHING = """
_raw_spin_lock _raw_spin_unlock __raw_spin_lock _raw_spin_lock_irq _raw_spin_unlock_irq _raw_spin_lock_bh _raw_spin_unlock_bh
_raw_spin_unlock_irqrestore _raw_spin_lock_nested rt_spin_lock rt_spin_unlock migrate_disable migrate_enable
mutex_lock mutex_unlock mutex_lock_nested mutex_lock_killable mutex_lock_interruptible __mutex_init __rt_mutex_init rt_mutex_base_init
mutex_init_generic mutex_init_lockep mutex_rt_init_generic
down_read up_read down_write up_write __rcu_read_lock __rcu_read_unlock synchronize_rcu synchronize_rcu_tasks call_rcu
_printk printk _printk_deferred vprintk __warn_printk dump_stack __dynamic_pr_debug ___ratelimit
__cond_resched _cond_resched dynamic_cond_resched dynamic_might_resched __SCT__cond_resched __SCT__might_resched
__SCT__preempt_schedule __SCT__preempt_schedule_notrace preempt_schedule preempt_schedule_notrace __might_sleep __might_fault
kfree kvfree vfree kfree_sensitive kvfree_sensitive kmem_cache_free kvfree_call_rcu kasan_check_range __kasan_check_read
__kasan_check_write check_stack_object __check_object_size
set_memory_ro set_memory_rw set_memory_x set_memory_nx set_memory_rox flush_icache_range caches_clean_inval_pou
smp_text_poke_sync_each_cpu text_poke_sync perf_event_text_poke perf_event_bpf_event perf_event_ksymbol
"""
_STANDARD: dict[str, Stub] = {name: returns(0) for name in _NOTHING.split()}
_STANDARD |= dict.fromkeys(("_raw_spin_lock_irqsave",), _keep_flags)
_STANDARD |= dict.fromkeys(("memset", "__memset", "memset_orig"), _set)
_STANDARD |= dict.fromkeys(
    ("memcpy", "__memcpy", "memmove", "__memmove", "memcpy_orig", "memmove_orig"), copier(_LARGEST, Why.MEMORY)
)
_STANDARD |= dict.fromkeys(("mutex_trylock", "_raw_spin_trylock", "down_read_trylock"), returns(1))
_SIZE_FIRST = """
__kmalloc_track_caller __kmalloc_node_track_caller __kmalloc_node_track_caller_noprof __kmalloc_track_caller_noprof
__kmalloc __kmalloc_noprof __kmalloc_node __kmalloc_node_noprof __kmalloc_large_noprof __kmalloc_large_node_noprof kmalloc_large
kvmalloc_node kvmalloc_node_noprof __kvmalloc_node_noprof __kvmalloc_node vmalloc vzalloc vmalloc_noprof vzalloc_noprof __vmalloc
__vmalloc_noprof kmalloc_order kmalloc_order_trace pcpu_alloc pcpu_alloc_noprof __alloc_percpu __alloc_percpu_gfp module_alloc
"""
_SIZE_THIRD = """
kmalloc_trace kmalloc_trace_noprof __kmalloc_cache_noprof kmem_cache_alloc_trace
"""
_SIZE_UNKNOWN = """
kmem_cache_alloc kmem_cache_alloc_noprof kmem_cache_alloc_node kmem_cache_alloc_node_noprof kmem_cache_alloc_lru_noprof
get_zeroed_page get_zeroed_page_noprof
"""
_STANDARD |= {name: allocator(0) for name in _SIZE_FIRST.split()}
_STANDARD |= {name: allocator(2) for name in _SIZE_THIRD.split()}
_STANDARD |= {
    name: allocator(3) for name in ("__kmalloc_cache_node_noprof", "kmalloc_node_trace", "kmem_cache_alloc_node_trace")
}
_STANDARD |= {name: allocator(None) for name in _SIZE_UNKNOWN.split()}
STANDARD: Mapping[str, Stub] = _STANDARD
"""The stubs, by the name of the function."""
TRACER_ENTRIES = frozenset(("__fentry__", "_mcount", "ftrace_caller"))


def install(
    kernel: KernelImage, stubs: Mapping[str, Stub], see: Callable[[str], None] | None = None
) -> dict[int, tuple[str, Stub]]:
    """Returns the stubs by the addresses of their functions in this kernel. `see` is called with the name of each stub
    that is called.
    """
    kernel.learn(frozenset(stubs))
    found: dict[int, tuple[str, Stub]] = {}
    for name, stub in stubs.items():
        for address in kernel.all_of(name):
            found[address] = (name, stub if see is None else _seen(name, stub, see))
    return found


def tracer_entries(kernel: KernelImage) -> tuple[int, ...]:
    """Returns the addresses of the functions that every traced function calls first. They change no register."""
    kernel.learn(TRACER_ENTRIES)
    return tuple(address for name in TRACER_ENTRIES for address in kernel.all_of(name))


def _seen(name: str, stub: Stub, see: Callable[[str], None]) -> Stub:
    def answer(call: Call) -> int | None:
        see(name)
        return stub(call)

    return answer
