"""What is loaded in a guest is read there as what was loaded."""

from __future__ import annotations

import os

import pytest

from tailcall_audit.analyzer.programs.host import programs_of
from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet, Reach, Slot
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.assembler import Program as Assembly
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.loaded import read_kernel
from tests.mutants import IN_6_1, IN_6_12, IN_7_3, debian_image
from tests.programs.guest import in_guest, loaded_in


def datapath() -> object:
    """Loads a program that tail-calls in a subprogram, one that replaces that, and one that traces it; all of
    it runs in a guest.
    """
    from tailcall_audit.probes.kernel.bpf import EXT, FENTRY, SCHED_CLS, TRACING, function_number

    kernel = Bpf()
    array, counters = kernel.prog_array(4), kernel.array()
    entry = Assembly().function("entry_of_a_long_name").mov(6, 1).store_imm(8, 10, -16, 7)
    entry.mov(1, 6).call("sub").mov(1, 6).map_value(7, counters, 8).load(4, 3, 7, 0)
    entry.map_fd(2, array).mov(1, 6).helper(HELPER_TAIL_CALL).helper(5).set(0, 0).exit()
    entry.function("sub").mov(6, 1).store_imm(4, 10, -12, 1).set(3, 2).mov(1, 6).map_fd(2, array)
    entry.helper(HELPER_TAIL_CALL).set(0, 0).exit()
    functions = [Function("entry_of_a_long_name", True), Function("sub", True)]
    main = kernel.load(SCHED_CLS, entry, functions=functions, name="entry_of_a_lo")
    plain = kernel.load(SCHED_CLS, Assembly().function("plain").set(0, 1).exit(), name="plain")
    # The main program itself is not put in: since 6.12 what is replaced cannot be tail-called.
    kernel.put(array, 2, plain)
    kernel.put(array, 3, plain)
    sub = (main, function_number(1))
    other = Assembly().function("other").set(0, 3).exit()
    extension = kernel.load(
        EXT, other, functions=[Function("other", True)], context="__sk_buff", target=sub, name="other"
    )
    kernel.attach(extension)
    traced = Assembly().function("traced").set(0, 0).exit()
    whole = (main, function_number(0))
    tracer = kernel.load(
        TRACING,
        traced,
        functions=[Function("traced", True)],
        context="ctx",
        target=whole,
        attach_type=FENTRY,
        name="traced",
    )
    kernel.attach(tracer, FENTRY)
    return read_kernel()


@pytest.fixture(scope="module", params=[IN_6_1, IN_6_12, IN_7_3])
def host(request: pytest.FixtureRequest) -> ProgramSet:
    return programs_of(loaded_in(debian_image(request.param), datapath), "the guest")


def named(host: ProgramSet, name: str) -> Program:
    (found,) = [item for item in host.programs if item.name == name]
    return found


def test_programs_have_their_whole_names_types_and_functions(host: ProgramSet) -> None:
    entry = named(host, "entry_of_a_long_name")
    assert (entry.type, entry.jited, entry.license_gpl) == ("sched_cls", True, True)
    assert [item.name for item in entry.functions] == ["entry_of_a_long_name", "sub"]
    assert [item.stack for item in entry.functions] == [16, 12]
    assert [item.is_global for item in entry.functions] == [True, True]
    assert entry.key.partition("#")[0] == "entry_of_a_long_name"
    assert host.notes == ()


def test_calls_and_tail_calls_are_seen_in_rewritten_instructions(host: ProgramSet) -> None:
    main, sub = named(host, "entry_of_a_long_name").functions
    assert [(item.callee, item.reach) for item in main.calls] == [("sub", Reach.LIVE)]
    (array,) = [item for item in host.maps if item.type == "prog_array"]
    assert [(item.map, item.key) for item in main.tail_calls] == [(array.name, None)]
    assert [(item.map, item.key) for item in sub.tail_calls] == [(array.name, 2)]
    assert 5 in [item.helper for item in main.helpers]  # bpf_ktime_get_ns()


def test_the_slots_of_a_prog_array_are_those_of_the_moment(host: ProgramSet) -> None:
    (array,) = [item for item in host.maps if item.type == "prog_array"]
    key = named(host, "plain").key
    assert (array.max_entries, array.slots_are_all) == (4, True)
    assert array.slots == (Slot(2, key), Slot(3, key))


def test_what_replaces_and_traces_names_its_target(host: ProgramSet) -> None:
    entry = named(host, "entry_of_a_long_name")
    other, traced = named(host, "other"), named(host, "traced")
    assert (other.type, traced.type, traced.expected_attach_type) == ("ext", "tracing", "trace_fentry")
    (replaced,), (watched,) = other.attachments, traced.attachments
    assert replaced._replace(prototype=None) == Attachment(None, entry.key, "sub")
    assert watched._replace(prototype=None) == Attachment(None, entry.key, "entry_of_a_long_name")
    # Both functions have the one prototype of the program's BTF.
    assert replaced.prototype == watched.prototype is not None


def without_privileges() -> object:
    """Reads as a user who owns nothing."""
    from tailcall_audit.probes.kernel.bpf import BpfError
    from tailcall_audit.probes.kernel.loaded import why_refused

    os.setresuid(65534, 65534, 65534)
    try:
        read_kernel()
    except BpfError as error:
        return why_refused(error)
    return "it was read"


def test_the_missing_privilege_is_named() -> None:
    assert in_guest(debian_image(IN_6_1), without_privileges) == (
        "CAP_SYS_ADMIN is missing: run it as root (CAP_BPF and CAP_PERFMON alone name no ids)"
    )


def while_programs_come_and_go() -> object:
    """Reads again and again while another process loads programs and lets go of them."""
    from tailcall_audit.probes.kernel.bpf import SOCKET_FILTER

    child = os.fork()
    if not child:
        while True:
            with Bpf() as kernel:
                for number in range(20):
                    kernel.load(SOCKET_FILTER, Assembly().set(0, number).exit(), name="fleeting")
                    kernel.prog_array()
    found = [read_kernel() for _ in range(40)]
    os.kill(child, 9)
    counts = {len(one.programs) for one in found}
    names = {item.name for one in found for item in one.programs}
    return sorted(names), len(counts) > 1, [note for one in found for note in one.notes]


def test_programs_come_and_go_while_they_are_read() -> None:
    names, changed, notes = ["fleeting"], True, list[str]()
    assert in_guest(debian_image(IN_6_12), while_programs_come_and_go) == (names, changed, notes)
