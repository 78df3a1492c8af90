"""Finds a kernel's version number in a line of text, and rejects numbers that only look like one.

Kernels write it after ``Linux version``, in a line of ``uname``, and in an oops before the build number. Tools write it
after ``Kernel Version:``, in a column of a node table, and in file and package names. An address, or the version of a
kubelet, a distribution, Docker or another system, is not a kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = [
    "Candidate",
    "Place",
    "build_of",
    "clean_line",
    "find_candidates",
    "is_other_system",
    "only_candidate",
    "release_of_word",
]

_RELEASE = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?:-rc(\d{1,4}))?(?![0-9])", re.ASCII)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]", re.ASCII)
# A compiler, a linker or a library is named in these lines too, with versions that look like a kernel's.
_PARENTHESES = re.compile(r"\((?:[^()]|\([^()]*\))*\)")
_JSON = re.compile(r"[\"{}]|(?<=\"),")
_REST = re.compile(r"(?:[-._+~][^\s:/@|<>()]*)?")
_DOTTED_NUMBERS = re.compile(r"(?:\.\d+)+", re.ASCII)
_FILE_PREFIX = re.compile(
    r"(?:vmlinu[xz]|bzImage|Image|initrd\.img|initramfs|config|System\.map"
    r"|linux-(?:signed-)?(?:image|headers|modules|modules-extra|binary|source|image-unsigned)"
    r"|kernel(?:-(?:core|default|uek|uek-core|rt|rt-core|64k|64k-core|debug|debug-core|lt|ml|azure|modules))?"
    r"|(?:proxmox|pve)-kernel)-(?=v?\d)",
    re.ASCII,
)
_AROUND = "\"'`<>[]{}*,;:!?|\u201c\u201d\u2018\u2019"
_RUNTIME = re.compile(r"(?:containerd|cri-o|docker|rkt|cri-dockerd|garden|frakti)://", re.ASCII)
_BUILD_NUMBER = re.compile(r"#\d", re.ASCII)
_OTHER_SYSTEMS = re.compile(
    r"(?:^|[\s:=\"'])(?:Darwin|FreeBSD|NetBSD|OpenBSD|DragonFly|SunOS|AIX|HP-UX|VMkernel|VMware ESXi|ESXi|Microsoft Windows|Windows"
    r"|CYGWIN_NT\S*|MINGW\d+_NT\S*|MSYS_NT\S*|Haiku|Minix|QNX|Fuchsia)(?=[\s\d]|$)",
    re.ASCII,
)
_LABEL = re.compile(
    r"(?:^|\W)(?:tested |running |linux )?kernel(?:[ _-]?(?:version|release))?[\"']?+\s*+[:=]?+\s*+[\"']?$",
    re.IGNORECASE,
)
_TOOL_WORDS = frozenset(
    ("gcc", "clang", "ld", "lld", "binutils", "rustc", "llvm", "glibc", "musl", "systemd", "openssl", "version")
)
# The words beside a release in ``uname -sr``, ``-rm``, ``-srm``, ``-rmo``, ``-ro`` and the like.
_UNAME_WORDS = re.compile(
    r"Linux|GNU/Linux|Android|Toybox|unknown|SMP|PREEMPT\w*|x86_64|amd64|i[3-6]86|aarch64|arm64|armv\d\w*|riscv64|s390x|ppc64(?:le|el)?|loongarch64|loong64|mips\w*|uname:?|\$|-\w+:?",
    re.ASCII,
)


class Place(IntEnum):
    """How sure it is that a number is a kernel's."""

    BARE = 1
    """Only the number's range suggests a kernel."""
    FORM = 2
    """A known distribution writes its releases like this."""
    KERNEL = 3
    """It is in a place for a kernel's number."""


class Candidate(NamedTuple):
    """A word that may be a kernel's release: the version, what follows it, and where it was found (an offset in the
    line).
    """

    word: str
    version: UpstreamVersion
    rest: str
    place: Place
    start: int


def clean_line(text: str) -> str:
    """A line without terminal colours and with single spaces."""
    return " ".join(_COLOURS.sub("", text).split())


def build_of(line: str) -> str | None:
    """Returns the build string (``uname -v``) in a line of ``uname -a``, without the text after it; None if there is
    none.
    """
    match = _BUILD_NUMBER.search(line)
    if match is None:
        return None
    words = line[match.start() :].split()
    while len(words) > 1 and _UNAME_WORDS.fullmatch(words[-1]) and not words[-1].startswith(("SMP", "PREEMPT")):
        words.pop()
    return " ".join(words)


