"""A source that ends its process, or eats time and memory, costs its own answer only."""

from __future__ import annotations

import faulthandler
import io
import os
import pickle
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailcall_audit import Catalog, audit
from tailcall_audit.analyzer.limits import LIMITS, Limits, limits_of
from tailcall_audit.analyzer.model import AuditError, Skipped, State, TargetReport
from tailcall_audit.analyzer.worker import judge_apart
from tests.untouched import take_untouched_memory

Progress = Callable[[str], None]
Items = Iterator[TargetReport | Skipped]
AMPLE = Limits(processor=120, clock=1200, memory=300)
"""More time than any of these takes on a busy machine: a test of one limit sets that one alone."""


def run(judge: Callable[[Progress], Items], catalog: Catalog, limits: Limits = AMPLE) -> list[TargetReport | Skipped]:
    return list(judge_apart(judge, limits, catalog, lambda _: None))


def test_reports_come_back_as_they_were(catalog: Catalog) -> None:
    report = audit(kernels=["6.1.170"], arch="x86_64", catalog=catalog).targets[0]
    seen: list[str] = []

    def judge(progress: Progress) -> Items:
        progress("reading \N{SNOWMAN}")
        yield report
        yield Skipped("that", "why")

    assert list(judge_apart(judge, AMPLE, catalog, seen.append)) == [report, Skipped("that", "why")]
    assert seen == ["reading \N{SNOWMAN}"]


