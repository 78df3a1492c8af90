"""ELF files in memory: when they are freed."""

from __future__ import annotations

import gc

from tailcall_audit.analyzer.kernelfiles.elf import Elf
from tailcall_audit.analyzer.programs.elf_object import ElfObject
from tailcall_audit.probes.kernel.instructions import Insn
from tests.programs.elf_writer import Elf as Writer
from tests.strategies.images import elf


def test_a_kernel_is_freed_with_its_elf_file() -> None:
    """The fleet of a report would be in memory as a whole otherwise: the objects of pyelftools refer to each other."""
    gc.collect()
    gc.disable()
    try:
        opened = Elf(elf({}))
        assert opened.segments or opened.sections
        file = opened._file.stream
        assert not file.closed
        del opened
        assert file.closed
    finally:
        gc.enable()


def test_a_bpf_object_is_freed_with_its_file() -> None:
    data = Writer().code("tc", [Insn(0xB7), Insn(0x95)], ("entry", 0, 2)).encode()
    gc.disable()
    try:
        opened = ElfObject(data)
        assert opened.sections
        file = opened._file.stream
        del opened
        assert file.closed
    finally:
        gc.enable()