def is_other_system(line: str) -> bool:
    """Returns True if a line is about another operating system, whose version numbers look like Linux's."""
    return _OTHER_SYSTEMS.search(line) is not None and "Linux version" not in line and not line.startswith("Linux ")


def release_of_word(word: str) -> tuple[str, UpstreamVersion, str] | None:
    """Returns the release in a word, without surrounding quotes, punctuation, path, file name or package name."""
    plain = word.strip(_AROUND).rstrip(".")
    plain = re.split(r"[\"'=]", plain)[-1].rsplit("/", 1)[-1]
    plain = _FILE_PREFIX.sub("", plain, count=1)
    match = _RELEASE.match(plain)
    if match is None:
        return None
    rest = plain[match.end() :]
    if _REST.fullmatch(rest) is None:
        return None
    major, minor, sublevel, rc = match.groups()
    version = UpstreamVersion(int(major), int(minor), int(sublevel or 0), None if rc is None else int(rc))
    if _DOTTED_NUMBERS.fullmatch(rest) and version.major != 2:
        return None  # an address, or another program's version; Linux had four numbers in 2.6 only
    return plain.removeprefix("v") if plain[:1] == "v" and not rest else plain, version, rest


def _opens(words: list[tuple[int, str]], index: int) -> bool:
    """Returns True if a word begins a statement: it is the first of the line, or comes after a colon, a prompt or a
    quote.
    """
    return index == 0 or words[index - 1][1][-1] in ":=\"'$>]"


def _place(line: str, words: list[tuple[int, str]], index: int) -> Place:
    """Returns how sure a word is, by the words around it."""
    before = [word.strip("\"'") for _, word in words[max(0, index - 2) : index]]
    after = words[index + 1][1] if index + 1 < len(words) else ""
    if _BUILD_NUMBER.match(after) or _RUNTIME.match(after):
        return Place.KERNEL  # uname -a, an oops; a node table's column before the container runtime's
    if before == ["Linux", "version"]:
        return Place.KERNEL
    if before[-1:] == ["Linux"] and _opens(words, index - 1):
        return Place.KERNEL  # uname -sr
    if len(before) == 2 and before[0] == "Linux" and _opens(words, index - 2) and words[index][1].count(".") > 1:
        return Place.KERNEL  # uname -snr
    return Place.KERNEL if _LABEL.search(line[: words[index][0]]) else Place.BARE


def find_candidates(
    line: str, exists: Callable[[UpstreamVersion], bool], has_form: Callable[[str, UpstreamVersion], bool]
) -> list[Candidate]:
    """Returns every word of a cleaned line that may be a kernel's release, in their order.

    `exists` says whether Linux had such a version, `has_form` whether a known distribution writes releases like this. A
    bare number counts if the line contains nothing else, or (with three numbers) as a second kernel beside a certain
    one.
    """
    plain = _PARENTHESES.sub(lambda match: " " * len(match.group()), line)
    plain = _JSON.sub(" ", plain)
    words = [(match.start(), match.group()) for match in re.finditer(r"\S+", plain)]
    found = []
    for index, (start, word) in enumerate(words):
        if word.startswith("#"):
            continue
        parsed = release_of_word(word)
        if parsed is None or not exists(parsed[1]):
            continue
        name, version, rest = parsed
        place = _place(plain, words, index)
        if place is Place.BARE and rest and has_form(rest, version):
            place = Place.FORM
        previous = words[index - 1][1].lower().strip(":,") if index else ""
        if place is Place.BARE and (previous in _TOOL_WORDS or name.count(".") < 2) and len(words) > 1:
            others = [other for at, (_, other) in enumerate(words) if at != index and not _UNAME_WORDS.fullmatch(other)]
            if others or previous in _TOOL_WORDS:
                continue
        found.append(Candidate(name, version, rest, place, start))
    return found


def only_candidate(line: str, candidates: Iterable[Candidate]) -> Candidate | None:
    """Returns the bare number if a line contains only that, apart from the words that `uname` prints beside it."""
    plain = _PARENTHESES.sub(" ", line)
    chosen = list(candidates)
    others = [word for word in plain.split() if not _UNAME_WORDS.fullmatch(word) and release_of_word(word) is None]
    return chosen[0] if chosen and not others else None