def test_members_of_enums_come_back_on_every_python(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.2 of Debian 12 writes them by getattr, which the reader refuses: there no audit had a report."""

    def as_in_3_11_2(self: State, _: int) -> tuple[object, tuple[object, str]]:
        return getattr, (type(self), self.name)

    monkeypatch.setattr(State, "__reduce_ex__", as_in_3_11_2)
    report = audit(kernels=["6.1.170"], arch="x86_64", catalog=catalog).targets[0]
    (back,) = run(lambda _: iter([report]), catalog)
    assert back == report


def test_an_error_of_ours_keeps_its_words(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        yield Skipped("first", "row")
        raise AuditError("broken: offset 12")

    with pytest.raises(AuditError, match="broken: offset 12"):
        run(judge, catalog)


def test_a_file_that_is_removed_meanwhile_is_named(catalog: Catalog, tmp_path: Path) -> None:
    def judge(_: Progress) -> Items:
        (tmp_path / "gone").read_bytes()
        yield Skipped("never", "")

    with pytest.raises(AuditError, match="/gone: No such file or directory"):
        run(judge, catalog)


def test_an_endless_loop_ends_at_the_limit(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        while True:
            pass
        yield

    with pytest.raises(AuditError, match="more than 1 s of processor time"):
        run(judge, catalog, AMPLE._replace(processor=1))


def test_waiting_without_end_ends_at_the_limit(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        time.sleep(1000)
        yield Skipped("", "")

    with pytest.raises(AuditError, match=r"more than 1 s$"):
        run(judge, catalog, AMPLE._replace(clock=1))


def fill(_: Progress) -> Items:
    yield Skipped("x", str(take_untouched_memory()))


def test_memory_without_end_ends_at_the_limit(catalog: Catalog) -> None:
    with pytest.raises(AuditError, match=r"more than 300 MiB of memory$"):
        run(fill, catalog)


def test_a_library_that_crashes_is_a_reason(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        faulthandler.disable()  # pytest's would print this process's calls between the results of the tests
        os.kill(os.getpid(), signal.SIGSEGV)
        yield Skipped("", "")

    with pytest.raises(AuditError, match="ended by SIGSEGV"):
        run(judge, catalog)


class _Touch:
    """What a worker that was taken over could send: unpickled without care, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("answer", ["pickle", "size", "cut", "class"])
def test_an_answer_that_is_no_report_is_not_believed(
    catalog: Catalog, tmp_path: object, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"{tmp_path}/made"
    data = pickle.dumps(_Touch(target)) if answer == "pickle" else pickle.dumps(io.BytesIO())
    size = 1 << 40 if answer == "size" else len(data)

    def work(writer: int, *_: object) -> None:
        message = struct.pack("<cQ", b"i", size) + data
        os.write(writer, message[:-1] if answer == "cut" else message)

    monkeypatch.setattr("tailcall_audit.analyzer.worker._work", work)
    with pytest.raises(AuditError, match="gave no report"):
        run(lambda _: iter(()), catalog)
    assert not os.path.exists(target)


def test_every_opener_has_its_limits() -> None:
    import pkgutil
    from importlib import import_module

    import tailcall_audit.analyzer.subjects as package

    openers = {
        entry.name
        for entry in pkgutil.iter_modules(package.__path__)
        if hasattr(import_module(f"{package.__name__}.{entry.name}"), "open_subjects")
    }
    assert openers - {"release"} <= LIMITS.keys()
    # Lists of nodes and BPF programs are no subjects: the modules fleet and exposing open them.
    assert LIMITS.keys() - openers == {"nodes", "programs"}


def sparse(path: Path, size: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return str(path)


MB = 1_000_000


@pytest.mark.parametrize("opener", sorted(LIMITS.keys() - {"host", "installed"}))
def test_a_small_input_has_small_limits(opener: str, tmp_path: Path) -> None:
    """No input under 1 MB takes more than 5 s or 512 MB, none under 100 MB more than 60 s or 1 GB."""
    small, medium = (
        limits_of(opener, sparse(tmp_path / name, size)) for name, size in (("a", MB - 1), ("b", 100 * MB - 1))
    )
    large = limits_of(opener, sparse(tmp_path / "c", 200 * MB))
    assert (small.processor, small.memory) <= (5, 512)
    assert medium.processor <= 60
    assert medium.memory <= 1024
    assert large == LIMITS[opener]
    assert all(one <= other for one, other in zip(small[:3], medium[:3], strict=True))
    # A process that the worker starts has limits of its own.
    assert small.most == large.memory


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    sparse(tmp_path / "tree/kernel/a.c", 600_000)
    assert limits_of("tree", str(tmp_path / "tree")).processor == 5
    sparse(tmp_path / "tree/kernel/b.c", 600_000)
    assert limits_of("tree", str(tmp_path / "tree")).processor == 60
    sparse(tmp_path / "tree/.git/objects/pack/x.pack", 2_000 * MB)
    assert limits_of("tree", str(tmp_path / "tree")) == LIMITS["tree"]


def test_a_part_of_a_tree_has_the_limits_of_the_tree(tmp_path: Path) -> None:
    sparse(tmp_path / "tree/Makefile", 1000)
    sparse(tmp_path / "tree/kernel/bpf/Makefile", 1000)
    part = str(tmp_path / "tree/kernel/bpf")
    assert limits_of("tree", part).processor == 5
    sparse(tmp_path / "tree/mm/x.c", 200 * MB)
    assert limits_of("tree", part) == limits_of("tree", str(tmp_path / "tree")) == LIMITS["tree"]


@pytest.mark.parametrize("pointer", [".git", ".git/objects/info/alternates", "objects/info/alternates"])
def test_a_tree_whose_history_is_elsewhere_has_the_limits_of_any_size(pointer: str, tmp_path: Path) -> None:
    sparse(tmp_path / "tree" / pointer, 100)
    assert limits_of("tree", str(tmp_path / "tree")) == LIMITS["tree"]


def test_what_is_no_file_here_has_the_limits_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for opener, name in (
        ("changelog", "-"),
        ("changelog", "https://example.org/changelog"),
        ("package", "linux-image-amd64"),
        ("host", ""),
        ("tree", "a\0b"),
    ):
        assert limits_of(opener, name) == LIMITS[opener]
    # What a metapackage depends on is read too.
    assert limits_of("package", sparse(tmp_path / "x.deb", 2000)).processor == 60
    monkeypatch.setenv("HOME", str(tmp_path))
    assert limits_of("package", "~/x.deb").processor == 60


def test_the_reason_names_the_limit_and_for_whom_it_is(tmp_path: Path, catalog: Catalog) -> None:
    limits = limits_of("config", sparse(tmp_path / "config", 10))._replace(clock=1200)

    def spin(_: Progress) -> Items:
        while True:
            pass
        yield

    with pytest.raises(AuditError, match=r"more than 1 s of processor time, the limit of an input under 1 MB$"):
        run(spin, catalog, limits._replace(processor=1))
    with pytest.raises(AuditError, match=r"more than 512 MiB of memory, the limit of an input under 1 MB$"):
        run(fill, catalog, limits._replace(processor=120))
