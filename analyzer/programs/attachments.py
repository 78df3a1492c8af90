"""Derives what the programs of a host are attached to, from links, from what they were loaded for, and from netlink.

bpftool and older kernels show only a part: what is not shown is not known, and never "attached to nothing".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.programs.names import attach_type, program_type
from tailcall_audit.analyzer.programs.types import Attachment
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tailcall_audit.probes.kernel.btf_format import GLOBAL
from tailcall_audit.probes.kernel.records import Loaded, LoadedLink, LoadedProgram

__all__ = ["Attachments", "Typed", "Types"]

_TRACEPOINT = "btf_trace_"
"""The prefix of the BTF type names of the tracepoints that tp_btf programs attach to."""
_ON_FUNCTIONS = frozenset(("tracing", "lsm", "ext", "struct_ops"))
"""Program types that are attached to a function of the kernel or of another program."""
_AS_EXPECTED = frozenset(
    ("tracing", "lsm", "cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "sk_lookup", "netfilter")
)
"""Program types that the kernel attaches only as the attach type with which they were loaded
(bpf_prog_attach_check_attach_type() and bpf_tracing_prog_attach() in kernel/bpf/syscall.c).
"""
_WITHOUT = frozenset(("ext", "syscall"))
"""Program types that are loaded without an attach type (bpf_prog_load_check_attach())."""


class Typed(NamedTuple):
    """A function by BTF: its name, and what identifies its prototype (None: not known)."""

    name: str
    prototype: str | None


class Types:
    """The BTF objects of a host. A broken or missing one yields no names."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = {item.id: item for item in loaded.btfs}
        self._known: dict[int, Btf | None] = {}

    @property
    def are_listed(self) -> bool:
        """True if the host's BTF objects were listed, so that one that is missing does not exist."""
        return bool(self._loaded)

    def btf(self, number: int) -> Btf | None:
        """Returns the BTF object with an id."""
        if number not in self._known:
            item = self._loaded.get(number)
            found = None
            if item is not None and item.data is not None:
                try:
                    found = Btf(item.data)
                except BtfError:
                    found = None
            self._known[number] = found
        return self._known[number]

    def is_kernel(self, number: int) -> bool | None:
        """Returns True if the BTF belongs to the kernel or a module, None if the host has no BTF with this id."""
        item = self._loaded.get(number)
        return None if item is None else item.is_kernel

    def function(self, number: int, kind: int) -> tuple[str, bool] | None:
        """Returns the name of a BTF type, and True if it is a global function."""
        btf = self.btf(number)
        try:
            found = None if btf is None else btf.type(kind)
        except BtfError:
            return None
        return None if found is None else (found.name, found.kind == kinds.FUNC and found.members == GLOBAL)

    def prototype(self, number: int, kind: int) -> str | None:
        """Returns what identifies the prototype of a function, or of a tracepoint's type: the kernel compares the
        address of the type, which is there once in each BTF.
        """
        btf = self.btf(number)
        try:
            while btf is not None:
                found = btf.type(kind)
                if found.kind == kinds.FUNC_PROTO:
                    return _identity(number, kind)
                if found.kind not in (kinds.FUNC, kinds.TYPEDEF, kinds.PTR):
                    return None
                kind = found.value
        except BtfError:
            return None
        return None

    @cached_property
    def kernel(self) -> Btf | None:
        """The kernel's own BTF, None if it was not read."""
        return next((self.btf(number) for number, item in self._loaded.items() if item.name == "vmlinux"), None)


def _identity(btf: int, prototype: int) -> str:
    return f"BTF {btf}, type {prototype}"


