"""Guests whose JIT or trampoline has one jump turned around show the defect, although every shape of its fix is there."""

from __future__ import annotations

import shutil

import pytest

from bench.mutation.frozen import freeze
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.probes.probe import PRESENT
from tests.mutants import FLIPS, IN_5_10, IN_6_1_192, flipped, subject

SLUGS = {"ff672c67ee76": "x86-count-offset", "2b5dcb31a19a": "x86-trampoline-loop"}

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None or shutil.which("qemu-img") is None,
    reason="no qemu-system-x86_64 or no qemu-img on this machine: install qemu-system-x86 and qemu-utils",
)


@pytest.mark.parametrize("image", [IN_5_10, IN_6_1_192])
def test_the_guest_shows_what_the_shapes_do_not_see(image: str, catalog: Catalog) -> None:
    flips = [flip for flip in FLIPS if flip.image == image]
    slugs = {SLUGS[flip.commit] for flip in flips}
    assert all(commit in defect.commits for commit, slug in SLUGS.items() for defect in catalog.find(slug))
    with freeze(subject(image), sorted(slugs), ()) as guest:
        # Pitfall 3's fix is not in 5.10: its flips are of 6.1.192, which has both.
        assert {slug for slug, result in guest.run().items() if result.state == PRESENT} == set()
        for flip in flips:
            slug = SLUGS[flip.commit]
            result = guest.run(flipped(flip).edits, (slug,))[slug]
            assert result.state == PRESENT, f"{flip}: {result.detail}"
