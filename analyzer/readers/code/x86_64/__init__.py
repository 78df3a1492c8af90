"""x86-64: what gcc and clang made of the functions that commits change, and what the JIT of arch/x86/net/bpf_jit_comp.c
emits.

All were seen on Debian's gcc builds of 5.10.218, 6.1.170, 6.1.192, 6.12.94, 6.12.117, 6.16.12, 6.18.5, 7.2.13 and
7.3.4, and on two gcc builds of a small configuration of 5.10.218 and 6.1.170, each with one fix taken out. Mutants of
these kernels, in which a place or a jump is changed, are held against what their guests show: ``python -m
bench.mutants``.
"""

from __future__ import annotations

from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import decode
from tailcall_audit.analyzer.readers.code.isa import CodeIsa, CodeMatcher
from tailcall_audit.analyzer.readers.code.x86_64 import jit, owner_check, prog_array, trampoline

__all__ = ["ISA"]

_MATCHERS = {
    "jit-hierarchy": CodeMatcher(("count-behind-pointer",), jit.FUNCTIONS, jit.hierarchy),
    "trampoline": CodeMatcher(("count-through-trampoline",), trampoline.FUNCTIONS, trampoline.trampoline),
    "jit-count-offset": CodeMatcher(("rounded-count-offset",), jit.FUNCTIONS, jit.count_offset),
    "owner-check": CodeMatcher(
        ("target-type", "extensions-only", "target-null-check", "saved-target-type", "open-coded-target-type"),
        owner_check.FUNCTIONS,
        owner_check.owner_check,
    ),
    "prog-array": CodeMatcher(("extended-refused",), prog_array.FUNCTIONS, prog_array.extended_programs),
}
ISA = CodeIsa("x86-64", decode, _MATCHERS)
