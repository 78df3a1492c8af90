"""The console of a guest that ended, and of one that means harm."""

from __future__ import annotations

import pytest

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.console import oops, why_not
from tailcall_audit.probes.probe import COULD_NOT_RUN, PRESENT

PANIC = next(probe for probe in PROBES if probe.slug == "freplace-attached-panic")


def test_the_panic_of_pitfall_5_is_seen_in_its_call_trace() -> None:
    console = (
        "BUG: kernel NULL pointer dereference, address: 0000000000000004\n[    1.0] RIP: 0010:unrelated+0x1c/0x90\n"
        "[    1.0]  ? bpf_prog_map_compatible+0x1c/0x90\n"
    )
    assert oops(PANIC, console, None).state == PRESENT
    assert oops(PANIC, console.replace("bpf_prog_map_compatible", "other"), None).state == COULD_NOT_RUN


@pytest.mark.parametrize(
    "filler",
    ["\n", " ", "\t", " \n", "[ 1.0] ", "[" * 3, "  ? ", "a" * 50, "  name+0x", "  name+0x1/0x", "\r", "\x1b[2J"],
)
def test_a_flood_is_read_in_time_that_grows_with_it(filler: str) -> None:
    """4 MiB is all that is kept of a console. A pattern that backtracks over it would need hours: this test would not
    end.
    """
    console = "BUG: x\n" + filler * ((4 << 20) // len(filler))
    assert oops(PANIC, console, 3.0).state == COULD_NOT_RUN
    assert why_not(console, "", 3.0)
