"""What the machine code of a kernel's functions shows, on x86-64: fixes that change what the JIT emits, or one function's body.

Each signature says on which builds it was seen, answers present, absent or nothing, and never guesses: a function that is not there,
does not decode whole, or has a shape that was not seen gives no answer. Operands are decoded; where a structure's member stands, its
place comes from the kernel's BTF.

All were seen on Debian's gcc builds of 5.10.218, 6.1.170, 6.1.192, 6.12.94, 6.12.117, 6.19.6, 7.0.4, 7.1.3, 7.2.13 and 7.3.4, and on two
gcc builds of a small configuration of 5.10.218 and 6.1.170, each with one fix taken out; and on three builds of that configuration of
6.1.192 by clang 14: plain, with ThinLTO, and with the fixes of pitfalls 2, 3 and 5 taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import decode
from tailcall_audit.analyzer.readers.code import jit, owner_check, prog_array, trampoline
from tailcall_audit.analyzer.readers.code.claims import Claim, Finding
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["FUNCTIONS", "Claim", "Finding", "findings"]

FUNCTIONS = tuple(dict.fromkeys((*jit.FUNCTIONS, *trampoline.FUNCTIONS, *owner_check.FUNCTIONS, *prog_array.FUNCTIONS)))
"""The functions that are looked at."""


def findings(
    functions: Mapping[str, Function], btf: Btf | None, broken: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Everything that the code shows. `broken` hears why a signature gives no answer, where that is for broken BTF."""
    decoded = {name: insns for name, function in functions.items() if (insns := decode(function)) is not None}
    yield from jit.hierarchy(functions, decoded)
    yield from trampoline.trampoline(functions, decoded, btf)
    if btf is not None:
        yield from jit.count_offset(functions, decoded, btf)
        yield from owner_check.owner_check(functions, decoded, btf)
        yield from prog_array.extended_programs(functions, decoded, btf)