class Attachments:
    """What each program is attached to. `keys` are the names of programs by their ids; `functions` the functions of
    programs by the ids of their BTF and type, where no BTF was read.
    """

    def __init__(
        self, loaded: Loaded, types: Types, keys: Mapping[int, str], functions: Mapping[tuple[int, int], Typed]
    ) -> None:
        self._types = types
        self._keys = keys
        self._functions = functions
        self._programs = {item.id: item for item in loaded.programs}
        self._with_functions = {number for number, _ in functions}
        # Links of any program could be among those that could not be read. Those of struct_ops have no program either.
        self._has_unread_link = any(link.type == 0 and link.program == 0 for link in loaded.links)
        self._links: dict[int, list[LoadedLink]] = {}
        for link in loaded.links:
            self._links.setdefault(link.program, []).append(link)
        self._hooks: dict[int, list[str]] = {}
        for hook in loaded.hooks:
            self._hooks.setdefault(hook.program, []).append(f"{hook.what} of interface {hook.where}")

    def expected(self, item: LoadedProgram) -> str | None:
        """Returns the attach type with which a program was loaded. The kernel does not show it; for some types it is
        that of the link.
        """
        kind = program_type(item.type)
        if kind in _WITHOUT:
            return "none"
        given = {link.attach_type for link in self._links.get(item.id, ()) if link.attach_type is not None}
        return attach_type(given.pop()) if kind in _AS_EXPECTED and len(given) == 1 else None

    def of(self, item: LoadedProgram) -> tuple[Attachment, ...]:
        """Returns every attachment of a program, and the target for which it was loaded. Empty: not known."""
        if self._has_unread_link and program_type(item.type) in _ON_FUNCTIONS:
            return ()
        found: dict[Attachment, None] = {}
        for link in self._links.get(item.id) or (None,):
            attachment = self._loaded_for(item, link) if item.target_type else self._linked(item, link)
            if attachment is None and program_type(item.type) in _ON_FUNCTIONS:
                return ()
            if attachment is not None:
                found[attachment] = None
        for hook in self._hooks.get(item.id, ()):
            found[Attachment(hook, None, None)] = None
        return tuple(found)

    def _loaded_for(self, item: LoadedProgram, link: LoadedLink | None) -> Attachment | None:
        """Returns the target of a link, or the target for which a program was loaded."""
        # After attaching, only the link has the target program (bpf_tracing_prog_attach() clears it in the program).
        target = None if link is None else self._programs.get(link.target or 0)
        is_kernel = self._types.is_kernel(item.target_btf)
        number, kind = item.target_btf, item.target_type
        if not is_kernel and target is not None and link is not None:
            number, kind = target.btf, link.target_type or kind
        named = self._types.function(number, kind)
        name = None if named is None else named[0].removeprefix(_TRACEPOINT)
        prototype = self._types.prototype(number, kind)
        if is_kernel:
            return Attachment(name, None, None, prototype)
        return Attachment(None, self._target(item, link), name, prototype)

    def _linked(self, item: LoadedProgram, link: LoadedLink | None) -> Attachment | None:
        """Returns the attachment that a link shows, where a program's own target is not shown."""
        if link is None:
            return None
        if link.target is not None:
            return self._traced(item, link, link.target)
        if program_type(item.type) in _ON_FUNCTIONS:
            return None  # bpftool 7.1 and older show no targets
        if link.where is not None:
            return Attachment(f"interface {link.where}", None, None)
        return Attachment(None if link.attach_type is None else attach_type(link.attach_type), None, None)

    def _traced(self, item: LoadedProgram, link: LoadedLink, number: int) -> Attachment | None:
        """Returns the attachment of a tracing link. Its target is the id of a program or of the kernel's BTF, and
        nothing in the link decides which (bpf_trampoline_unpack_key()); only for an extension is it certainly a
        program.
        """
        kind = link.target_type or 0
        target = self._programs.get(number)
        typed = None if target is None else self._functions.get((target.btf, kind))
        function, prototype = (None, None) if typed is None else typed
        key = self._keys.get(number)
        if program_type(item.type) == "ext":
            return None if key is None else Attachment(None, key, function, prototype)
        is_program = target is not None and (typed is not None or target.btf not in self._with_functions)
        is_kernel = self._types.is_kernel(number) is True or not self._types.are_listed
        hook = f"type {kind} of BTF {number}" if is_kernel else None
        if is_program:
            return Attachment(hook, key, function, None if is_kernel else prototype)
        return Attachment(hook, None, None) if is_kernel else None

    def _target(self, item: LoadedProgram, link: LoadedLink | None) -> str | None:
        """Returns the key of the program to whose function another is attached: the link's target, otherwise the only
        program with that BTF that has the function.
        """
        if link is not None and link.target and (found := self._keys.get(link.target)) is not None:
            return found
        having = [
            program.id
            for program in self._programs.values()
            if program.btf == item.target_btf and any(kind == item.target_type for _, kind in program.functions)
        ]
        return self._keys.get(having[0]) if len(having) == 1 else None
