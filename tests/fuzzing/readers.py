"""The readers: what each is given, how it is called, which errors it may raise, and what must hold of its answer."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Evidence, Presence, Report
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.analyzer.subjects.subject import Fleet
from tailcall_audit.probes.kernel.btf import BtfError
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

__all__ = ["READERS", "FuzzedReader", "check_audit"]


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


_TYPES = 100
"""Types of a kernel that are looked at."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NAMES = (
    "bpf_check",
    "resolve_prog_type",
    "do_jit",
    "bpf_prog_map_compatible",
    "prog_fd_array_get_ptr",
    "symbol_number_7",
)


@cache
def catalog() -> Catalog:
    """The shipped catalogue."""
    return load_catalog()


def check_audit(report: Report) -> None:
    """Checks a report, and that every format shows it without a byte that a terminal acts on."""
    from tailcall_audit.analyzer.formats.registry import View, find_format

    assert isinstance(report, Report)
    assert report.targets
    for name in ("plain", "table", "json"):
        # The table's own colours.
        text = _COLOUR.sub("", find_format(name).render(report, View(everything=True)))
        assert all(letter.isprintable() or letter in "\n" for letter in text), f"a raw control character in {name}"


def _is_evidence(items: Iterator[Evidence]) -> None:
    for item in items:
        assert isinstance(item, Evidence)
        assert isinstance(item.presence, Presence)


def _release(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(kernels=[path.read_bytes().decode("utf-8", "replace")], catalog=catalog()))


def _changelog(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(changelog=str(path), catalog=catalog()))


