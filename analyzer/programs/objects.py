"""Reads BPF object files: one set of programs for a file, or one for each object embedded in a file."""

from __future__ import annotations

import gc
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tailcall_audit.analyzer.errors import AuditError, parameter
from tailcall_audit.analyzer.programs.btf_ext import BtfExt, read_btf_ext
from tailcall_audit.analyzer.programs.byteorder import little_btf_ext
from tailcall_audit.analyzer.programs.code import ProgramsError, Refers
from tailcall_audit.analyzer.programs.elf_object import ElfObject
from tailcall_audit.analyzer.programs.embedded import Embedded, find_objects
from tailcall_audit.analyzer.programs.facts import Workshop
from tailcall_audit.analyzer.programs.light_skeleton import read_light_skeletons
from tailcall_audit.analyzer.programs.maps import Definition, read_maps
from tailcall_audit.analyzer.programs.relocations import Linked, Place, link
from tailcall_audit.analyzer.programs.sections import read_section_name
from tailcall_audit.analyzer.programs.struct_ops import read_struct_ops
from tailcall_audit.analyzer.programs.types import Attachment, Map, Program, ProgramSet, Slot
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tailcall_audit.probes.reading import read_file

__all__ = ["read_all", "read_object", "read_object_bytes"]

_MAX_FILE = 256 << 20
_TEXT = ".text"
_GPL = frozenset(("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"))
"""The licenses that license_is_gpl_compatible() in include/linux/license.h accepts."""
_STORAGES = frozenset(("cgroup_storage", "percpu_cgroup_storage"))
_MAX_NOTES = 20


def read_object(path: str) -> tuple[ProgramSet, ...]:
    """Returns the programs of a file, one set for each object in it. Raises AuditError with file and reason.

    The file is a BPF object or contains objects: an executable, a library, a light skeleton, an archive.
    """
    try:
        data = read_file(path, _MAX_FILE)
    except IsADirectoryError as error:
        raise AuditError(
            f"{path}: a folder: name the files in it, or bpftool's JSON in it ({parameter('bpftool', str(path))})"
        ) from error
    except OSError as error:
        raise AuditError(f"{path}: cannot read: {error.strerror or error}") from error
    try:
        return read_all(data, os.path.basename(path))
    except ProgramsError as error:
        raise AuditError(f"{path}: {error}") from error


def read_all(data: bytes, label: str) -> tuple[ProgramSet, ...]:
    """Returns the programs of an object, or of the objects embedded in the data. Raises ProgramsError if there are
    none.
    """
    with _without_collection():
        try:
            return (read_object_bytes(data, label),)
        except ProgramsError as error:
            reason = error
        found = tuple(_inside(data, label))
    if not found:
        raise ProgramsError(f"{reason}, and no BPF object is in it") from reason
    return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pauses the search for cycles among objects: facts are millions of tuples, which form none, and looking through
    them again and again takes a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # This moves everything into the oldest generation, so that the next search does not go through all of it.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def _inside(data: bytes, label: str) -> Iterator[ProgramSet]:
    """Yields one set for each object embedded in a file. For what cannot be read, yields an empty set with a note."""
    try:
        for item in find_objects(data):
            yield _embedded(item, f"{label}, object at byte {item.offset}")
    except ProgramsError as error:
        yield ProgramSet.unread(label, str(error))
    yield from read_light_skeletons(data, label)


def _embedded(item: Embedded, label: str) -> ProgramSet:
    if not item.data:
        return ProgramSet.unread(label, f"the object at byte {item.offset} is cut off, or has too many sections")
    try:
        return read_object_bytes(item.data, label)
    except ProgramsError as error:
        return ProgramSet.unread(label, f"the object at byte {item.offset} cannot be read: {error}")


def read_object_bytes(data: bytes, label: str) -> ProgramSet:
    """Returns the programs of an object file. Raises ProgramsError if it is not one or is broken."""
    elf = ElfObject(data)
    notes: list[str] = []
    btf, extra = _types(elf, notes)
    definitions = read_maps(elf, btf)
    linked = link(elf, btf, extra, definitions)
    programs = _Programs(elf, linked, definitions, label, read_struct_ops(elf, btf, notes))
    found = tuple(programs.make(number) for number in programs.mains())
    maps = tuple(programs.map(item) for item in definitions)
    if len(elf.symbols) < 2 and found:
        notes.append("it has no symbols (stripped): which maps and functions its instructions refer to is not known")
    if not found and not maps:
        raise ProgramsError("a BPF object with no program and no map")
    return ProgramSet(label, found, maps, elf.big_endian, tuple(dict.fromkeys(notes))[:_MAX_NOTES])


