"""The readers: what each is given, which errors it may raise, and how many cases the tests try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.kernel.btf import BtfError
from tests.fuzzing import checks
from tests.fuzzing.checks import catalog
from tests.strategies import (
    archives,
    catalogues,
    changelogs,
    fleets,
    guests,
    images,
    indexes,
    kbuild,
    objects,
    releases,
    repositories,
)
from tests.strategies import sources as csources
from tests.strategies import types as btf_types
from tests.strategies.case import Case

__all__ = ["READERS", "FuzzedReader", "catalog"]


class FuzzedReader(NamedTuple):
    """A reader under test.

    `read` is given the path of the first file of a case, which stands in a folder of its own, and asserts what must
    hold of the answer. `refusals` are the errors that it may raise. `cases` is how many the tests give it.
    """

    name: str
    strategy: st.SearchStrategy[Case]
    read: Callable[[Path], None]
    refusals: tuple[type[Exception], ...]
    cases: int


_REFUSED = (AuditError,)
_FILES = st.one_of(
    changelogs.changelog_cases(),
    kbuild.config_cases(),
    archives.deb_cases(),
    images.payload_cases(),
    indexes.index_cases(),
)
READERS = (
    FuzzedReader("release", releases.release_cases(), checks.check_release, _REFUSED, 400),
    FuzzedReader("changelog", changelogs.changelog_cases(), checks.check_changelog, _REFUSED, 250),
    FuzzedReader("config", kbuild.config_cases(), checks.check_config, _REFUSED, 600),
    FuzzedReader("makefile", kbuild.makefile_cases(), checks.check_makefile, _REFUSED, 400),
    FuzzedReader("source", csources.source_cases(), checks.check_source, _REFUSED, 250),
    FuzzedReader("patches", csources.patch_cases(), checks.check_patches, _REFUSED, 400),
    FuzzedReader("git", repositories.repository_cases(), checks.check_repository, _REFUSED, 40),
    FuzzedReader("deb", archives.deb_cases(), checks.check_package, _REFUSED, 600),
    FuzzedReader("rpm", archives.rpm_cases(), checks.check_package, _REFUSED, 600),
    FuzzedReader("packages-index", indexes.index_cases(), checks.check_index, _REFUSED, 600),
    FuzzedReader("repodata", indexes.repodata_cases(), checks.check_repodata, _REFUSED, 600),
    FuzzedReader("object", objects.object_cases(), checks.check_object, _REFUSED, 400),
    FuzzedReader("bpftool", objects.bpftool_cases(), checks.check_bpftool, _REFUSED, 250),
    FuzzedReader("nodes", fleets.nodes_cases(), checks.check_nodes, _REFUSED, 500),
    FuzzedReader("text", fleets.text_cases(), checks.check_text, _REFUSED, 200),
    FuzzedReader("rootfs", fleets.root_cases(), checks.check_rootfs, _REFUSED, 150),
    FuzzedReader("oci", fleets.oci_cases(), checks.check_oci, _REFUSED, 150),
    FuzzedReader("disk", fleets.disk_cases(), checks.check_disk, _REFUSED, 150),
    FuzzedReader("survey", fleets.survey_cases(), checks.check_survey, _REFUSED, 200),
    FuzzedReader("image", images.image_cases(), checks.check_image, _REFUSED, 500),
    FuzzedReader("audited-image", images.image_cases(), checks.check_audited_image, _REFUSED, 100),
    FuzzedReader("payload", images.payload_cases(), checks.check_payload, _REFUSED, 600),
    FuzzedReader("kallsyms", images.kallsyms_cases(), checks.check_kallsyms, _REFUSED, 150),
    FuzzedReader("btf", btf_types.btf_cases(), checks.check_btf, (BtfError,), 600),
    FuzzedReader("system-map", releases.system_map_cases(), checks.check_system_map, _REFUSED, 400),
    FuzzedReader("catalogue", catalogues.catalogue_cases(), checks.check_catalogue, _REFUSED, 60),
    FuzzedReader("catalogue-folder", catalogues.catalogue_folder_cases(), checks.check_catalogue_folder, _REFUSED, 60),
    FuzzedReader("console", guests.console_cases(), checks.check_console, (), 400),
    FuzzedReader("recognise", _FILES, checks.check_recognised, _REFUSED, 300),
)
