"""What a kernel has loaded, as plain data: numbers and bytes as the kernel returns them (include/uapi/linux/bpf.h), in
the machine's byte order.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel.netlink import LoadedHook
from tailcall_audit.probes.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

__all__ = ["Loaded", "LoadedBtf", "LoadedLink", "LoadedMap", "LoadedProgram"]

if TYPE_CHECKING:

    class LoadedProgram(NamedTuple):
        """A program. `instructions` are those that the kernel shows (xlated), None if it shows none.

        `functions` has the instruction slot where each function begins and its number in BTF. `lines` has the slot, the
        offsets of file and text in BTF's strings, and line and column in one number. An id of 0 means "none".
        """

        id: int
        type: int
        name: str
        jited: bool
        gpl: bool
        instructions: bytes | None
        maps: tuple[int, ...]
        btf: int
        functions: tuple[tuple[int, int], ...]
        lines: tuple[tuple[int, int, int, int], ...]
        target_btf: int
        target_type: int

    class LoadedMap(NamedTuple):
        """A map. For a prog array, `slots` are pairs of key and program id, None if they cannot be read."""

        id: int
        type: int
        name: str
        entries: int
        slots: tuple[tuple[int, int], ...] | None

    class LoadedLink(NamedTuple):
        """A link. `attach_type` and the target's ids are None for kinds without them. `where` is the index of a network
        interface.
        """

        id: int
        type: int
        program: int
        attach_type: int | None
        target: int | None
        target_type: int | None
        where: int | None

    class LoadedBtf(NamedTuple):
        """A BTF object. `data` is None for the kernel's own BTF, unless a program refers to one of its types."""

        id: int
        name: str
        is_kernel: bool
        data: bytes | None

    class Loaded(NamedTuple):
        """Everything that is loaded. `symbols` are the names of the kernel functions that programs call, by the value
        of `imm` (the distance from __bpf_call_base); None if the kernel hides addresses. `notes` say what could not be
        read. `hooks` are what netlink attached, without links.
        """

        programs: tuple[LoadedProgram, ...]
        maps: tuple[LoadedMap, ...]
        links: tuple[LoadedLink, ...]
        btfs: tuple[LoadedBtf, ...]
        symbols: dict[int, str] | None
        big_endian: bool
        notes: tuple[str, ...]
        hooks: tuple[LoadedHook, ...] = ()
else:
    LoadedProgram = record(
        __name__,
        "LoadedProgram",
        (
            *("id", "type", "name", "jited", "gpl", "instructions", "maps", "btf", "functions", "lines"),
            *("target_btf", "target_type"),
        ),
    )
    LoadedMap = record(__name__, "LoadedMap", ("id", "type", "name", "entries", "slots"))
    LoadedLink = record(
        __name__, "LoadedLink", ("id", "type", "program", "attach_type", "target", "target_type", "where")
    )
    LoadedBtf = record(__name__, "LoadedBtf", ("id", "name", "is_kernel", "data"))
    Loaded = record(
        __name__, "Loaded", ("programs", "maps", "links", "btfs", "symbols", "big_endian", "notes", "hooks"), ((),)
    )
