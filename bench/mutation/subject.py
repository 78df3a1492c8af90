"""A kernel whose machine code can be changed, and the types of the changes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from elftools.elf.elffile import ELFFile

from tailcall_audit.analyzer.kernelfiles.binary import Binary, Function
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import AuditError, Bootable
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["Edit", "Instruction", "Mutation", "MutationError", "Subject"]


class MutationError(Exception):
    """Raised if a change is not possible in a kernel; the message says what is missing."""


class Edit(NamedTuple):
    """Bytes at an address of the kernel, and their replacement of the same length."""

    address: int
    old: bytes
    new: bytes


@dataclass(frozen=True)
class Mutation:
    """A change of a kernel's machine code: the kernel's name, the changed function, the edits, and a description of
    what they undo.
    """

    kernel: str
    function: str
    edits: tuple[Edit, ...]
    undoes: str

    @property
    def address(self) -> int:
        """The address of the first edit."""
        return self.edits[0].address


class Instruction(NamedTuple):
    """A decoded instruction: its address and bytes, and mnemonic and operands as capstone writes them."""

    address: int
    code: bytes
    mnemonic: str
    operands: str

    @property
    def is_conditional_jump(self) -> bool:
        """Returns True if this is a conditional jump."""
        return self.mnemonic.startswith("j") and self.mnemonic != "jmp"


class Subject:
    """An x86-64 kernel as an ELF file that QEMU can boot directly (CONFIG_PVH): its functions, its types, and its
    mutants.
    """

    def __init__(self, name: str, kernel: Kernel) -> None:
        """Raises MutationError if the kernel is not an x86-64 ELF file or has no readable BTF."""
        if not kernel.is_elf or kernel.architecture != "x86_64":
            raise MutationError(f"{name}: mutants are made of x86-64 kernels in an ELF file only")
        self.name = name
        self.elf = kernel.data
        self._binary = Binary(kernel)
        if self._binary.btf is None:
            raise MutationError(
                f"{name}: no BTF (CONFIG_DEBUG_INFO_BTF), so the places of structure members are unknown"
            )
        self.btf: Btf = self._binary.btf

    @classmethod
    def read(cls, path: Path) -> Subject:
        """Returns the kernel of an image file or a package. Raises MutationError that names the file."""
        try:
            if path.suffix in (".deb", ".rpm"):
                member = read_package(str(path)).image
                if member is None:
                    raise MutationError(f"{path}: no kernel image in this package")
                data = read_bootable(Bootable(str(path), member))
            else:
                data = path.read_bytes()
            return cls(path.name, unpack(data, path.name))
        except (AuditError, OSError) as error:
            raise MutationError(str(error)) from error

    @cached_property
    def banner(self) -> str:
        """The version line that identifies this build."""
        return next(iter(self._binary.banners), self.name)

    @cached_property
    def _segments(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(
            (segment["p_vaddr"], segment["p_offset"], segment["p_filesz"])
            for segment in ELFFile(io.BytesIO(self.elf)).iter_segments()
            if segment["p_type"] == "PT_LOAD"
        )

    def functions(self, names: Iterable[str]) -> dict[str, Function]:
        """Returns the functions of these names that are in the kernel's own symbols."""
        return self._binary.functions(names)

    def addresses(self, names: Iterable[str]) -> dict[str, int]:
        """Returns the addresses of these names in the kernel's own symbols; raises MutationError if one is missing."""
        wanted = tuple(names)
        found = self._binary.addresses(wanted) or {}
        missing = [name for name in wanted if not found.get(name)]
        if missing:
            raise MutationError(f"{self.name}: {', '.join(missing)} not in its symbols")
        return {name: found[name][0] for name in wanted}

    def instructions(self, name: str) -> tuple[Instruction, ...]:
        """Returns the instructions of a function; raises MutationError if it cannot be found."""
        function = self.functions([name]).get(name)
        if function is None:
            raise MutationError(f"{self.name}: no function {name}() in its symbols")
        return decode(function.code, function.address)

    def place(self, struct: str, member: str) -> int:
        """Returns the offset of a member in its structure, in bytes; raises MutationError if BTF has no such member."""
        found = self.btf.member(struct, member)
        if found is None or found.offset % 8:
            raise MutationError(f"{self.name}: struct {struct} has no member {member} at a whole byte")
        return found.offset // 8

    def mutant(self, mutation: Mutation) -> bytes:
        """Returns the kernel's ELF file with a change applied; raises MutationError if the old bytes are not there."""
        changed = bytearray(self.elf)
        for edit in mutation.edits:
            place = self._offset(edit.address)
            if len(edit.old) != len(edit.new) or changed[place : place + len(edit.old)] != edit.old:
                raise MutationError(
                    f"{self.name}: {edit.address:#x} in {mutation.function}() does not hold {edit.old.hex()}"
                )
            changed[place : place + len(edit.new)] = edit.new
        return bytes(changed)

    def _offset(self, address: int) -> int:
        for start, offset, size in self._segments:
            if start <= address < start + size:
                return offset + address - start
        raise MutationError(f"{self.name}: no segment of the file holds the address {address:#x}")


def decode(code: bytes, address: int) -> tuple[Instruction, ...]:
    """Returns the decoded instructions of machine code."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    found: list[Instruction] = []
    for start, size, mnemonic, operands in decoder.disasm_lite(code, address):
        found.append(Instruction(start, code[start - address : start - address + size], mnemonic, operands))
    return tuple(found)


def replace(subject: Subject, function: str, undoes: str, changes: Sequence[tuple[Instruction, bytes]]) -> Mutation:
    """Returns the mutation that replaces instructions with others of the same length."""
    edits = tuple(Edit(instruction.address, instruction.code, new) for instruction, new in changes)
    return Mutation(subject.name, function, edits, undoes)
