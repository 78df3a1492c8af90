"""What the machine code of a kernel's functions shows, on x86-64: fixes that change what the JIT emits, or one function's body.

Each signature names the places that a commit changes and says what it saw of each: there, lacking, odd or not seen. A function that is
not in the symbols, does not decode whole, or has a shape that was not seen gives no answer; what is proven by all places together is in
`claims`. Operands are decoded and jumps are followed; offsets of structure members come from the kernel's BTF.

All were seen on Debian's gcc builds of 5.10.218, 6.1.170, 6.1.192, 6.12.94, 6.12.117, 6.16.12, 6.18.5, 7.2.13 and 7.3.4, and on two gcc
builds of a small configuration of 5.10.218 and 6.1.170, each with one fix taken out. Mutants of these kernels, in which a place or a jump
is changed, are held against what their guests show: ``python -m bench.mutants``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import Insn, decode
from tailcall_audit.analyzer.readers.code import jit, owner_check, prog_array, trampoline
from tailcall_audit.analyzer.readers.code.claims import Claim, Finding
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["FUNCTIONS", "SIGNATURES", "Claim", "CodeSignature", "Finding", "findings"]


class CodeSignature(NamedTuple):
    """The commits that a signature can show, the functions that it reads, and how: from those that were found, decoded where they decode
    whole, and the kernel's BTF, where it has any."""

    commits: tuple[str, ...]
    functions: tuple[str, ...]
    find: Callable[[Mapping[str, Function], Mapping[str, list[Insn]], Btf | None], Iterator[Finding]]


SIGNATURES = (
    CodeSignature(("116e04ba1459",), jit.FUNCTIONS, jit.hierarchy),
    CodeSignature(("2b5dcb31a19a",), trampoline.FUNCTIONS, trampoline.trampoline),
    CodeSignature(("ff672c67ee76",), jit.FUNCTIONS, jit.count_offset),
    CodeSignature(
        ("1c123c567fb1", "4a9c7bbe2ed4", "f7866c358733", "fdad456cbcca", "c04992612ed4"),
        owner_check.FUNCTIONS,
        owner_check.owner_check,
    ),
    CodeSignature(("d6083f040d5d",), prog_array.FUNCTIONS, prog_array.extended_programs),
)
FUNCTIONS = tuple(dict.fromkeys(name for signature in SIGNATURES for name in signature.functions))
"""The functions that are looked at."""


def findings(
    functions: Mapping[str, Function], btf: Btf | None, broken: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Everything that the code shows. `broken` hears why a signature gives no answer, where that is for broken BTF."""
    decoded = {name: insns for name, function in functions.items() if (insns := decode(function)) is not None}
    for signature in SIGNATURES:
        try:
            # All of a signature or nothing: what it says last may qualify what it says first.
            found = list(signature.find(functions, decoded, btf))
        except BtfError as error:
            broken(f"its BTF is broken: {error}")
            found = list(signature.find(functions, decoded, None))
        yield from found