def _types(elf: ElfObject, notes: list[str]) -> tuple[Btf | None, BtfExt | None]:
    """Returns BTF and .BTF.ext. A broken one is noted and left out, since the kernel loads most programs without."""
    section = elf.section(".BTF")
    if section is None:
        return None, None
    try:
        btf = Btf(elf.content(section))
    except (BtfError, ProgramsError) as error:
        notes.append(f"its BTF cannot be read: {error}")
        return None, None
    section = elf.section(".BTF.ext")
    if section is None:
        return btf, None
    try:
        data = elf.content(section)
        return btf, read_btf_ext(little_btf_ext(data) if elf.big_endian else data, btf)
    except (BtfError, ProgramsError, struct.error) as error:
        notes.append(f"its source lines cannot be read: {error}")
        return btf, None


class _Programs:
    """Derives the programs and maps of an object."""

    def __init__(
        self,
        elf: ElfObject,
        linked: Linked,
        definitions: tuple[Definition, ...],
        label: str,
        members: dict[tuple[int, int], str],
    ) -> None:
        self._elf = elf
        self._linked = linked
        self._definitions = definitions
        self._label = label
        self._members = members
        self._types = {item.name: item.type for item in definitions}
        self._workshop = Workshop(linked.codes, {item.name: number for number, item in enumerate(definitions)})
        self._keys = self._named()
        self._license = self._read_license()

    def mains(self) -> list[int]:
        """Returns the indexes of the functions that are programs.

        As in libbpf, functions in .text are subprograms if other sections have functions. In other sections, a static
        function that is called is a subprogram (cilium/ebpf allows this, libbpf refuses it).
        """
        return sorted(self._keys)

    def _named(self) -> dict[int, str]:
        places = self._linked.places
        outside = [number for number, place in enumerate(places) if place.section.name != _TEXT]
        called = {
            item.target
            for code in self._linked.codes
            for item in code.references.values()
            if item.kind in (Refers.FUNCTION, Refers.ADDRESS)
        }
        if outside:
            mains = [number for number in outside if not (number in called and _is_static(places[number]))]
        else:
            mains = [number for number in range(len(places)) if number not in called]
        found: dict[int, str] = {}
        taken: set[str] = set()
        for number in mains:
            name = self._linked.codes[number].name
            if name in taken:
                name = f"{name}@{places[number].section.name}+{places[number].start}"
            taken.add(name)
            found[number] = name
        return found

    def _read_license(self) -> bool | None:
        section = self._elf.section("license")
        if section is None:
            return None
        return self._elf.content(section).split(b"\0")[0].decode("utf-8", "replace") in _GPL

    def make(self, number: int) -> Program:
        """Returns the program whose main function has this index."""
        place, code = self._linked.places[number], self._linked.codes[number]
        says = read_section_name(place.section.name)
        member = self._members.get((place.section.number, place.start))
        facts = self._workshop.facts(self._workshop.order(number), says.type)
        kinds = {name: self._types.get(name, "") for name in facts.maps}
        return Program(
            self._keys[number],
            code.name,
            f"{self._label}, section {place.section.name}",
            place.section.name,
            says.type if member is None else "struct_ops",
            says.expected_attach_type,
            _attachments(says.attachment if member is None else Attachment(member, None, None)),
            says.sleepable,
            None,
            facts.instructions,
            facts.functions,
            facts.maps,
            "arena" in kinds.values(),
            frozenset(name for name, kind in kinds.items() if kind in _STORAGES),
            self._license,
            facts.lines,
        )

    def map(self, item: Definition) -> Map:
        """Returns a map, with the slots that are known to be filled."""
        slots = []
        for entry in item.slots:
            symbol = self._elf.symbols[entry.symbol] if entry.symbol < len(self._elf.symbols) else None
            number = None if symbol is None else self._linked.by_place.get((symbol.section, symbol.value))
            slots.append(Slot(entry.key, None if number is None else self._keys.get(number)))
        if item.number is not None:
            slots += self._iproute2_slots(item.number)
        is_programs = item.type == "prog_array"
        return Map(
            item.name,
            item.type,
            item.max_entries or None,
            tuple(slots) if is_programs else (),
            False,
            # A program can use a prog array only for tail calls (check_map_func_compatibility()).
            False if is_programs else None,
        )

    def _iproute2_slots(self, number: int) -> list[Slot]:
        """Returns the slots that iproute2 fills in the map with this id: the programs in sections named ID/KEY."""
        found = []
        for index, key in self._keys.items():
            first, slash, second = self._linked.places[index].section.name.partition("/")
            try:
                if slash and int(first, 0) == number:
                    found.append(Slot(int(second, 0), key))
            except ValueError:
                continue
        return found


def _attachments(found: Attachment | None) -> tuple[Attachment, ...]:
    return () if found is None else (found,)


def _is_static(place: Place) -> bool:
    return place.symbol is not None and place.symbol.is_local
