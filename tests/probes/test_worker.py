"""The worker of a guest: one process for many probes, and what becomes of one that dies. No probe here calls bpf(2)."""

from __future__ import annotations

import os
import signal

import pytest

from tailcall_audit.probes.guest.worker import Worker
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, InconclusiveError, Probe, Result
from tests.probes.failing import die, hang


def _process(_: Bpf) -> Result:
    return Result(PRESENT, str(os.getpid()))


def _unsure(_: Bpf) -> Result:
    raise InconclusiveError("why")


def _leave(_: Bpf) -> Result:
    raise SystemExit(3)


def _fail(_: Bpf) -> Result:
    raise MemoryError("x")


def _long(_: Bpf) -> Result:
    return Result(ABSENT, "\udcff\x1b[31m" + "x" * 500_000)


SOUND, UNSURE, HANG, DIE, LEAVE, FAIL, LONG = PROBES = tuple(
    Probe(run.__name__, "nothing", run) for run in (_process, _unsure, hang, die, _leave, _fail, _long)
)


def test_probes_share_a_process() -> None:
    worker = Worker(PROBES)
    first, second = worker.run(SOUND), worker.run(SOUND)
    assert first == second
    assert first.state == PRESENT
    assert first.detail != str(os.getpid())
    assert worker.run(UNSURE) == Result(COULD_NOT_RUN, "why", False)
    assert worker.run(FAIL).detail == "internal error: MemoryError: x"
    assert worker.run(SOUND) == first
    worker.close()


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (HANG, "no answer within 3 s"),
        (DIE, f"its process was killed by signal {int(signal.SIGKILL)}"),
        (LEAVE, "its process ended with 1 and no answer"),
    ],
    ids=["hangs", "is killed", "exits"],
)
def test_a_process_that_is_lost_costs_one_result_and_is_replaced(lost: Probe, words: str) -> None:
    # A busy machine takes a part of a second for the sound probe, which has the same limit.
    worker = Worker(PROBES, limit=3.0)
    before = worker.run(SOUND)
    assert worker.run(lost) == Result(COULD_NOT_RUN, words, False)
    after = worker.run(SOUND)
    assert after.state == PRESENT
    assert after.detail != before.detail
    with pytest.raises(ProcessLookupError):
        os.kill(int(before.detail), 0)
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(after.detail), 0)


def test_a_detail_of_any_length_and_with_any_sign_arrives() -> None:
    worker = Worker(PROBES)
    result = worker.run(LONG)
    assert result.state == ABSENT
    assert len(result.detail) >= 500_000
    assert worker.run(SOUND).state == PRESENT
    worker.close()


def test_what_prepares_a_process_runs_once_in_each() -> None:
    calls: list[int] = []
    worker = Worker(
        (Probe("calls", "nothing", lambda _: Result(PRESENT, str(len(calls)))), DIE), prepare=lambda: calls.append(1)
    )
    counting = worker._probes[0]
    assert [worker.run(counting).detail, worker.run(counting).detail] == ["1", "1"]
    worker.run(DIE)
    assert worker.run(counting).detail == "1"
    assert calls == []
    worker.close()


def test_a_worker_starts_no_process_before_its_first_probe_and_ends_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    end = Worker._end

    def noted(worker: Worker) -> int | None:
        ended.append(worker._child)
        return end(worker)

    monkeypatch.setattr(Worker, "_end", noted)
    worker = Worker(PROBES)
    worker.close()
    assert ended == []
    process = int(worker.run(SOUND).detail)
    worker.close()
    worker.close()
    assert ended == [process]
