"""Writes `catalog/surveys/debian.json` from Debian's kernel changelogs: ``python -m tools.debian_survey CHANGELOG…
[--packages FILE…]``.

Debian's ABI numbers (``6.1.0-47-amd64``) name packages: a changelog says "Bump ABI to N" in the entry that does so, and
the package lists of a mirror name packages with their versions. Together they give the packages that a number may name.
A number whose range is open is left out: another upload may have it, until a later number is known.

The same changelogs say which commits of the catalogue Debian lists in a series that was read from its first entry to
its last.

The changelogs: ``apt-get download linux-libc-dev=VERSION`` in each suite, and in it
usr/share/doc/linux-libc-dev/changelog*.gz.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.debian import parse_debian
from tailcall_audit.analyzer.kernelfiles.changelog.detect import read_changelog
from tailcall_audit.analyzer.kernelfiles.compression import decompress
from tailcall_audit.analyzer.subjects.open_changelog import open_changelog
from tailcall_audit.analyzer.survey.packages import survey_changelogs
from tailcall_audit.analyzer.survey.types import Series, State

_HEADER = re.compile(r"linux(?:-\d+\.\d+)? \((?P<version>(?P<series>\d+\.\d+)\S*)\) (?P<suite>[\w-]+);", re.ASCII)
_ABI = re.compile(r" *\* +(?:Bump|Set) ABI to (\d+|trunk)\b", re.ASCII)
_PACKAGE = re.compile(
    r"^Package: linux-image-(?P<series>\d+\.\d+)\.0-(?P<abi>\d+)-\S+\n(?:[^\n]+\n)*?Version: (?P<version>\S+)",
    re.MULTILINE | re.ASCII,
)
_MAX_BYTES = 256 << 20
_BACKPORT = re.compile(r"~(?:bpo|deb)\d", re.ASCII)


class Upload(NamedTuple):
    """An entry of a changelog: its version, the ABI number that it sets, and the commit subjects that it lists."""

    version: str
    abi: str | None
    subjects: frozenset[str]


def _text(path: Path) -> str:
    return decompress(path.read_bytes(), str(path), _MAX_BYTES).decode("utf-8", "replace")


def read_uploads(text: str, path: str) -> Iterator[tuple[str, Upload]]:
    """Yields every upload of a changelog with its series, newest first as in the file. Leaves out backports of other
    uploads.
    """
    subjects = {
        entry.version: frozenset(item.subject for item in entry.items) for entry in parse_debian(text, path).entries
    }
    found: list[tuple[str, str, str | None]] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            found.append((header["series"], header["version"], None))
        elif found and (bump := _ABI.match(line)):
            found[-1] = (*found[-1][:2], bump.group(1))
    for series, version, abi in found:
        if not _BACKPORT.search(version):
            yield series, Upload(version, abi, subjects.get(version, frozenset()))


def merge(changelogs: Iterable[list[tuple[str, Upload]]]) -> dict[str, list[Upload]]:
    """Returns the uploads of each series, oldest first. The longest list wins if several changelogs have a series."""
    merged: dict[str, list[Upload]] = {}
    for uploads in changelogs:
        by_series: dict[str, list[Upload]] = {}
        for series, upload in uploads:
            by_series.setdefault(series, []).insert(0, upload)
        for series, listed in by_series.items():
            if len(listed) > len(merged.get(series, ())):
                merged[series] = listed
    return merged


def whole_series(uploads: list[tuple[str, Upload]]) -> set[str]:
    """Returns the series of one changelog that have entries of other series on both sides: those are complete."""
    order = list(dict.fromkeys(series for series, _ in uploads))
    return set(order[1:-1])


def _numbers(uploads: list[Upload], seen: dict[str, int]) -> list[int | None]:
    """Returns the ABI number of each upload, if a changelog states it or a package list shows it; otherwise None.

    An upload without a stated number keeps the previous number, up to the last stated one. Raises ValueError if a
    number does not stay the same or rise by one: `packages_of_abi` relies on that.
    """
    stated = max((index for index, upload in enumerate(uploads) if upload.abi), default=-1)
    current: int | None = None
    found = []
    for index, upload in enumerate(uploads):
        if upload.abi is not None:
            number = int(upload.abi) if upload.abi.isdigit() else None
            if current and number is not None and number - current not in (0, 1):
                raise ValueError(f"{upload.version}: its ABI number {number} comes after {current}")
            current = number
        found.append(seen.get(upload.version, current if index <= stated else None))
    return found


def packages_of_abi(uploads: list[Upload], seen: dict[str, int]) -> dict[str, list[str]]:
    """Returns the packages that each ABI number may name, oldest first. Leaves out numbers that another package may
    still get.

    `seen` maps versions in a mirror's package lists to their numbers. A number rises by at most one from one upload to
    the next (all stated numbers do), so two known numbers bound those between them.
    """
    known = _numbers(uploads, seen)
    found: dict[str, list[str]] = {}
    for index, upload in enumerate(uploads):
        before = next(((number, index - at) for at in range(index, -1, -1) if (number := known[at]) is not None), None)
        after = next(
            ((number, at - index) for at in range(index, len(known)) if (number := known[at]) is not None), None
        )
        if before is None or after is None:
            continue
        low = max(before[0], after[0] - after[1])
        high = min(after[0], before[0] + before[1])
        for number in range(low, high + 1):
            found.setdefault(str(number), []).append(upload.version)
    newest = max((number for number in known if number is not None), default=0)
    return {number: versions for number, versions in found.items() if 0 < int(number) < newest}


def _claimed(catalog: Catalog, changelogs: list[Path]) -> set[tuple[str, str]]:
    """Returns the series and the commits that it lists, as an audit reads the changelogs: Debian writes
    "[s390x] bpf: …" for "s390/bpf: …".
    """
    opened = [open_changelog(catalog, read_changelog(str(path))) for path in changelogs]
    claims = survey_changelogs(catalog, opened, "", "").claims
    return {
        (Series.from_text(claim.series).base, claim.commit)
        for claim in claims
        if claim.series is not None and claim.state is not State.ABSENT_THROUGH
    }


def survey(catalog: Catalog, changelogs: list[Path], packages: list[Path]) -> dict[str, object]:
    """Returns the survey as JSON data."""
    read = [list(read_uploads(_text(path), str(path))) for path in changelogs]
    whole = set().union(*map(whole_series, read))
    seen: dict[str, dict[str, int]] = {}
    for path in packages:
        for match in _PACKAGE.finditer(_text(path)):
            if not _BACKPORT.search(match["version"]):
                seen.setdefault(match["series"], {})[match["version"]] = int(match["abi"])
    claimed = _claimed(catalog, changelogs)
    series: dict[str, object] = {}
    for name, uploads in sorted(merge(read).items(), key=lambda item: tuple(map(int, item[0].split(".")))):
        listed = frozenset().union(*(upload.subjects for upload in uploads))
        series[name] = {
            "abi": packages_of_abi(uploads, seen.get(name, {})),
            "whole": name in whole,
            "lists": sorted(
                key for key, commit in catalog.commits.items() if commit.subject in listed or (name, key) in claimed
            ),
        }
    newest = ", ".join(sorted(uploads[0][1].version for uploads in read if uploads))
    return {"source": f"Debian's changelogs of linux through {newest}", "series": series}


def main() -> None:
    """Reads the files named on the command line and writes the survey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changelogs", nargs="+", type=Path, metavar="CHANGELOG")
    parser.add_argument(
        "--packages", nargs="*", type=Path, default=[], metavar="FILE", help="Packages lists of a mirror"
    )
    parser.add_argument("--output", type=Path, default=Path("catalog/surveys/debian.json"), metavar="FILE")
    options = parser.parse_args()
    content = survey(load_catalog(), options.changelogs, options.packages)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
