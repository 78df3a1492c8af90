"""What a guest sends: frames, and what its kernel prints between them."""

from __future__ import annotations

from hypothesis import strategies as st

from tailcall_audit.probes.guest.frames import frame
from tests.strategies.case import Case
from tests.strategies.mutate import mutated

__all__ = ["console_cases"]

_FIELDS = st.sampled_from(
    (
        "hello",
        "start",
        "result",
        "end",
        "error",
        "freplace-loop",
        "present",
        "absent",
        "",
        "1.5",
        "x" * 300,
        "\x1b[2J",
        "\x1f",
    )
)
_FRAMES = st.builds(frame, st.integers(0, 20), st.lists(_FIELDS, max_size=6))
_NOISE = st.sampled_from(
    (
        b"[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000\n",
        b"[    1.000000] RIP: 0010:bpf_check+0x1/0x2\n",
        b"[    1.000000]  ? bpf_prog_attach+0x10/0x20\n",
        b"Kernel panic - not syncing: x\n",
        b"\n" * 50,
        b" " * 300 + b"\n",
        b"BUG: x",
    )
)


def console_cases() -> st.SearchStrategy[Case]:
    """The output of a boot."""
    whole = st.lists(st.one_of(_FRAMES, _NOISE), max_size=8).map(b"".join)
    return mutated(whole, (b"~TCA ", b"BUG: ", b"+0x1/0x2")).map(lambda data: {"console": data})
