"""Which options of its configuration a kernel's own functions show, for images of which the configuration is not known.

A function that is compiled with an option only is in the image's table of symbols if and only if the option is on. One
that is missing proves something only where the table is whole, and where functions that such a kernel has in either
case are in it. All functions that the catalogue names for an option must agree: one alone may have been renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.option import OptionSign
from tailcall_audit.analyzer.evidence import OptionSeen
from tailcall_audit.analyzer.kernelfiles.symbol_names import FunctionNames, function_names
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["read_options"]


def _is_on(sign: OptionSign, found: FunctionNames) -> bool | None:
    """Returns the value of an option; None if the functions do not show it."""
    if not found.present.issuperset(sign.always):
        return None
    if found.present.issuperset(sign.functions):
        return not sign.shows_off
    return sign.shows_off if found.present.isdisjoint(sign.functions) else None


def _seen(signs: Sequence[OptionSign], found: FunctionNames, name: str) -> Iterator[OptionSeen]:
    for sign in signs:
        is_on = _is_on(sign, found)
        if is_on is None:
            continue
        functions = ", ".join(f"{function}()" for function in sign.functions)
        word = "has" if is_on is not sign.shows_off else "has none of"
        detail = f"the kernel {word} {functions}, by the {found.symbols:,} names of its kallsyms"
        yield OptionSeen(sign.options, is_on, f"{name}: kallsyms", detail)


def read_options(subject: Subject, request: Request) -> tuple[OptionSeen, ...]:
    """Returns the options that the functions of a subject's image show.

    Nothing is returned without an image, for a release outside of those for which the functions were read, or if the
    image is of another architecture than the one that the kernel is judged for.
    """
    image, release = subject.parts.image, subject.release
    if image is None or release is None or release.proof is Proof.NOTHING:
        return ()
    if image.architecture is not None and image.architecture != subject.architecture:
        return ()
    signs = [sign for sign in request.catalog.options if sign.holds_for(release.version, subject.architecture)]
    wanted = {name for sign in signs for name in (*sign.functions, *sign.always)}
    found = function_names(image.binary, wanted) if wanted else None
    return () if found is None else tuple(_seen(signs, found, image.name))