def _config(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.kconfig import read_config

    config = read_config(path)
    for option in ("BPF_SYSCALL", "BPF_JIT", "X"):
        value = config.value(option)
        assert 0 <= value.low <= value.high <= 2


def _makefile(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.makefile import is_kernel_tree, read_identity
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader

    reader = DiskReader(path.parent)
    assert isinstance(is_kernel_tree(reader), bool)
    identity = read_identity(reader)
    assert identity is None or identity.version is None or identity.version.branch


def _source(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
    from tailcall_audit.analyzer.readers.source import SourceReader

    _is_evidence(SourceReader(DiskReader(path.parent)).evidence(catalog()))


def _patches(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
    from tailcall_audit.analyzer.readers.patches import read_patch_queue

    _is_evidence(iter(read_patch_queue(catalog(), DiskReader(path.parent), "6.1").evidence))


def _repository(path: Path) -> None:
    """In a worker, as the command reads it: libgit2 cannot be interrupted."""
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(trees=[str(path.parent)], catalog=catalog(), apart=True))


def _package(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.package_file import read_package

    package = read_package(str(path))
    assert package.name
    assert package.version
    for part in (package.changelog, package.config):
        assert part is None or isinstance(part[1], bytes)
    if package.image is not None:
        from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable

        assert package.bootable is not None
        assert isinstance(read_bootable(package.bootable), bytes)


def _index(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.packages_index import read_packages_index

    index = read_packages_index(path.read_bytes(), path.name)
    assert all(kernel.version and not kernel.is_file for kernel in index.kernels)


def _repodata(path: Path) -> None:
    from tailcall_audit.analyzer.subjects.repository import read_repository
    from tailcall_audit.analyzer.web.fetch import Fetcher

    found = read_repository(str(path.parent.parent), Fetcher(offline=True), lambda _: None)
    assert found.kernels
    assert all(kernel.is_rpm for kernel in found.kernels)


def _image(path: Path) -> None:
    from tailcall_audit.analyzer.readers.btf import btf_evidence
    from tailcall_audit.analyzer.subjects.image import load_image

    image = load_image(path.read_bytes(), path.name, lambda _: None)
    assert image.banner.startswith("Linux version ")
    for function in image.binary.functions(_NAMES).values():
        assert function.code
    image.binary.addresses(_NAMES)
    image.binary.symbol_at(0xFFFFFFFF81000010)
    if image.binary.btf is not None:
        _is_evidence(btf_evidence(catalog(), image.binary.btf, "x"))


def _audited_image(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(images=[str(path)], catalog=catalog(), emulate=False))


def _payload(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.compression import decompress, decompress_payload
    from tailcall_audit.analyzer.model import AuditError

    data = path.read_bytes()
    for read in (decompress_payload, decompress):
        try:
            assert len(read(data, "x", 4 << 20)) <= 4 << 20
        except AuditError:
            if read is decompress:
                raise


def _kallsyms(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.binary import Binary
    from tailcall_audit.analyzer.kernelfiles.containers import unpack

    binary = Binary(unpack(path.read_bytes(), path.name))
    for function in binary.functions(_NAMES).values():
        assert function.code
    binary.addresses(_NAMES)
    binary.symbol_at(0xFFFFFFFF81000010)


def _btf(path: Path) -> None:
    from tailcall_audit.analyzer.readers.btf import btf_evidence
    from tailcall_audit.probes.kernel.btf import Btf

    btf = Btf(path.read_bytes())
    assert len(btf) >= 1
    _is_evidence(btf_evidence(catalog(), btf, "x"))
    found = dict(islice(btf.types(), _TYPES))
    for number in found:
        for look in (btf.members, btf.resolve, btf.array):
            with suppress(BtfError):
                look(number)
    for name in {item.name for item in found.values()}:
        with suppress(BtfError):
            btf.parameters(name)
            btf.member(name, "owner")
            btf.enumerators(name)


def _system_map(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.system_map import read_system_map

    for address, size in read_system_map(path).values():
        assert address >= 0
        assert size > 0


def _catalogue(path: Path) -> None:
    loaded = load_catalog(path)
    assert isinstance(loaded, Catalog)
    for defect in loaded.defects:
        assert defect.slug


def _catalogue_folder(path: Path) -> None:
    from tailcall_audit.analyzer.catalog.files import read_catalog_folder

    root = next(parent for parent in path.parents if parent.name == "catalog")
    files = read_catalog_folder(root)
    assert all(complaint.line >= 1 and str(complaint) for complaint in files.complaints)


def _console(path: Path) -> None:
    from tailcall_audit.probes.defects.freplace_attached_panic import PROBE
    from tailcall_audit.probes.guest.boot import _read
    from tailcall_audit.probes.guest.console import oops, why_not
    from tailcall_audit.probes.guest.frames import parse

    data = path.read_bytes()
    frames = [found[1] for line in io.BytesIO(data) if (found := parse(line)) is not None]
    _read(frames, {"freplace-loop"})
    text = data.decode("utf-8", "replace")
    assert oops(PROBE, text, 1.0).detail
    assert why_not(text, "", None)


def _recognised(path: Path) -> None:
    from tailcall_audit.analyzer.app.recognise import recognise

    assert recognise(str(path)) in ("package", "image", "config", "repo", "changelog", "tree", "kernel")


def _nodes(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.nodes.read import read_nodes
    from tailcall_audit.analyzer.subjects.nodes import NodeKernel, group_nodes

    kernels = 0
    for item in group_nodes(catalog(), read_nodes(str(path)), "x"):
        if isinstance(item, NodeKernel):
            kernels += 1
            continue
        for _, place, why in item.nodes:
            assert (place is None) != (why is None)
            assert place is None or place < kernels


def _audited(path: Path, fleet: Fleet) -> None:
    """Audits what holds kernels, and checks the report."""
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(fleet=fleet, catalog=catalog(), only=("freplace-loop",), emulate=False))
    assert path.is_absolute()


def _text(path: Path) -> None:
    _audited(path, Fleet(texts=(str(path if path.name == "log" else path.parent),)))


def _above(path: Path, name: str) -> str:
    return str(next(parent for parent in path.parents if parent.name == name))


def _rootfs(path: Path) -> None:
    _audited(path, Fleet(roots=(_above(path, "root"),)))


def _oci(path: Path) -> None:
    _audited(path, Fleet(oci=(str(path) if path.suffix == ".tar" else _above(path, "image"),)))


def _disk(path: Path) -> None:
    _audited(path, Fleet(disks=(str(path),)))


def _survey(path: Path) -> None:
    from tailcall_audit.analyzer.formats.survey import render_survey, survey_as_json
    from tailcall_audit.analyzer.survey.store import Store

    path.parent.chmod(0o700)
    survey = Store(path.parent).read("stable")
    text = render_survey(survey, catalog())
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert survey_as_json(survey).isascii()


def _object(path: Path) -> None:
    from tailcall_audit.analyzer.programs.objects import read_object

    for found in read_object(str(path)):
        _check_programs(found)


def _bpftool(path: Path) -> None:
    from tailcall_audit.analyzer.programs.bpftool import read_bpftool

    _check_programs(read_bpftool(str(path.parent)))


def _check_programs(found: ProgramSet) -> None:
    """Everything that a set names is in it, and every place is one of a program."""
    assert len({item.key for item in found.programs}) == len(found.programs)
    for item in found.programs:
        names = {function.name for function in item.functions}
        assert len(names) == len(item.functions)
        assert [function.start for function in item.functions[1:]] == [function.end for function in item.functions[:-1]]
        for function in item.functions:
            assert 0 <= function.start <= function.end <= len(item.instructions)
            assert {call.callee for call in function.calls} <= names
            assert {call.callee for call in function.callbacks} <= names
            places = [
                *(call.instruction for call in function.calls),
                *(call.instruction for call in function.callbacks),
                *(call.instruction for call in function.helpers),
                *(call.instruction for call in function.tail_calls),
            ]
            assert all(function.start <= place < function.end for place in places)
            assert function.stack is None or function.stack >= 0
        assert all(0 <= index < len(item.instructions) for index in item.lines)
    for entry in found.maps:
        assert all(slot.program is None or found.program(slot.program) is not None for slot in entry.slots)


_REFUSED = (AuditError,)
_FILES = st.one_of(
    changelogs.changelog_cases(),
    kbuild.config_cases(),
    archives.deb_cases(),
    images.payload_cases(),
    indexes.index_cases(),
)
READERS = (
    FuzzedReader("release", releases.release_cases(), _release, _REFUSED, 400),
    FuzzedReader("changelog", changelogs.changelog_cases(), _changelog, _REFUSED, 250),
    FuzzedReader("config", kbuild.config_cases(), _config, _REFUSED, 600),
    FuzzedReader("makefile", kbuild.makefile_cases(), _makefile, _REFUSED, 400),
    FuzzedReader("source", csources.source_cases(), _source, _REFUSED, 250),
    FuzzedReader("patches", csources.patch_cases(), _patches, _REFUSED, 400),
    FuzzedReader("git", repositories.repository_cases(), _repository, _REFUSED, 40),
    FuzzedReader("deb", archives.deb_cases(), _package, _REFUSED, 600),
    FuzzedReader("rpm", archives.rpm_cases(), _package, _REFUSED, 600),
    FuzzedReader("packages-index", indexes.index_cases(), _index, _REFUSED, 600),
    FuzzedReader("repodata", indexes.repodata_cases(), _repodata, _REFUSED, 600),
    FuzzedReader("object", objects.object_cases(), _object, _REFUSED, 400),
    FuzzedReader("bpftool", objects.bpftool_cases(), _bpftool, _REFUSED, 250),
    FuzzedReader("nodes", fleets.nodes_cases(), _nodes, _REFUSED, 500),
    FuzzedReader("text", fleets.text_cases(), _text, _REFUSED, 200),
    FuzzedReader("rootfs", fleets.root_cases(), _rootfs, _REFUSED, 150),
    FuzzedReader("oci", fleets.oci_cases(), _oci, _REFUSED, 150),
    FuzzedReader("disk", fleets.disk_cases(), _disk, _REFUSED, 150),
    FuzzedReader("survey", fleets.survey_cases(), _survey, _REFUSED, 200),
    FuzzedReader("image", images.image_cases(), _image, _REFUSED, 500),
    FuzzedReader("audited-image", images.image_cases(), _audited_image, _REFUSED, 100),
    FuzzedReader("payload", images.payload_cases(), _payload, _REFUSED, 600),
    FuzzedReader("kallsyms", images.kallsyms_cases(), _kallsyms, _REFUSED, 150),
    FuzzedReader("btf", btf_types.btf_cases(), _btf, (BtfError,), 600),
    FuzzedReader("system-map", releases.system_map_cases(), _system_map, _REFUSED, 400),
    FuzzedReader("catalogue", catalogues.catalogue_cases(), _catalogue, _REFUSED, 60),
    FuzzedReader("catalogue-folder", catalogues.catalogue_folder_cases(), _catalogue_folder, _REFUSED, 60),
    FuzzedReader("console", guests.console_cases(), _console, (), 400),
    FuzzedReader("recognise", _FILES, _recognised, _REFUSED, 300),
)
