"""A source that ends its process, or eats time and memory, costs its own answer only."""

from __future__ import annotations

import io
import os
import pickle
import signal
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tailcall_audit import Catalog, audit
from tailcall_audit.analyzer.model import AuditError, Skipped, TargetReport
from tailcall_audit.analyzer.worker import LIMITS, Limits, judge_apart

Progress = Callable[[str], None]
Items = Iterator[TargetReport | Skipped]
FEW = Limits(processor=1, clock=30, memory=300)


def run(judge: Callable[[Progress], Items], catalog: Catalog, limits: Limits = FEW) -> list[TargetReport | Skipped]:
    return list(judge_apart(judge, limits, catalog, lambda _: None))


def test_reports_come_back_as_they_were(catalog: Catalog) -> None:
    report = audit(kernels=["6.1.170"], arch="x86_64", catalog=catalog).targets[0]
    seen: list[str] = []

    def judge(progress: Progress) -> Items:
        progress("reading \N{SNOWMAN}")
        yield report
        yield Skipped("that", "why")

    assert list(judge_apart(judge, FEW, catalog, seen.append)) == [report, Skipped("that", "why")]
    assert seen == ["reading \N{SNOWMAN}"]


def test_an_error_of_ours_is_told_in_its_words(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        yield Skipped("first", "row")
        raise AuditError("broken: offset 12")

    with pytest.raises(AuditError, match="broken: offset 12"):
        run(judge, catalog)


def test_an_endless_loop_ends_at_the_limit(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        while True:
            pass
        yield

    with pytest.raises(AuditError, match="more than 1 s of processor time"):
        run(judge, catalog)


def test_waiting_without_end_ends_at_the_limit(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        time.sleep(1000)
        yield Skipped("", "")

    with pytest.raises(AuditError, match="more than 1 s"):
        run(judge, catalog, Limits(processor=10, clock=1, memory=300))


def test_memory_without_end_ends_at_the_limit(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
        kept = []
        while True:
            kept.append(bytearray(16 << 20))
        yield

    with pytest.raises(AuditError, match="more than 300 MiB of memory"):
        run(judge, catalog, Limits(processor=20, clock=60, memory=300))


def test_a_library_that_crashes_is_a_reason(catalog: Catalog) -> None:
    def judge(_: Progress) -> Items:
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
    assert openers - {"release"} == LIMITS.keys()
