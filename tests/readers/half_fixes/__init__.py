"""Half fixes by construction: every part of each fix taken out of a real source, by an edit anchored in one function.

`HALVES` is a table: defect, series of Debian's source that has the fix, architecture, and for each part of the fix the
file, the function (or struct) and the text in it that is taken out or put back into its older form.
"""

from __future__ import annotations

from tests.readers.half_fixes import freplace, jits, owner_check, verifier, x86
from tests.readers.half_fixes.edits import Half, edited

__all__ = ["HALVES", "Half", "edited"]

HALVES = (*freplace.HALVES, *owner_check.HALVES, *x86.HALVES, *verifier.HALVES, *jits.HALVES)
