"""BTF: small sets of types that refer to each other, and to what is not there."""

from __future__ import annotations

from hypothesis import strategies as st

from tailcall_audit.probes.kernel import btf_format as btf
from tailcall_audit.probes.kernel.btf_writer import Writer
from tests.strategies.case import Case
from tests.strategies.mutate import mutated

__all__ = ["TYPES", "btf_cases"]

_NAMES = st.sampled_from(("bpf_prog_aux", "bpf_map", "ops", "owner", "bpf_check", "is_extended", "", "\x1b[2J", "int"))


@st.composite
def _types(draw: st.DrawFn) -> bytes:
    writer = Writer()
    count = draw(st.integers(1, 8))
    reference = st.integers(0, count + 2)
    for _ in range(count):
        kind = draw(st.sampled_from(("int", "pointer", "const", "struct", "enum", "function", "prototype")))
        if kind == "int":
            writer.integer(draw(_NAMES), draw(st.sampled_from((1, 2, 4, 8))))
        elif kind == "pointer":
            writer.pointer(draw(reference))
        elif kind == "const":
            writer.const(draw(reference))
        elif kind == "struct":
            members = draw(st.lists(st.tuples(_NAMES, reference, st.integers(0, 1 << 20)), max_size=5))
            writer.struct(draw(_NAMES), draw(st.integers(0, 1 << 31)), members)
        elif kind == "enum":
            writer.enum(draw(_NAMES), {"A": 1, "B": -2})
        elif kind == "function":
            writer.function(draw(_NAMES), draw(reference), btf.GLOBAL)
        else:
            writer.prototype(draw(reference), draw(st.lists(st.tuples(_NAMES, reference), max_size=3)))
    return writer.encode()


TYPES = _types()


def btf_cases() -> st.SearchStrategy[Case]:
    """The type data of a kernel."""
    return mutated(TYPES, (b"\x9f\xeb\x01\0", b"\0" * 12)).map(lambda data: {"vmlinux": data})
