"""Calls of the readers, with what must hold of each answer."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Evidence, Presence, Report
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.analyzer.subjects.subject import Fleet
from tailcall_audit.probes.kernel.btf import BtfError

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


def check_release(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(kernels=[path.read_bytes().decode("utf-8", "replace")], catalog=catalog()))


def check_changelog(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(changelog=str(path), catalog=catalog()))


def check_config(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.kconfig import read_config

    config = read_config(path)
    for option in ("BPF_SYSCALL", "BPF_JIT", "X"):
        value = config.value(option)
        assert 0 <= value.low <= value.high <= 2


def check_makefile(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.makefile import is_kernel_tree, read_identity
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader

    reader = DiskReader(path.parent)
    assert isinstance(is_kernel_tree(reader), bool)
    identity = read_identity(reader)
    assert identity is None or identity.version is None or identity.version.branch


def check_source(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
    from tailcall_audit.analyzer.readers.source import SourceReader

    _is_evidence(SourceReader(DiskReader(path.parent)).evidence(catalog()))


def check_patches(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader
    from tailcall_audit.analyzer.readers.patches import read_patch_queue

    _is_evidence(iter(read_patch_queue(catalog(), DiskReader(path.parent), "6.1").evidence))


def check_repository(path: Path) -> None:
    """In a worker, as the command reads it: libgit2 cannot be interrupted."""
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(trees=[str(path.parent)], catalog=catalog(), apart=True))


def check_package(path: Path) -> None:
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


def check_index(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.packages_index import read_packages_index

    index = read_packages_index(path.read_bytes(), path.name)
    assert all(kernel.version and not kernel.is_file for kernel in index.kernels)


def check_repodata(path: Path) -> None:
    from tailcall_audit.analyzer.subjects.repository import read_repository
    from tailcall_audit.analyzer.web.fetch import Fetcher

    found = read_repository(str(path.parent.parent), Fetcher(offline=True), lambda _: None)
    assert found.kernels
    assert all(kernel.is_rpm for kernel in found.kernels)


def check_image(path: Path) -> None:
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


def check_audited_image(path: Path) -> None:
    from tailcall_audit.analyzer.pipeline import audit

    check_audit(audit(images=[str(path)], catalog=catalog(), emulate=False))


def check_payload(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.compression import decompress, decompress_payload

    data = path.read_bytes()
    for read in (decompress_payload, decompress):
        try:
            assert len(read(data, "x", 4 << 20)) <= 4 << 20
        except AuditError:
            if read is decompress:
                raise


def check_kallsyms(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.binary import Binary
    from tailcall_audit.analyzer.kernelfiles.containers import unpack

    binary = Binary(unpack(path.read_bytes(), path.name))
    for function in binary.functions(_NAMES).values():
        assert function.code
    binary.addresses(_NAMES)
    binary.symbol_at(0xFFFFFFFF81000010)


def check_btf(path: Path) -> None:
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


def check_system_map(path: Path) -> None:
    from tailcall_audit.analyzer.kernelfiles.system_map import read_system_map

    for address, size in read_system_map(path).values():
        assert address >= 0
        assert size > 0


def check_catalogue(path: Path) -> None:
    loaded = load_catalog(path)
    assert isinstance(loaded, Catalog)
    for defect in loaded.defects:
        assert defect.slug


def check_catalogue_folder(path: Path) -> None:
    from tailcall_audit.analyzer.catalog.files import read_catalog_folder

    root = next(parent for parent in path.parents if parent.name == "catalog")
    files = read_catalog_folder(root)
    assert all(complaint.line >= 1 and str(complaint) for complaint in files.complaints)


def check_console(path: Path) -> None:
    from tailcall_audit.probes.defects.freplace_attached_panic import PROBE
    from tailcall_audit.probes.guest.console import oops, why_not
    from tailcall_audit.probes.guest.frames import parse
    from tailcall_audit.probes.guest.results import read_frames

    data = path.read_bytes()
    frames = [found[1] for line in io.BytesIO(data) if (found := parse(line)) is not None]
    read_frames(frames, {"freplace-loop"})
    text = data.decode("utf-8", "replace")
    assert oops(PROBE, text, 1.0).detail
    assert why_not(text, "", None)


def check_recognised(path: Path) -> None:
    from tailcall_audit.analyzer.app.recognise import recognise

    assert recognise(str(path)) in ("package", "image", "config", "repo", "changelog", "tree", "kernel")


def check_nodes(path: Path) -> None:
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


def check_text(path: Path) -> None:
    _audited(path, Fleet(texts=(str(path if path.name == "log" else path.parent),)))


def _above(path: Path, name: str) -> str:
    return str(next(parent for parent in path.parents if parent.name == name))


def check_rootfs(path: Path) -> None:
    _audited(path, Fleet(roots=(_above(path, "root"),)))


def check_oci(path: Path) -> None:
    _audited(path, Fleet(oci=(str(path) if path.suffix == ".tar" else _above(path, "image"),)))


def check_disk(path: Path) -> None:
    _audited(path, Fleet(disks=(str(path),)))


def check_survey(path: Path) -> None:
    from tailcall_audit.analyzer.formats.survey import render_survey, survey_as_json
    from tailcall_audit.analyzer.survey.store import Store

    path.parent.chmod(0o700)
    survey = Store(path.parent).read("stable")
    text = render_survey(survey, catalog())
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert survey_as_json(survey, catalog()).isascii()


def check_object(path: Path) -> None:
    from tailcall_audit.analyzer.programs.objects import read_object

    for found in read_object(str(path)):
        _check_programs(found)


def check_bpftool(path: Path) -> None:
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
