"""Facts about programs for functions with different prototypes (tracing, LSM, extension, struct_ops) that share a prog
array.
"""

from __future__ import annotations

from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.sharing import compared
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import EXTENSION, Member, World
from tailcall_audit.analyzer.programs.types import Attachment

__all__: list[str] = []

_WITH_PROTOTYPE = frozenset(("tracing", "lsm", "ext", "struct_ops"))
"""Program types that are attached to a function. The owner check compares its prototype since the release with
28ead3eaabc1.
"""
_PROTOTYPES = "the kernel's BTF has the prototypes: tailcall-audit exposure --loaded on a host where they are loaded"


def _hooks(world: World, member: Member) -> set[Attachment] | None:
    """Returns the functions that a program is for; None if the loader may choose another one of the same name."""
    for item in member.program.attachments:
        named = item.program is None and item.function is not None
        if named and not (world.closed and all(item.function not in other.code.functions for other in world.members)):
            return None
    return set(member.program.attachments) or None


def _prototypes_differ(world: World, first: Member, second: Member) -> State:
    """Returns how sure it is that two programs are for functions with different prototypes.

    An object names hooks only: two of them may have the same prototype, which the kernel's BTF decides.
    """
    one, two = _hooks(world, first), _hooks(world, second)
    if one is not None and one == two and len(one) == 1:
        return State.NOT_MET
    one_is, two_is = ({item.prototype for item in each.program.attachments} for each in (first, second))
    if not one_is or not two_is or None in one_is | two_is:
        return State.POSSIBLE
    if one_is == two_is and len(one_is) == 1:
        return State.NOT_MET
    return State.POSSIBLE if one_is & two_is else State.MET


@named("shares-a-prog-array-across-hooks")
def _shares_a_prog_array_across_hooks(world: World, member: Member) -> Finding:
    def differ(first: Member, second: Member) -> State:
        kinds = {first.program.type, second.program.type}
        if len(kinds - {None}) > 1 or not (kinds <= _WITH_PROTOTYPE or None in kinds):
            return State.NOT_MET
        return State.POSSIBLE if None in kinds else _prototypes_differ(world, first, second)

    kind = member.program.type
    outside = State.POSSIBLE if kind is None or kind in _WITH_PROTOTYPE else State.NOT_MET
    words = "their hooks have different prototypes (the kernel's BTF decides)"
    otherwise = "it meets no program of another hook in a prog array"
    return compared(world, member, differ, outside, words, otherwise, decides=_PROTOTYPES)


@named("shares-a-prog-array-across-kernel-hooks")
def _shares_a_prog_array_across_kernel_hooks(world: World, member: Member) -> Finding:
    """The same, of hooks in the kernel only: not of programs that are for a function of another BPF program."""

    def of_kernel(found: Member) -> State:
        attachments = found.program.attachments
        if (
            any(item.program is not None and item.hook is None for item in attachments)
            or found.program.type == EXTENSION
        ):
            return State.NOT_MET
        certain = all(item.program is None and item.function is None for item in attachments)
        return State.MET if attachments and certain else State.POSSIBLE

    def differ(first: Member, second: Member) -> State:
        kinds = {first.program.type, second.program.type}
        if len(kinds - {None}) > 1 or not (kinds <= _WITH_PROTOTYPE or None in kinds):
            return State.NOT_MET
        different = State.POSSIBLE if None in kinds else _prototypes_differ(world, first, second)
        return min(different, of_kernel(first), of_kernel(second))

    kind = member.program.type
    outside = State.POSSIBLE if kind is None or kind in _WITH_PROTOTYPE - {EXTENSION} else State.NOT_MET
    words = "they are for functions of the kernel with different prototypes (the kernel's BTF decides)"
    otherwise = "it meets no program of another hook of the kernel in a prog array"
    return compared(world, member, differ, outside, words, otherwise, decides=_PROTOTYPES)
