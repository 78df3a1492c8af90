"""The tables of the mutation lab: what was written is read again, and a line that was cut off is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.mutation.judges import SLUGS
from bench.mutation.records import Key, Seen, Table
from bench.mutation.summary import differences, summary
from tailcall_audit.analyzer.model import State


def key(address: str, function: str = "prog_fd_array_get_ptr") -> Key:
    return Key("6.12.117", "0123", function, address, "jne never")


def table(path: Path) -> Table[Seen]:
    return Table(path, SLUGS, Seen)


def all_of(state: Seen, **others: Seen) -> dict[str, Seen]:
    return {slug: others.get(slug.replace("-", "_"), state) for slug in SLUGS}


def test_a_run_that_was_interrupted_goes_on_with_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "new" / "guests.tsv"
    table(path).add(key("0x1"), all_of(Seen.ABSENT), "a remark\nof two lines")
    table(path).add(key("0x2"), all_of(Seen.PRESENT))
    with path.open("a") as file:
        file.write("6.12.117\t0123\tprog_fd_ar")
    both = {key("0x1"): all_of(Seen.ABSENT), key("0x2"): all_of(Seen.PRESENT)}
    assert table(path).rows == both
    table(path).add(key("0x3"), all_of(Seen.UNREACHED))
    assert table(path).rows == both | {key("0x3"): all_of(Seen.UNREACHED)}


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guests.tsv"
    path.write_text("another\ttable\n")
    with pytest.raises(ValueError, match="move it away"):
        table(path)


def test_the_summary_counts_what_the_code_called_safe_and_the_guest_showed(tmp_path: Path) -> None:
    guests = table(tmp_path / "guests.tsv")
    code: Table[State] = Table(tmp_path / "code.tsv", SLUGS, State)
    shown = all_of(Seen.ABSENT, freplace_loop=Seen.PRESENT)
    for address, state in (("0x1", State.FIXED), ("0x2", State.NOT_AFFECTED), ("0x3", State.UNKNOWN)):
        guests.add(key(address), shown)
        code.add(key(address), dict.fromkeys(SLUGS, state))
    # A function that the signature of pitfall 6 does not read counts for others only.
    guests.add(key("0x4", "do_jit"), shown)
    code.add(key("0x4", "do_jit"), dict.fromkeys(SLUGS, State.FIXED))
    lines, holes = summary(guests, table(tmp_path / "frozen.tsv"), {"code": code})
    (line,) = [line.split() for line in lines if "freplace-loop" in line]
    assert line == ["6.12.117", "freplace-loop", "3", "3", "3", "0", "2/3", "0/0"]
    assert holes == 2


def test_a_boot_from_the_start_counts_before_the_frozen_guest_and_both_are_compared(tmp_path: Path) -> None:
    booted, frozen = table(tmp_path / "guests.tsv"), table(tmp_path / "frozen.tsv")
    booted.add(key("0x1"), all_of(Seen.ABSENT, freplace_loop=Seen.PRESENT))
    frozen.add(key("0x1"), all_of(Seen.ABSENT))
    frozen.add(key("0x2"), all_of(Seen.ABSENT, freplace_loop=Seen.PRESENT))
    frozen.add(key("0x3"), all_of(Seen.COULD_NOT_RUN))
    assert list(differences(booted, frozen)) == [(key("0x1"), "freplace-loop", Seen.PRESENT, Seen.ABSENT)]
    lines, holes = summary(booted, frozen, {})
    (line,) = [line.split() for line in lines if line.split()[1] == "freplace-loop"]
    assert line == ["6.12.117", "freplace-loop", "3", "2", "2", "0"]
    assert holes == 0


def test_the_remarks_of_a_table_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "frozen.tsv"
    table(path).add(key("0x1"), all_of(Seen.ABSENT), "what is changed does not run")
    assert table(path).remarks == {key("0x1"): "what is changed does not run"}
