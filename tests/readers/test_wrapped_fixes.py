"""The real fix of a real source, wrapped and put beside its unfixed form, never makes a build fixed.

A sample of the signatures of each pitfall: of Debian's source with the fix, one part is undone, and the fixed
definition of that place is put back in front of it or behind it, in a condition, a comment, a string, a macro, another
function, or as it is.
"""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader, FileRead, ReadState
from tailcall_audit.analyzer.model import State
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.readers.source import SourceReader, signature_files
from tests.kernels import SIX, kernel_source
from tests.memory import MemoryReader
from tests.readers.half_fixes import HALVES, Half, edited
from tests.readers.half_fixes.edits import span
from tests.readers.test_half_fixes import NEWEST
from tests.strategies.wrappers import WRAPPERS, wrapped

CATALOG = load_catalog()
_SAMPLE = [half for slug in SIX for half in [item for item in HALVES if item.slug == slug][:2]]


def _of_defect(slug: str) -> Catalog:
    """The catalogue with what decides one defect only: the rest of it takes time and changes nothing."""
    (defect,) = CATALOG.find(slug)
    return CATALOG._replace(
        commits={name: CATALOG.commits[name] for name in defect.commits},
        capabilities={name: CATALOG.capabilities[name] for name in defect.capabilities},
        defects=(defect,),
    )


@functools.cache
def _files(half: Half) -> dict[str, bytes]:
    """The files that decide the defect, in the source that has its fix."""
    path, _ = kernel_source(half.series, NEWEST[half.series])
    reader = DiskReader(path)
    read: list[FileRead] = [reader.read(name) for name in (*signature_files(_of_defect(half.slug)), half.path)]
    return {item.path: item.data for item in read if item.state is ReadState.READ}


def _state(half: Half, text: str) -> State:
    catalog = _of_defect(half.slug)
    evidence = list(SourceReader(MemoryReader({**_files(half), half.path: text.encode()})).evidence(catalog))
    return judge(catalog.defects[0], Facts(evidence, half.architecture), half.architecture).state


@functools.cache
def _parted(half: Half) -> tuple[str, str, str, str]:
    """What stands before and behind the definition that the part of the fix is in, the definition with it and the one
    without.
    """
    fixed = _files(half)[half.path].decode()
    start, end = span(fixed, half)
    unfixed = edited(fixed, half)
    return fixed[:start], fixed[end:], fixed[start:end], unfixed[start : len(unfixed) - len(fixed) + end]


@pytest.mark.parametrize("half", _SAMPLE, ids=lambda half: f"{half.slug}: {half.part}")
def test_a_wrapped_fix_beside_an_unfixed_build_is_never_fixed(half: Half) -> None:
    before, behind, fixed, unfixed = _parted(half)
    assert _state(half, before + fixed + behind) is State.FIXED
    assert _state(half, before + unfixed + behind) is not State.FIXED

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.lists(WRAPPERS, min_size=1, max_size=3), st.booleans(), st.integers(1, 2))
    def run(wrappers: list[tuple[str, str]], first: bool, copies: int) -> None:
        text = fixed * copies
        for wrapper in wrappers:
            text = wrapped(text, wrapper)
        parts = (text, unfixed) if first else (unfixed, text)
        assert _state(half, before + "".join(parts) + behind) is not State.FIXED

    run()


@pytest.mark.parametrize("half", _SAMPLE, ids=lambda half: f"{half.slug}: {half.part}")
def test_a_fixed_end_of_a_body_in_a_conditional_is_never_fixed(half: Half) -> None:
    """The body ends in an #ifdef that no configuration has, and goes on unfixed behind the #endif."""
    before, behind, fixed, unfixed = _parted(half)
    differs = next(index for index, (one, other) in enumerate(zip(fixed, unfixed, strict=False)) if one != other)
    cut = fixed.rindex("\n", 0, differs) + 1
    for condition in ("ifdef CONFIG_NEVER", "if A(1)", "if 0", "if defined(CONFIG_NEVER) || X"):
        text = f"{fixed[:cut]}#{condition}\n{fixed[cut:]}#endif\n{unfixed[cut:]}"
        assert _state(half, before + text + behind) is not State.FIXED, condition
